"""Permutations: group laws, and application to tensors."""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Mapping

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from onebasin.errors import OneBasinError
from onebasin.symmetry._verification.randomize import random_cyclic_permutation
from onebasin.symmetry.groups import Group
from onebasin.symmetry.layouts import Fixed, Product, Sum, Units
from onebasin.symmetry.permutation import Permutation
from onebasin.symmetry.symmetry import Symmetry
from tests.symmetry.random_symmetries import old_place, some_places, symmetries, values_for

SEEDS = st.integers(0, 3)


def assert_same(actual: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    assert list(actual) == list(expected)
    for name, tensor in expected.items():
        assert actual[name].dtype == tensor.dtype
        assert torch.equal(actual[name], tensor), name


def two_layers(hidden: int = 5) -> Symmetry:
    h = Units("h", hidden)
    layouts = {"up": (h, Fixed(3)), "bias": (h,), "down": (Fixed(2), h), "count": ()}
    return Symmetry({"h": Group("h", hidden)}, layouts, buffers=("count",))


def heads() -> Symmetry:
    h, d, r = Units("h", 3), Units("d", 4), Units("r", 5)
    groups = {"r": Group("r", 5), "h": Group("h", 3), "d": Group("d", 4, ("h",))}
    return Symmetry(groups, {"q": (Product((h, d)), r), "bias": (h, d), "experts": (h, r, d)})


def test_assert_same_detects_a_difference() -> None:
    with pytest.raises(AssertionError):
        assert_same({"x": torch.zeros(2)}, {"x": torch.ones(2)})
    with pytest.raises(AssertionError):
        assert_same({"x": torch.zeros(2)}, {"x": torch.zeros(2, dtype=torch.float64)})


@given(symmetries(), SEEDS)
@settings(max_examples=40)
def test_apply_matches_the_definition(symmetry: Symmetry, seed: int) -> None:
    permutation = Permutation.random(symmetry, seed=seed)
    params = values_for(symmetry)
    moved = permutation.apply(params)
    for name, tensor in params.items():
        for place in some_places(tensor.shape):
            old = old_place(symmetry, name, permutation.indices, place)
            assert moved[name][place] == tensor[old], (name, place)


@given(symmetries(), SEEDS, SEEDS)
@settings(max_examples=40)
def test_product_applies_the_right_factor_first(symmetry: Symmetry, one: int, two: int) -> None:
    p, q = Permutation.random(symmetry, seed=one), Permutation.random(symmetry, seed=two)
    params = values_for(symmetry)
    assert_same((p @ q).apply(params), p.apply(q.apply(params)))


@given(symmetries(), SEEDS)
@settings(max_examples=40)
def test_inverse_restores(symmetry: Symmetry, seed: int) -> None:
    p, identity = Permutation.random(symmetry, seed=seed), Permutation.identity(symmetry)
    params = values_for(symmetry)
    assert_same(p.inverse().apply(p.apply(params)), params)
    assert (p @ p.inverse()).equals(identity)
    assert (p.inverse() @ p).equals(identity)
    assert p.inverse().inverse().equals(p)


@given(symmetries(), SEEDS)
@settings(max_examples=40)
def test_product_is_associative(symmetry: Symmetry, seed: int) -> None:
    p, q, r = (Permutation.random(symmetry, seed=seed + i) for i in range(3))
    assert ((p @ q) @ r).equals(p @ (q @ r))


def test_identity_moves_nothing_and_copies() -> None:
    symmetry = heads()
    params = values_for(symmetry)
    moved = Permutation.identity(symmetry).apply(params)
    assert_same(moved, params)
    assert all(moved[name].data_ptr() != params[name].data_ptr() for name in params)
    assert Permutation.identity(symmetry).num_moved == {"r": 0, "h": 0, "d": 0}


def test_nested_index_is_by_new_outer_position() -> None:
    symmetry = heads()
    h = torch.tensor([2, 0, 1])
    d = torch.tensor([[1, 0, 2, 3], [0, 1, 2, 3], [3, 2, 1, 0]])
    permutation = Permutation(symmetry, {"r": torch.arange(5), "h": h, "d": d})
    bias = torch.arange(12).reshape(3, 4)
    moved = permutation.apply_tensor("bias", bias)
    assert moved.tolist() == [[9, 8, 10, 11], [0, 1, 2, 3], [7, 6, 5, 4]]
    assert permutation.num_moved == {"r": 0, "h": 3, "d": 6}


def test_a_group_on_two_dimensions_moves_both() -> None:
    h = Units("h", 3)
    symmetry = Symmetry({"h": Group("h", 3)}, {"w": (h, h)})
    permutation = Permutation(symmetry, {"h": torch.tensor([1, 2, 0])})
    moved = permutation.apply_tensor("w", torch.arange(9).reshape(3, 3))
    assert moved.tolist() == [[4, 5, 3], [7, 8, 6], [1, 2, 0]]


def test_recurrent_heads_use_the_outer_axis_of_their_dimension() -> None:
    hd = Product((Units("h", 2), Units("d", 3)))
    groups = {"h": Group("h", 2), "d": Group("d", 3, ("h",))}
    symmetry = Symmetry(groups, {"w": (hd, hd), "b": (hd,)})
    permutation = Permutation.random(symmetry, seed=5)
    order = permutation.apply_tensor("b", torch.arange(6))
    w = torch.randn(6, 6)
    assert torch.equal(permutation.apply_tensor("w", w), w[order][:, order])


def test_three_levels_across_dimensions() -> None:
    groups = {"h": Group("h", 2), "d": Group("d", 3, ("h",)), "e": Group("e", 3, ("h", "d"))}
    layouts = {"w": (Units("e", 3), Units("d", 3), Units("h", 2))}
    symmetry = Symmetry(groups, layouts)
    permutation, w = random_cyclic_permutation(symmetry, seed=2), torch.arange(18).reshape(3, 3, 2)
    moved = permutation.apply_tensor("w", w)
    for place in some_places(w.shape):
        assert moved[place] == w[old_place(symmetry, "w", permutation.indices, place)]


@pytest.mark.parametrize(
    "dtype",
    "float16 bfloat16 float32 float64 float8_e4m3fn int8 int64 bool complex64 complex128".split(),
)
def test_dtypes_are_kept(dtype: str) -> None:
    symmetry, kind = heads(), getattr(torch, dtype)
    permutation = Permutation.random(symmetry, seed=1)
    numbers = values_for(symmetry)
    moved = permutation.apply({name: (x % 7).to(kind) for name, x in numbers.items()})
    for name, tensor in permutation.apply(numbers).items():
        assert moved[name].dtype == kind
        expected = (tensor % 7).to(kind)
        assert torch.equal(moved[name].to(torch.complex128), expected.to(torch.complex128))


@pytest.mark.parametrize("shape", [(1500, 700), (300, 20, 5, 5)])
def test_large_tensors_are_processed_in_slices(shape: tuple[int, ...]) -> None:
    out, inner = Units("o", shape[0]), Units("i", shape[1])
    groups = {"o": Group("o", shape[0]), "i": Group("i", shape[1])}
    layouts = {"w": (out, inner, *map(Fixed, shape[2:])), "rows": (out,), "columns": (inner,)}
    permutation = Permutation.random(Symmetry(groups, layouts), seed=2)
    w = torch.randn(shape)
    expected = w[permutation.indices["o"]][:, permutation.indices["i"]]
    assert torch.equal(permutation.apply_tensor("w", w), expected)
    transposed = w.transpose(0, 1).contiguous().transpose(0, 1)
    assert torch.equal(permutation.apply_tensor("w", transposed), expected)


def test_lazy_views_and_gradients() -> None:
    symmetry = two_layers()
    permutation = Permutation.random(symmetry, seed=1)
    order = permutation.indices["h"]
    z = torch.randn(5, dtype=torch.complex64)
    assert torch.equal(permutation.apply_tensor("bias", z.conj()), z.conj()[order])
    assert torch.equal(permutation.apply_tensor("bias", z.conj().imag), -z.imag[order])
    bias = torch.randn(5, requires_grad=True)
    (permutation.apply_tensor("bias", bias) * torch.arange(5.0)).sum().backward()
    assert bias.grad is not None
    assert bias.grad[order].tolist() == [0, 1, 2, 3, 4]


def test_apply_works_inside_function_transforms() -> None:
    symmetry = two_layers()
    permutation = Permutation.random(symmetry, seed=1)

    def loss(bias: Tensor) -> Tensor:
        return (permutation.apply_tensor("bias", bias) * torch.arange(5.0)).sum()

    gradient = torch.func.grad(loss)(torch.randn(5))
    assert gradient[permutation.indices["h"]].tolist() == [0, 1, 2, 3, 4]


def test_meta_tensors() -> None:
    symmetry = heads()
    params = {name: torch.empty(s, device="meta") for name, s in symmetry.shapes.items()}
    moved = Permutation.random(symmetry).apply(params)
    assert all(moved[n].is_meta and moved[n].shape == params[n].shape for n in params)


def test_input_is_not_modified_or_shared() -> None:
    symmetry = heads()
    params = values_for(symmetry)
    before = {name: tensor.clone() for name, tensor in params.items()}
    moved = Permutation.random(symmetry).apply(params)
    for tensor in moved.values():
        tensor.zero_()
    assert_same(params, before)


def tied_symmetry() -> Symmetry:
    h = Units("h", 4)
    layouts = {"a": (h, Fixed(2)), "b": (h, Fixed(2)), "c": (h,)}
    return Symmetry({"h": Group("h", 4)}, layouts, tied=(("a", "b"),))


def test_tied_tensors_stay_tied() -> None:
    permutation = Permutation.random(tied_symmetry(), seed=1)
    shared = torch.arange(8.0).reshape(4, 2)
    moved = permutation.apply({"a": shared, "b": shared, "c": torch.arange(4.0)})
    assert moved["a"] is moved["b"]
    views = permutation.apply({"a": shared.detach(), "b": shared.detach(), "c": torch.zeros(4)})
    assert views["a"] is views["b"]
    apart = permutation.apply({"a": shared, "b": shared.clone(), "c": torch.zeros(4)})
    assert apart["a"] is not apart["b"]
    assert torch.equal(apart["a"], apart["b"])


def test_tensor_with_two_layouts_is_permuted_twice() -> None:
    h = Units("h", 4)
    symmetry = Symmetry({"h": Group("h", 4)}, {"rows": (h, Fixed(4)), "columns": (Fixed(4), h)})
    shared = torch.arange(16).reshape(4, 4)
    permutation = Permutation.random(symmetry, seed=1)
    moved = permutation.apply({"rows": shared, "columns": shared})
    order = permutation.indices["h"]
    assert torch.equal(moved["rows"], shared[order])
    assert torch.equal(moved["columns"], shared[:, order])


@pytest.mark.parametrize("alias", ["a", "b"])
def test_one_name_of_a_tie_suffices(alias: str) -> None:
    permutation = Permutation.random(tied_symmetry(), seed=1)
    moved = permutation.apply({alias: torch.arange(8.0).reshape(4, 2), "c": torch.zeros(4)})
    assert list(moved) == [alias, "c"]
    with pytest.raises(OneBasinError, match="missing tensor 'a'"):
        permutation.apply({"c": torch.zeros(4)})


class Lazy(Mapping[str, Tensor]):
    """Fills one memory region with the number of a name on access, and drops the view."""

    def __init__(self, symmetry: Symmetry) -> None:
        self.shapes = symmetry.shapes
        self.alive: weakref.WeakSet[Tensor] = weakref.WeakSet()
        self.memory = torch.empty(64, 64)

    def __getitem__(self, name: str) -> Tensor:
        assert not self.alive, "an earlier tensor is still alive"
        tensor = self.memory.fill_(float(name.removeprefix("w"))).view(self.shapes[name])
        self.alive.add(tensor)
        return tensor

    def __iter__(self) -> Iterator[str]:
        return iter(self.shapes)

    def __len__(self) -> int:
        return len(self.shapes)


def test_tensors_of_a_lazy_mapping_are_released() -> None:
    h = Units("h", 64)
    layouts = {f"w{i}": (h, Fixed(64)) for i in range(6)}
    symmetry = Symmetry({"h": Group("h", 64)}, layouts)
    moved = Permutation.random(symmetry).apply(Lazy(symmetry))
    assert [moved[f"w{i}"].unique().tolist() for i in range(6)] == [[i] for i in range(6)]


def test_apply_reports_invalid_arguments() -> None:
    symmetry = two_layers()
    permutation = Permutation.identity(symmetry)
    params = values_for(symmetry)
    with pytest.raises(OneBasinError, match=r"^apply: missing tensor 'down'; pass every"):
        permutation.apply({n: t for n, t in params.items() if n != "down"})
    with pytest.raises(OneBasinError, match=r"^apply: unknown tensor 'extra'"):
        permutation.apply({**params, "extra": torch.zeros(1)})
    with pytest.raises(OneBasinError, match=r"'up' \(got \(5, 4\), expected \(5, 3\)\)"):
        permutation.apply({**params, "up": torch.zeros(5, 4)})
    with pytest.raises(OneBasinError, match="unknown tensor 'nothing'"):
        permutation.apply_tensor("nothing", torch.zeros(1))


@pytest.mark.parametrize(
    ("index", "message"),
    [
        (torch.tensor([0, 1, 2, 3, 3]), r"'h'; each row must be a permutation of 0\.\.4"),
        (torch.tensor([0, 1, 2, 3, -1]), "must be a permutation"),
        (torch.tensor([0, 1, 2]), r"'h' \(got shape \(3,\)\); expected shape \(5,\)"),
        (torch.arange(5, dtype=torch.int32), r"'h' \(got torch.int32 on cpu\); pass an int64"),
        (torch.arange(5, device="meta"), r"on meta\); pass an int64 tensor on the CPU"),
    ],
)
def test_indices_are_checked(index: Tensor, message: str) -> None:
    with pytest.raises(OneBasinError, match=message):
        Permutation(two_layers(), {"h": index})


def test_indices_must_name_the_groups() -> None:
    with pytest.raises(OneBasinError, match="missing index for 'h'"):
        Permutation(two_layers(), {})
    with pytest.raises(OneBasinError, match="unknown group 'g'"):
        Permutation(two_layers(), {"h": torch.arange(5), "g": torch.arange(2)})


def test_product_of_different_symmetries_raises() -> None:
    p, q = Permutation.identity(two_layers(5)), Permutation.identity(two_layers(6))
    with pytest.raises(OneBasinError, match="belong to different symmetries"):
        p @ q
    assert not p.equals(q)


def test_random_depends_on_seed_and_name_only() -> None:
    symmetry = heads()
    p = Permutation.random(symmetry, seed=3)
    assert p.equals(Permutation.random(symmetry, seed=3))
    assert not p.equals(Permutation.random(symmetry, seed=4))
    assert p.indices["r"].tolist() == [0, 4, 3, 2, 1], (
        "random permutations differ from earlier versions"
    )
    turned = Symmetry(dict(reversed(symmetry.groups.items())), symmetry.layouts)
    assert p.equals(Permutation.random(turned, seed=3))


def test_random_does_not_use_the_global_generator() -> None:
    before = torch.random.get_rng_state()
    Permutation.random(heads(), seed=3)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_random_generates_every_permutation() -> None:
    symmetry = two_layers(3)
    permutations = {
        tuple(Permutation.random(symmetry, seed=s).indices["h"].tolist()) for s in range(60)
    }
    assert len(permutations) == 6


def test_sums_of_unequal_parts() -> None:
    q, k = Units("q", 3), Units("k", 2)
    groups = {"q": Group("q", 3), "k": Group("k", 2)}
    symmetry = Symmetry(groups, {"b": (Sum((q, k, Fixed(2), q)),)})
    indices = {"q": torch.tensor([2, 0, 1]), "k": torch.tensor([1, 0])}
    moved = Permutation(symmetry, indices).apply_tensor("b", torch.arange(10))
    assert moved.tolist() == [2, 0, 1, 4, 3, 5, 6, 9, 7, 8]
