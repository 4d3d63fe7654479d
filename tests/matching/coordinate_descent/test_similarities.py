"""Small blocks of one tree that are multiplied together."""

from collections.abc import Mapping, Sequence

import pytest
import torch
from torch import Tensor, nn

import onebasin
from onebasin.matching._coordinate_descent import similarities
from onebasin.matching._coordinate_descent.pair import Pair
from onebasin.matching._coordinate_descent.search import Search
from onebasin.symmetry import Permutation, Symmetry


class Dense(nn.Module):
    """Every layer reads the outputs of all layers before it."""

    def __init__(self, num_layers: int, width: int = 3) -> None:
        super().__init__()
        sizes = [2 + width * place for place in range(num_layers + 1)]
        self.layers = nn.ModuleList(nn.Linear(size, width) for size in sizes[:-1])
        self.head = nn.Linear(sizes[-1], 2)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = torch.cat([x, torch.relu(layer(x))], 1)
        return self.head(x)


def problem(num_layers: int) -> tuple[Symmetry, dict[str, Tensor], dict[str, Tensor]]:
    model = Dense(num_layers)
    symmetry = onebasin.infer_symmetry(model, torch.zeros(2, 2))
    a, b = (
        {
            name: torch.randn(own.shape, generator=torch.Generator().manual_seed(seed + place))
            for place, (name, own) in enumerate(model.state_dict().items())
        }
        for seed in (100, 500)
    )
    return symmetry, a, b


def search_of(symmetry: Symmetry, a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> Search:
    pair = Pair(symmetry, a, b)
    pair.compute_stats()
    search = Search(symmetry, pair, cache_bytes=2**20)
    return search


def test_packed_similarities_match_single_products(monkeypatch):
    symmetry, a, b = problem(10)
    packed = search_of(symmetry, a, b)
    monkeypatch.setattr(similarities, "SMALL", 0)
    single = search_of(symmetry, a, b)
    assert any(product.packs for product in packed.products.values())
    assert not any(each.packs for each in single.products.values())
    roots: Sequence[str] = list(symmetry.groups)[::3]
    known = set(roots[:2])
    for number in range(3):
        indices = dict(Permutation.random(symmetry, seed=number).indices)
        for search in (packed, single):
            search.set_indices(indices)
            if number == 2:
                search.forget()
        for root in roots:
            result, expected = (
                each.similarities(root, None if number else known) for each in (packed, single)
            )
            assert result.keys() == expected.keys()
            for key, values in expected.items():
                torch.testing.assert_close(result[key], values)


def test_views_with_fixed_positions_are_packed():
    model = nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 3))
    symmetry = onebasin.infer_symmetry(model, torch.zeros(2, 2, 8, 8))
    a, b = ({n: torch.randn(t.shape) for n, t in model.state_dict().items()} for _ in range(2))
    (root,) = symmetry.groups
    expected = search_of(symmetry, a, b).similarities(root)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(similarities, "FEWEST", 1)
        search = search_of(symmetry, a, b)
    assert search.products[root].packs
    assert not search.products[root].terms
    for key, values in search.similarities(root).items():
        torch.testing.assert_close(values, expected[key])


def test_number_of_products_of_a_step_is_bounded(monkeypatch):
    num_layers = 24
    counts = {"products": 0, "steps": 0}

    def counting(function, name):
        def call(*args, **kwargs):
            counts[name] += 1
            return function(*args, **kwargs)

        return call

    patched = counting(similarities.add_products, "products")
    monkeypatch.setattr(similarities, "add_products", patched)
    monkeypatch.setattr(Search, "step", counting(Search.step, "steps"))
    result = onebasin.matching.match_weights(*problem(num_layers), max_sweeps=1)
    assert result.num_solves >= num_layers
    assert counts["products"] <= 3 * counts["steps"]


def test_memory_limit_is_respected():
    symmetry, a, b = problem(10)
    pair = Pair(symmetry, a, b)
    pair.compute_stats()
    search = Search(symmetry, pair, cache_bytes=600)
    assert not any(product.packs for product in search.products.values())
