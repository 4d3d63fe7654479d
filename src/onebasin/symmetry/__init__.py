"""Symmetries of models: inference, verification, permutations and transformations."""

from onebasin.symmetry._inference import infer_symmetry
from onebasin.symmetry._verification.verification import Verification, verify
from onebasin.symmetry.groups import Group, UnsupportedOp
from onebasin.symmetry.layouts import Family, Fixed, Layout, Product, Sum, Units
from onebasin.symmetry.permutation import Permutation
from onebasin.symmetry.symmetry import Symmetry
from onebasin.symmetry.transformation import Transformation

__all__ = [
    "Family",
    "Fixed",
    "Group",
    "Layout",
    "Permutation",
    "Product",
    "Sum",
    "Symmetry",
    "Transformation",
    "Units",
    "UnsupportedOp",
    "Verification",
    "infer_symmetry",
    "verify",
]
