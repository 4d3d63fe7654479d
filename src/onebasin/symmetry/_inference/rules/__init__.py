"""Typing rules: the effect of each operator on the layouts of its operands.

One table by operator name without overload. Operators that PyTorch tags as pointwise do not
need an entry. All other operators are unsupported; see `fix_operands`.
"""

import torch
from torch._ops import OpOverload

from onebasin.symmetry._inference.atoms import Atom, Dims
from onebasin.symmetry._inference.calls import Call, Result, Rule
from onebasin.symmetry._inference.rules.contractions import CONTRACTIONS
from onebasin.symmetry._inference.rules.convolutions import CONVOLUTIONS
from onebasin.symmetry._inference.rules.indexing import INDEXING
from onebasin.symmetry._inference.rules.normalizations import NORMALIZATIONS
from onebasin.symmetry._inference.rules.pointwise import POINTWISE, fix_operands, pointwise
from onebasin.symmetry._inference.rules.reductions import REDUCTIONS
from onebasin.symmetry._inference.rules.reshapes import RESHAPES
from onebasin.symmetry._inference.rules.slices import SLICES

_SHAPE_ALONE = """
    full_like zeros_like ones_like empty_like new_zeros new_ones new_full new_empty
    new_empty_strided rand_like randn_like randint_like
""".split()

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


IRRELEVANT: dict[str, frozenset[str]] = {
    **{f"aten.{name}": frozenset({"other"}) for name in ("type_as", "to", "view_as")},
    **{f"aten.{name}": frozenset({"self"}) for name in ("copy", *_SHAPE_ALONE)},
}
"""Operands that affect the result only by their shape, dtype or device."""


def rule_for(target: object) -> Rule | None:
    """Return the rule of an operator, or None.

    An in-place pointwise operator (`relu_`) has the rule of its out-of-place variant, because
    the written tensor keeps its layout.
    """
    if not isinstance(target, OpOverload):
        return None
    name = f"{target.namespace}.{target._schema.name.split('::')[1]}"
    if torch.Tag.pointwise in target.tags:
        return RULES.get(name, pointwise)
    plain = name.removesuffix("_")
    return RULES.get(name) or (pointwise if RULES.get(plain) is pointwise else None)


def infer_layouts(rule: Rule | None, call: Call) -> tuple[Dims | None, ...]:
    """Return the layouts of an operator's outputs, from its rule if that is reliable.

    An operator is unsupported if it has no rule, if its rule fails or returns layouts of
    other sizes, or if its rule ignores an operand that is not in `IRRELEVANT`.
    """
    if rule is None:
        return fix_operands(call)
    try:
        results = _as_tuple(rule(call), call)
        _check_shapes(results, call)
    except Exception as error:  # the rule does not cover this case
        return fix_operands(call, f"its typing rule failed ({type(error).__name__}: {error})")
    irrelevant = IRRELEVANT.get(_name(call.operator), frozenset())
    ignored = [name for name in call.unread if name not in irrelevant]
    return fix_operands(call, f"its typing rule ignores {ignored[0]!r}") if ignored else results


def _name(operator: str) -> str:
    """Return an operator's name without its overload: `aten.view` for `aten.view.dtype`."""
    return ".".join(operator.split(".")[:2])


def _as_tuple(result: Result, call: Call) -> tuple[Dims | None, ...]:
    """Return one entry per output; rules for a single output return its dimensions."""
    atoms = tuple(item for item in result if isinstance(item, Atom))
    if len(call.shapes) == 1 and len(atoms) == len(result) and (atoms or call.shape == ()):
        return (atoms,)
    return tuple(item for item in result if not isinstance(item, Atom))


def _check_shapes(results: tuple[Dims | None, ...], call: Call) -> None:
    shapes = tuple(None if dims is None else tuple(atom.size for atom in dims) for dims in results)
    if any(s is not None and s != wanted for s, wanted in zip(shapes, call.shapes, strict=True)):
        raise ValueError(f"layouts of sizes {shapes} for outputs of shapes {call.shapes}")


__all__ = ["RULES", "fix_operands", "infer_layouts", "rule_for"]
