"""Measuring: evaluation; curves, pairs and planes; ensembles and calibration."""

from onebasin.measuring.averaging import average_checkpoints
from onebasin.measuring.baselines import Baseline, baseline_of
from onebasin.measuring.bins import calibrate
from onebasin.measuring.calibration import Calibration
from onebasin.measuring.copies import permuted_copies
from onebasin.measuring.curves import Curve
from onebasin.measuring.ensembles import Comparison, compare_ensembles
from onebasin.measuring.evaluation import Evaluation, Evaluator, evaluator
from onebasin.measuring.interpolation import interpolate, interpolate_splits
from onebasin.measuring.matrices import PairBarriers
from onebasin.measuring.network_evaluations import (
    NetworkEvaluations,
    evaluate,
    evaluate_networks,
)
from onebasin.measuring.output_distances import OutputDistance, compare_outputs
from onebasin.measuring.pairs import measure_pairs, measure_pairs_splits
from onebasin.measuring.planes import Plane, measure_plane
from onebasin.measuring.results import Result
from onebasin.measuring.statistics import reset_statistics

__all__ = [
    "Baseline",
    "Calibration",
    "Comparison",
    "Curve",
    "Evaluation",
    "Evaluator",
    "NetworkEvaluations",
    "OutputDistance",
    "PairBarriers",
    "Plane",
    "Result",
    "average_checkpoints",
    "baseline_of",
    "calibrate",
    "compare_ensembles",
    "compare_outputs",
    "evaluate",
    "evaluate_networks",
    "evaluator",
    "interpolate",
    "interpolate_splits",
    "measure_pairs",
    "measure_pairs_splits",
    "measure_plane",
    "permuted_copies",
    "reset_statistics",
]
