"""Matching: which permutation. One file per matcher, one assignment solver."""

from onebasin.matching.assignment.linear import assign, assign_many
from onebasin.matching.matching import ManyMatching, Matching, Progress, Step
from onebasin.matching.weights import match_weights

__all__ = [
    "ManyMatching",
    "Matching",
    "Progress",
    "Step",
    "assign",
    "assign_many",
    "match_weights",
]
