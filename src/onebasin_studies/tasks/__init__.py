"""Tasks that studies share: training, matching, merging and evaluation of networks."""

from onebasin_studies.tasks.matching import match_pair, permute_network
from onebasin_studies.tasks.measuring import evaluate_network, measure_barrier, measure_curve
from onebasin_studies.tasks.training import train_networks

__all__ = [
    "evaluate_network",
    "match_pair",
    "measure_barrier",
    "measure_curve",
    "permute_network",
    "train_networks",
]
