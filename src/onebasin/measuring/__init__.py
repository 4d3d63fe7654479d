"""Measuring: evaluation, curves between two networks and their barriers."""

from onebasin.measuring.curves import Curve
from onebasin.measuring.evaluation import Evaluation, Evaluator, evaluator
from onebasin.measuring.interpolation import interpolate
from onebasin.measuring.statistics import reset_statistics

__all__ = ["Curve", "Evaluation", "Evaluator", "evaluator", "interpolate", "reset_statistics"]
