"""Features: what linear connectivity looks like inside, at the layers of any traced model."""

from onebasin.measuring.features.additivity import Additivity, measure_additivity
from onebasin.measuring.features.averaging import Averaging, average_features
from onebasin.measuring.features.commutativity import Commutativity, measure_commutativity
from onebasin.measuring.features.lemma import Lemma, check_lemma
from onebasin.measuring.features.llfc import LLFC, measure_llfc
from onebasin.measuring.features.similarity import Similarity, measure_similarity
from onebasin.measuring.features.table import FeatureRow, FeatureTable

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
