"""Typing rules: what each operator does to the layouts of its operands.

One table by operator name without overload. Operators that PyTorch tags as pointwise
need no entry. An operator that is in neither is never guessed: see `refuse`.
"""

from onebasin.symmetry.inference.calls import Rule
from onebasin.symmetry.inference.rules.contractions import CONTRACTIONS
from onebasin.symmetry.inference.rules.convolutions import CONVOLUTIONS
from onebasin.symmetry.inference.rules.indexing import INDEXING
from onebasin.symmetry.inference.rules.normalizations import NORMALIZATIONS
from onebasin.symmetry.inference.rules.pointwise import POINTWISE, pointwise, refuse
from onebasin.symmetry.inference.rules.reductions import REDUCTIONS
from onebasin.symmetry.inference.rules.reshapes import RESHAPES
from onebasin.symmetry.inference.rules.slices import SLICES

RULES: dict[str, Rule] = {
    **POINTWISE,
    **RESHAPES,
    **SLICES,
    **CONTRACTIONS,
    **CONVOLUTIONS,
    **REDUCTIONS,
    **NORMALIZATIONS,
    **INDEXING,
}

__all__ = ["RULES", "pointwise", "refuse"]
