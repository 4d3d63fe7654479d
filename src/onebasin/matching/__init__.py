"""Matching: which permutation. One file per matcher, one assignment solver."""

from onebasin.matching.assignment.linear import assign, assign_many
from onebasin.matching.cycle_consistent import match_cycle_consistent
from onebasin.matching.frank_wolfe import match_frank_wolfe
from onebasin.matching.many import match_many
from onebasin.matching.matching import ManyMatching, Matching, Progress, Step
from onebasin.matching.sinkhorn import match_sinkhorn
from onebasin.matching.straight_through import match_straight_through
from onebasin.matching.weights import match_weights

__all__ = [
    "ManyMatching",
    "Matching",
    "Progress",
    "Step",
    "assign",
    "assign_many",
    "match_cycle_consistent",
    "match_frank_wolfe",
    "match_many",
    "match_sinkhorn",
    "match_straight_through",
    "match_weights",
]
