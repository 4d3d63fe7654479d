"""Merging: one network made of several, and the statistics of its units repaired."""

from onebasin.merging.averages import merge, merge_tensors
from onebasin.merging.repairing import Repaired, repair

__all__ = ["Repaired", "merge", "merge_tensors", "repair"]
