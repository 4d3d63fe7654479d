"""Evaluation of networks: losses, barriers, planes, ensembles and calibration."""

from onebasin.evaluation.baselines import Baseline, baseline_of
from onebasin.evaluation.calibration import Calibration, calibrate
from onebasin.evaluation.copies import permuted_copies
from onebasin.evaluation.curves import Curve
from onebasin.evaluation.ensembles import Comparison, compare_ensembles
from onebasin.evaluation.evaluator import Evaluation, Evaluator, evaluator
from onebasin.evaluation.interpolation import interpolate
from onebasin.evaluation.network_evaluations import NetworkEvaluations, evaluate_networks
from onebasin.evaluation.output_distances import OutputDistance, compare_outputs
from onebasin.evaluation.pairs import PairBarriers, measure_pairs
from onebasin.evaluation.planes import Plane, measure_plane
from onebasin.evaluation.results import Result
from onebasin.evaluation.statistics import reset_statistics

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
    "baseline_of",
    "calibrate",
    "compare_ensembles",
    "compare_outputs",
    "evaluate_networks",
    "evaluator",
    "interpolate",
    "measure_pairs",
    "measure_plane",
    "permuted_copies",
    "reset_statistics",
]
