"""Averages of networks, and repair of their activation statistics."""

from onebasin.evaluation._repair import repair
from onebasin.evaluation._repair_result import RepairResult
from onebasin.merging._resizing import resize
from onebasin.merging.averages import average, average_checkpoints, average_tensors

__all__ = ["RepairResult", "average", "average_checkpoints", "average_tensors", "repair", "resize"]
