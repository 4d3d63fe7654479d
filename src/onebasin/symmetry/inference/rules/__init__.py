"""Typing rules: what each operator does to the layouts of its operands.

One table by operator name without overload. Operators that PyTorch tags as pointwise
need no entry. An operator that is in neither is never guessed: see `refuse`.
"""

import torch
from torch._ops import OpOverload

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


def rule_for(target: object) -> Rule | None:
    """Return the rule of an operator, or None.

    An operator that writes its first operand entry by entry (`relu_`) is typed as the one
    that does not: what it writes has the layout of what was there.
    """
    if not isinstance(target, OpOverload):
        return None
    name = f"{target.namespace}.{target._schema.name.split('::')[1]}"
    if torch.Tag.pointwise in target.tags:
        return RULES.get(name, pointwise)
    plain = name.removesuffix("_")
    return RULES.get(name) or (pointwise if RULES.get(plain) is pointwise else None)


__all__ = ["RULES", "refuse", "rule_for"]
