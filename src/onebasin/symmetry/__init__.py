"""Symmetry: what may move.

`trace` infers the symmetry of a model, `symmetry_from_spec` takes a hand-written one,
`prove` checks either on the original module, and a `Permutation` is one of its elements.
"""

from onebasin.symmetry._inference import trace
from onebasin.symmetry._verification.proof import Proof, prove
from onebasin.symmetry.layouts import Family, Fixed, Layout, Product, Sum, Units
from onebasin.symmetry.permutation import Permutation
from onebasin.symmetry.spec import symmetry_from_spec
from onebasin.symmetry.symmetry import Group, Refusal, Symmetry

__all__ = [
    "Family",
    "Fixed",
    "Group",
    "Layout",
    "Permutation",
    "Product",
    "Proof",
    "Refusal",
    "Sum",
    "Symmetry",
    "Units",
    "prove",
    "symmetry_from_spec",
    "trace",
]
