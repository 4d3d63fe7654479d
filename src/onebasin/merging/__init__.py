"""Merging: one network made of several, and the statistics of its units repaired."""

from onebasin.measuring.repairing import Repaired, repair
from onebasin.merging.averages import merge, merge_tensors

__all__ = ["Repaired", "merge", "merge_tensors", "repair"]
