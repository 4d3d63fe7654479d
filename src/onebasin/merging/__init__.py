"""Averages of networks, and repair of their activation statistics."""

from onebasin.evaluation.repair import RepairResult, repair
from onebasin.merging.averages import average, average_tensors

__all__ = ["RepairResult", "average", "average_tensors", "repair"]
