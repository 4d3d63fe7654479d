"""Decomposition of tensors into blocks, and nesting inside blocks."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given

from onebasin.errors import OneBasinError
from onebasin.symmetry._blocks import Block, Factor, blocks_of
from onebasin.symmetry._nesting import broadcast_index, check_nesting, dimension_of, outer_axes
from onebasin.symmetry.groups import Group
from onebasin.symmetry.layouts import Family, Fixed, Product, Sum, Units
from onebasin.symmetry.symmetry import Symmetry
from tests.symmetry.random_symmetries import symmetries

A, B, H, D = Units("a", 3), Units("b", 2), Units("h", 2), Units("d", 3)


@given(symmetries())
def test_blocks_cover_every_entry_once(symmetry: Symmetry) -> None:
    for name, shape in symmetry.shapes.items():
        count = torch.zeros(shape, dtype=torch.int64)
        for block in symmetry.blocks[name]:
            block.view(count).add_(1)
        assert torch.equal(count, torch.ones_like(count)), symmetry.layouts[name]


def test_a_scalar_is_one_block() -> None:
    assert blocks_of([]) == (Block(0, ()),)
    assert Block(0, ()).num_entries == 1


def test_family_follows_its_sum() -> None:
    blocks = blocks_of([Sum((A, Fixed(2)), "k"), Family("k", (B, Fixed(2)))])
    assert blocks == (
        Block(0, (Factor(3, 2, "a"), Factor(2, 1, "b"))),
        Block(6, (Factor(2, 2), Factor(2, 1))),
    )
    assert [block.groups for block in blocks] == [("a", "b"), ()]


def test_fused_projection() -> None:
    """(3, heads, head_dim) in one dimension: queries, keys and values differ in heads."""
    parts = Sum(tuple(Units(f"part{i}", 1) for i in range(3)), "qkv")
    family = Family("qkv", (Units("q", 2), Units("q", 2), Units("v", 2)))
    blocks = blocks_of([Product((parts, family, Fixed(4)))])
    assert [block.groups for block in blocks] == [("part0", "q"), ("part1", "q"), ("part2", "v")]
    assert [block.offset for block in blocks] == [0, 8, 16]


def test_keyed_sum_inside_a_keyed_sum_repeats_nothing() -> None:
    inner = Sum((A, B), "inner")
    blocks = blocks_of([Sum((inner, Fixed(4)), "outer"), Family("outer", (H, H))])
    assert [(block.offset, block.shape) for block in blocks] == [
        (0, (3, 2)),
        (6, (2, 2)),
        (10, (4, 2)),
    ]


def test_views_share_memory() -> None:
    tensor = torch.zeros(4, 3)
    blocks = blocks_of([Sum((Fixed(1), A)), Fixed(3)])
    blocks[1].view(tensor).fill_(1)
    assert tensor.sum(dim=1).tolist() == [0, 3, 3, 3]
    later = torch.arange(24).reshape(2, 4, 3)[1]
    assert torch.equal(blocks[1].view(later), later[1:])
    with pytest.raises(AssertionError, match="contiguous"):
        blocks[0].view(torch.zeros(3, 4).t())


def test_dimension_of_axes() -> None:
    (block,) = blocks_of([Product((H, D)), Fixed(1), A])
    assert [dimension_of(factor, (6, 1, 3)) for factor in block.factors] == [0, 0, 2, 2]
    with pytest.raises(AssertionError, match="fits no dimension"):
        dimension_of(Factor(7, 5), (6, 1, 3))


def test_outer_axes_of_nested_groups() -> None:
    nested_in = {"d": ("h",)}
    (across,) = blocks_of([H, A, D])
    assert outer_axes(across, nested_in, (2, 3, 3)) == ((), (), (0,))
    (recurrent,) = blocks_of([Product((H, D)), Product((D, H))])
    assert outer_axes(recurrent, nested_in, (6, 6)) == ((), (0,), (3,), ())
    (without_outer,) = blocks_of([D])
    with pytest.raises(AssertionError, match="has group 'd' without outer group 'h'"):
        outer_axes(without_outer, nested_in, (3,))


def test_broadcast_index_permutes_and_pads() -> None:
    index = torch.arange(6).reshape(2, 3)
    assert torch.equal(broadcast_index(index, (2, 0), 3), index.t().reshape(3, 1, 2))


def nested(
    nested_in: dict[str, tuple[str, ...]], *, axes: dict[str, int] | None = None
) -> Symmetry:
    groups = {name: Group(name, 2, nested_in.get(name, ())) for name in ("a", "b", "c")}
    units = [Units(name, 2) for name in (*groups, *(axes or {}))]
    return Symmetry(groups, {"w": tuple(units)}, axes=axes or {})


def check_all_nesting(symmetry: Symmetry) -> None:
    check_nesting(symmetry.nesting, symmetry.axes, symmetry.blocks)


@pytest.mark.parametrize(
    ("nested_in", "message"),
    [
        ({"b": ("z",)}, "'b' nests in 'z', which is not another group or a fixed axis"),
        ({"b": ("b",)}, "'b' nests in 'b'"),
        ({"b": ("a",), "c": ("b",)}, "'c' nests in 'b' .* list 'a' before it"),
        ({"b": ("a",), "a": ("b",)}, "avoid cycles"),
    ],
)
def test_invalid_nesting_raises(nested_in: dict, message: str) -> None:
    with pytest.raises(OneBasinError, match=message):
        check_all_nesting(nested(nested_in))


def test_valid_nesting_passes() -> None:
    check_all_nesting(nested({"b": ("a",), "c": ("x", "a", "b")}, axes={"x": 2}))


def test_inner_group_without_outer_group_raises() -> None:
    groups = {"h": Group("h", 2), "d": Group("d", 3, ("h",))}
    with pytest.raises(OneBasinError, match="tensor 'w' has group 'd' without its outer group 'h'"):
        check_all_nesting(Symmetry(groups, {"w": (D,), "v": (H, D)}))
