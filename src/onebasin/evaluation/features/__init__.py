"""Measurements of features and linear connectivity at the layers of any traced model."""

from onebasin.evaluation.features.additivity import Additivity, measure_additivity
from onebasin.evaluation.features.commutativity import Commutativity, measure_commutativity
from onebasin.evaluation.features.error_bound import ErrorBound, check_error_bound
from onebasin.evaluation.features.interpolation import FeatureInterpolation, interpolate_features
from onebasin.evaluation.features.llfc import LLFC, measure_llfc
from onebasin.evaluation.features.similarity import Similarity, measure_similarity
from onebasin.evaluation.features.table import FeatureRow, FeatureTable

__all__ = [
    "LLFC",
    "Additivity",
    "Commutativity",
    "ErrorBound",
    "FeatureInterpolation",
    "FeatureRow",
    "FeatureTable",
    "Similarity",
    "check_error_bound",
    "interpolate_features",
    "measure_additivity",
    "measure_commutativity",
    "measure_llfc",
    "measure_similarity",
]
