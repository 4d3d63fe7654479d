"""Matching methods: one file for each method."""

from onebasin.matching._assignment.linear import assign, assign_many
from onebasin.matching.activations import match_activations
from onebasin.matching.annealing import match_annealing, match_many_annealing
from onebasin.matching.combined import match_combined
from onebasin.matching.commutativity import match_commutativity
from onebasin.matching.cycle_consistent import match_cycle_consistent
from onebasin.matching.exhaustive import enumerate_permutations, match_exhaustive
from onebasin.matching.frank_wolfe import match_frank_wolfe
from onebasin.matching.functional_difference import match_functional_difference
from onebasin.matching.learned import match_learned
from onebasin.matching.merge_many import match_many
from onebasin.matching.registry import MATCHERS, MatcherInfo
from onebasin.matching.result import ManyMatching, Matching, Progress, Step
from onebasin.matching.rotations import match_rotations
from onebasin.matching.rotations_many import match_many_rotations
from onebasin.matching.sinkhorn import match_sinkhorn
from onebasin.matching.straight_through import match_straight_through
from onebasin.matching.weights import match_weights

__all__ = [
    "MATCHERS",
    "ManyMatching",
    "MatcherInfo",
    "Matching",
    "Progress",
    "Step",
    "assign",
    "assign_many",
    "enumerate_permutations",
    "match_activations",
    "match_annealing",
    "match_combined",
    "match_commutativity",
    "match_cycle_consistent",
    "match_exhaustive",
    "match_frank_wolfe",
    "match_functional_difference",
    "match_learned",
    "match_many",
    "match_many_annealing",
    "match_many_rotations",
    "match_rotations",
    "match_sinkhorn",
    "match_straight_through",
    "match_weights",
]
