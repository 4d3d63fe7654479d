"""High-level functions: inspect, align, merge, and evaluate networks."""

from onebasin.api._data import DataSource
from onebasin.api.align import Alignment, align
from onebasin.api.barrier import Barrier, barrier
from onebasin.api.barriers import BarrierMatrix, barriers
from onebasin.api.evaluate import Evaluations, evaluate
from onebasin.api.features import FeatureComparison, compare_features
from onebasin.api.inspect import Inspection, inspect
from onebasin.api.merge import merge
from onebasin.api.merged import Merged
from onebasin.api.plane import PlaneResult, plane

__all__ = [
    "Alignment",
    "Barrier",
    "BarrierMatrix",
    "DataSource",
    "Evaluations",
    "FeatureComparison",
    "Inspection",
    "Merged",
    "PlaneResult",
    "align",
    "barrier",
    "barriers",
    "compare_features",
    "evaluate",
    "inspect",
    "merge",
    "plane",
]
