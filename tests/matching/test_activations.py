"""Activation matching: planted permutations, statistics, data of every kind, bad input."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from onebasin import OneBasinError, Permutation, infer_symmetry
from onebasin.graph.features import Features
from onebasin.matching._coordinate_descent.pair import Pair
from onebasin.matching._coordinate_descent.search import Search
from onebasin.matching._features.similarities import FeatureSimilarities
from onebasin.matching.activations import match_activations
from onebasin.matching.combined import match_combined
from onebasin.matching.commutativity import match_commutativity
from onebasin.matching.functional_difference import match_functional_difference
from onebasin.symmetry import Symmetry
from tests.graph.graphs import graphs_made_once
from tests.graph.networks import NETWORKS, build
from tests.matching.twins import twins

CHOICES = [
    {"statistic": statistic, "position": position}
    for statistic in ("inner", "correlation")
    for position in ("post", "pre")
]


twins_once = cache(twins)


@pytest.fixture(scope="module")
def graphs_once() -> Iterator[None]:
    with graphs_made_once():
        yield


@pytest.mark.usefixtures("graphs_once")
@pytest.mark.parametrize("choice", CHOICES, ids=lambda c: "-".join(c.values()))
@pytest.mark.parametrize("name", NETWORKS)
def test_planted_permutation_is_recovered_up_to_dead_units(name: str, choice: Any) -> None:
    symmetry, model, a, b, batch = twins_once(name)
    result = match_activations(symmetry, a, b, model=model, data=[batch, batch[:2]], **choice)
    moved = result.permutation.apply(b)
    copied, (fresh, _) = deepcopy(model), build(name)
    copied.load_state_dict(moved)
    torch.testing.assert_close(copied(batch), fresh(batch))
    if choice["position"] == "pre":
        assert all(torch.equal(moved[tensor], a[tensor]) for tensor in a)
    assert result.objective[1] > result.objective[0]


@pytest.mark.parametrize("statistic", ["inner", "correlation"])
def test_dead_units_are_matched_by_weights(statistic: Any) -> None:
    torch.manual_seed(0)
    widths = [(6, 12), (12, 12), (12, 3)]
    layers = [part for sizes in widths for part in (nn.Linear(*sizes), nn.ReLU())][:-1]
    model, batch = nn.Sequential(*layers).double(), torch.randn(50, 6, dtype=torch.float64)
    a = model.state_dict()
    for name in ("0.bias", "2.bias"):
        a[name][3:8] = -100.0
    symmetry = infer_symmetry(model, batch)
    b = Permutation.random(symmetry, seed=1).apply(a)
    result = match_activations(symmetry, a, b, model=model, data=[batch], statistic=statistic)
    moved = result.permutation.apply(b)
    assert all(torch.equal(moved[name], a[name]) for name in a)


def test_inner_product_covers_all_examples() -> None:
    model, batch = build("mlp")
    symmetry = infer_symmetry(model, batch)
    other = {name: torch.randn_like(tensor) for name, tensor in model.state_dict().items()}
    result = match_activations(
        symmetry, model.state_dict(), other, model=model, data=[batch[:4], batch[4:]]
    )
    features = []
    for params in (model.state_dict(), other):
        features.append(torch.relu(batch @ params["0.weight"].T + params["0.bias"]))
    similarity = features[0].T @ features[1]
    index = result.permutation.indices[next(iter(symmetry.groups))]
    torch.testing.assert_close(
        torch.tensor(result.objective[1], dtype=torch.float64),
        similarity[torch.arange(8), index].sum(),
    )
    assert result.objective[0] == pytest.approx(float(similarity.trace()))


def test_correlations_are_bounded_for_any_batches() -> None:
    model, batch = build("residual")
    symmetry = infer_symmetry(model, batch)
    other = build("residual", seed=1)[0].state_dict()
    runs = [
        match_activations(
            symmetry, model.state_dict(), other, model=model, data=data, statistic="correlation"
        )
        for data in ([batch], [batch[:2], batch[2:]])
    ]
    num_units = sum(group.size for group in symmetry.groups.values())
    assert all(abs(value) < num_units for value in runs[0].objective)
    assert runs[0].objective == pytest.approx(runs[1].objective, rel=0.05)


def test_small_cache_takes_more_passes_to_the_same_result() -> None:
    symmetry, model, a, b, batch = twins("transformer")
    once = match_activations(symmetry, a, b, model=model, data=[batch])
    often = match_activations(symmetry, a, b, model=model, data=[batch], cache_bytes=1)
    assert often.num_sweeps > once.num_sweeps == 1
    assert all(
        torch.equal(index, often.permutation.indices[name])
        for name, index in once.permutation.indices.items()
    )


def test_pass_covers_all_trees_that_fit_into_the_cache() -> None:
    model = nn.Sequential(
        nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, 20), nn.ReLU(), nn.Linear(20, 4), nn.ReLU(),
        nn.Linear(4, 2),
    )  # fmt: skip
    symmetry, params = infer_symmetry(model, torch.zeros(2, 5)), model.state_dict()
    pair = Pair(symmetry, params, params)
    pair.compute_stats()
    search = Search(symmetry, pair, cache_bytes=0)
    features = Features(model, [torch.zeros(2, 5)])
    feature_similarities = FeatureSimilarities(search, features, "inner", "post")
    roots = list(search.trees)
    assert [symmetry.groups[root].size for root in roots] == [6, 20, 4]
    few = 4 * (6 * 6 + 4 * 4)
    assert feature_similarities.available(roots, (), few) == [roots[0], roots[2]]
    assert feature_similarities.available(roots, (), few - 1) == [roots[0]]
    assert feature_similarities.available(roots, (), few + 4 * 20 * 20) == roots


def test_hand_written_symmetry_keeps_its_group_names() -> None:
    model, batch = build("mlp")
    spec = {"0.weight": ("hidden", None), "0.bias": ("hidden",), "2.weight": (None, "hidden")}
    symmetry = Symmetry.from_spec({**spec, "2.bias": (None,)}, model.state_dict())
    a = model.state_dict()
    b = Permutation.random(symmetry, seed=1).apply(a)
    result = match_activations(symmetry, a, b, model=model, data=[batch], position="pre")
    moved = result.permutation.apply(b)
    assert all(torch.equal(moved[name], a[name]) for name in a)


def test_half_precision_checkpoints_run_in_the_precision_of_the_model() -> None:
    symmetry, model, a, _, batch = twins("residual")
    half = {n: t.to(torch.bfloat16) if t.is_floating_point() else t for n, t in a.items()}
    b = Permutation.random(symmetry, seed=3).apply(half)
    result = match_activations(symmetry, half, b, model=model, data=[batch], position="pre")
    moved = result.permutation.apply(b)
    assert all(torch.equal(moved[name], half[name]) for name in half)


class LoneImage(nn.Module):
    """A model that is called on one image, without a batch dimension."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.more, self.head = nn.Conv2d(3, 6, 3), nn.Conv2d(6, 5, 2), nn.Linear(5, 2)

    def forward(self, image: Tensor) -> Tensor:
        hidden = torch.relu(self.more(torch.relu(self.conv(image))))
        return self.head(hidden.mean((1, 2)))


@pytest.mark.parametrize(
    "match", [match_activations, match_combined, match_commutativity, match_functional_difference]
)
def test_images_without_a_batch_dimension_are_supported(match: Any) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model, images = LoneImage(), list(torch.randn(3, 3, 6, 7))
    symmetry, a = infer_symmetry(model, images[0]), model.state_dict()
    b = Permutation.random(symmetry, seed=1).apply(a)
    moved = match(symmetry, a, b, model=model, data=images).permutation.apply(b)
    assert all(torch.equal(moved[name], a[name]) for name in a)


def test_single_example_is_supported() -> None:
    symmetry, model, a, b, batch = twins("mlp")
    result = match_activations(symmetry, a, b, model=model, data=[batch[:1]], position="pre")
    moved = result.permutation.apply(b)
    assert all(torch.equal(moved[name], a[name]) for name in a)


def test_inputs_are_not_changed_and_results_are_reproducible() -> None:
    symmetry, model, a, b, batch = twins("residual")
    before = {name: tensor.clone() for name, tensor in b.items()}
    first, second = (match_activations(symmetry, a, b, model=model, data=[batch]) for _ in "12")
    assert all(torch.equal(tensor, before[name]) for name, tensor in b.items())
    assert first.objective == second.objective
    assert all(
        torch.equal(i, second.permutation.indices[n]) for n, i in first.permutation.indices.items()
    )


def bad(**changes: Any) -> str:
    symmetry, model, a, b, batch = twins("mlp")
    given = {"model": model, "data": [batch], **changes}
    with pytest.raises(OneBasinError) as raised:
        match_activations(symmetry, given.pop("a", a), given.pop("b", b), **given)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_bad_input_gives_a_one_line_error() -> None:
    _, _, a, _, batch = twins("mlp")
    assert "the data has no batches" in bad(data=[])
    assert "can be read only once" in bad(data=iter([batch]))
    assert "does not run on batch 0" in bad(data=[batch[:, :4]])
    broken = {**a, "0.bias": torch.full_like(a["0.bias"], 1e200)}
    assert "features of group" in bad(a=broken, b=broken)
    infinite = {**a, "0.weight": torch.full_like(a["0.weight"], 1.7e308)}
    assert "the features of B at" in bad(b=infinite)
    assert "is not in the symmetry" in bad(b={**a, "extra": batch})
    other, images = build("conv_net")
    assert "pass the model that the symmetry is of" in bad(model=other, data=[images])
