"""Text and HTML summaries of symmetries, permutations and verifications."""

from dataclasses import replace

import torch

from onebasin.symmetry import Permutation
from onebasin.symmetry._display import coupled_dims
from onebasin.symmetry._verification.verification import verify
from onebasin.symmetry.groups import Group, UnsupportedOp
from onebasin.symmetry.layouts import Fixed, Product, Units
from onebasin.symmetry.symmetry import Symmetry
from tests.symmetry.small_models import mlp

SCREEN = 2500


def heads(number: int = 1) -> Symmetry:
    groups, layouts = {}, {}
    for i in range(number):
        h, d = f"block.{i}.attention.projection<h>", f"block.{i}.d"
        groups |= {h: Group(h, 3), d: Group(d, 4, (h,))}
        both = Product((Units(h, 3), Units(d, 4)))
        layouts |= {f"q.{i}": (both, Fixed(5)), f"o.{i}": (Fixed(5), both), f"b.{i}": (both,)}
        layouts |= {f"v.{i}": (both, Fixed(5))}
    unsupported = UnsupportedOp("aten.cumsum.default", "model.py:3", "sums in order", ("q",))
    return Symmetry(groups, layouts, unused=("z",), unsupported_ops=(unsupported,))


def test_groups_are_listed_with_size_nesting_and_dimensions():
    text = repr(heads())
    first, h, d, *rest = text.splitlines()
    assert first.startswith("Symmetry: 2 groups, 10^")
    assert h.split() == ["block.0.attention.projection<h>", *"3 q.0[0], o.0[1], b.0[0]".split(),
                         "and", "1", "more"]  # fmt: skip
    assert "4  in block.0.attention.projection<h>  q.0[0], o.0[1], b.0[0] and 1 more" in d
    assert rest == ["  unused tensors: 1", "  unsupported operators: aten.cumsum.default"]


def test_large_symmetries_fit_on_a_screen():
    symmetry = heads(40)
    assert "and 64 more groups" in repr(symmetry)
    assert len(repr(symmetry)) < SCREEN
    assert len(repr(symmetry).splitlines()) < 25
    permutation = Permutation.random(symmetry)
    assert "and 64 more groups" in repr(permutation)
    assert len(repr(permutation)) < SCREEN


def test_tied_tensors_are_listed_once():
    symmetry = replace(heads(), tied=(("q.0", "v.0"),))
    assert coupled_dims(symmetry)["block.0.d"] == ["q.0[0]", "o.0[1]", "b.0[0]"]


def test_html_table_escapes_names():
    html = heads()._repr_html_()
    assert html.count("<tr>") == 3
    assert "projection&lt;h&gt;" in html
    assert "<h>" not in html


def test_permutations_and_verifications_are_summarized():
    model, symmetry = mlp()
    identity = Permutation.identity(symmetry)
    assert repr(identity).splitlines() == [
        "Permutation: 0 of 19 permutable units moved, 3 groups",
        *(f"  {name}  0 of {size} moved" for name, size in (("a", 8), ("b", 6), ("c", 5))),
    ]
    text = repr(verify(symmetry, model, torch.randn(3, 4)))
    assert text.startswith("Verification: 3 groups verified, max relative error ")
    failed = replace(verify(symmetry, model, torch.randn(3, 4)), failed_groups={"x": "reason"})
    assert repr(failed).endswith("\n  failed: x (reason)")
