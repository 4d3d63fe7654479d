"""Measurements of features and linear connectivity at the layers of any traced model."""

from onebasin.evaluation.features.additivity import Additivity, measure_additivity
from onebasin.evaluation.features.averaging import Averaging, average_features
from onebasin.evaluation.features.commutativity import Commutativity, measure_commutativity
from onebasin.evaluation.features.error_bound import Lemma, check_lemma
from onebasin.evaluation.features.llfc import LLFC, measure_llfc
from onebasin.evaluation.features.similarity import Similarity, measure_similarity
from onebasin.evaluation.features.table import FeatureRow, FeatureTable

__all__ = [
    "LLFC",
    "Additivity",
    "Averaging",
    "Commutativity",
    "FeatureRow",
    "FeatureTable",
    "Lemma",
    "Similarity",
    "average_features",
    "check_lemma",
    "measure_additivity",
    "measure_commutativity",
    "measure_llfc",
    "measure_similarity",
]
