"""Measuring: evaluation; curves, pairs and planes; ensembles and calibration."""

from onebasin.measuring.averaging import average_checkpoints
from onebasin.measuring.bins import calibrate
from onebasin.measuring.calibration import Calibration
from onebasin.measuring.copies import permuted_copies
from onebasin.measuring.curves import Curve
from onebasin.measuring.ensembles import Comparison, compare_ensembles
from onebasin.measuring.evaluation import Evaluation, Evaluator, evaluator
from onebasin.measuring.interpolation import interpolate, interpolate_splits
from onebasin.measuring.matrices import PairBarriers
from onebasin.measuring.pairs import measure_pairs, measure_pairs_splits
from onebasin.measuring.planes import Plane, measure_plane
from onebasin.measuring.results import Result
from onebasin.measuring.statistics import reset_statistics

__all__ = [
    "Calibration",
    "Comparison",
    "Curve",
    "Evaluation",
    "Evaluator",
    "PairBarriers",
    "Plane",
    "Result",
    "average_checkpoints",
    "calibrate",
    "compare_ensembles",
    "evaluator",
    "interpolate",
    "interpolate_splits",
    "measure_pairs",
    "measure_pairs_splits",
    "measure_plane",
    "permuted_copies",
    "reset_statistics",
]
