import pytest
import torch

from onebasin.merging._transformed import LazyTransformed
from onebasin.symmetry import Permutation
from onebasin.symmetry.groups import Group
from onebasin.symmetry.layouts import Fixed, Units
from onebasin.symmetry.symmetry import Symmetry
from onebasin.symmetry.transformation import Transformation


@pytest.fixture
def permutation() -> Transformation:
    layouts = {"up": (Units("h", 5), Fixed(2)), "down": (Fixed(3), Units("h", 5))}
    symmetry = Symmetry({"h": Group("h", 5)}, layouts)
    return Transformation(symmetry, Permutation.random(symmetry, seed=1))


def test_lazy_tensors_equal_the_permuted_tensors(permutation):
    params = {"up": torch.randn(5, 2), "down": torch.randn(3, 5)}
    kept = {name: tensor.clone() for name, tensor in params.items()}
    moved, expected = LazyTransformed(params, permutation), permutation.apply(params)
    assert list(moved) == list(expected)
    assert len(moved) == 2
    for name, tensor in expected.items():
        assert torch.equal(moved[name], tensor)
        assert moved.metadata(name).shape == tensor.shape
        assert torch.equal(params[name], kept[name])
    assert not torch.equal(moved["up"], params["up"])


def test_unknown_tensors_are_unchanged(permutation):
    extra = torch.ones(4)
    moved = LazyTransformed({"table": extra}, permutation)
    assert moved["table"] is extra
    assert "table" in moved
    assert "up" not in moved


def test_tensors_are_read_on_access(permutation):
    class Counting(dict):
        reads = 0

        def __getitem__(self, name):
            Counting.reads += 1
            return super().__getitem__(name)

    moved = LazyTransformed(Counting(up=torch.zeros(5, 2)), permutation)
    Counting.reads = 0
    assert list(moved) == ["up"]
    assert "up" in moved
    assert Counting.reads == 0
    assert moved["up"].shape == (5, 2)
    Counting.reads = 0  # the first access checks the type of the network
    assert moved["up"].shape == (5, 2)
    assert Counting.reads == 1
