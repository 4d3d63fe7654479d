"""Averages of networks, and repair of their activation statistics."""

from onebasin.evaluation.repairing import Repaired, repair
from onebasin.merging.averages import average, average_tensors

__all__ = ["Repaired", "average", "average_tensors", "repair"]
