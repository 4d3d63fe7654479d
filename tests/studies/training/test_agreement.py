"""Every engine agrees with a plain PyTorch loop."""

import pytest
import torch
from torch import nn

from onebasin_studies.training import Recipe, train
from tests.studies.training.networks import assert_close, assert_differ, blobs, mlp, noisy, normed
from tests.studies.training.reference import train_plainly

RECIPES = {
    "adam": Recipe(epochs=2, batch_size=20, learning_rate=3e-3, stop_loss=None),
    "adamw": Recipe(epochs=2, batch_size=20, optimizer="adamw", weight_decay=0.1, stop_loss=None),
    "adam with decay": Recipe(epochs=2, batch_size=20, weight_decay=0.01, stop_loss=None),
    "sgd": Recipe(epochs=2, batch_size=20, optimizer="sgd", learning_rate=0.1, stop_loss=None),
    "nesterov": Recipe(
        epochs=3,
        batch_size=16,
        optimizer="sgd",
        learning_rate=0.05,
        momentum=0.9,
        nesterov=True,
        weight_decay=1e-2,
        schedule="cosine",
        warmup_epochs=1.0,
        stop_loss=None,
    ),
    "steps": Recipe(
        epochs=3,
        batch_size=40,
        optimizer="sgd",
        learning_rate=0.1,
        momentum=0.5,
        schedule="steps",
        milestones=(1, 2),
        stop_loss=None,
    ),
    "a batch of one": Recipe(epochs=2, batch_size=41, stop_loss=None),
}


@pytest.mark.parametrize("engine", ["vmap", "loop"])
@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_engines_agree_with_a_plain_loop(recipe, engine):
    data = blobs()
    found = train(mlp(), data, seeds=[3, 1, 8], recipe=recipe, engine=engine)
    assert [network.seed for network in found] == [3, 1, 8]
    assert {network.engine for network in found} == {engine}
    for network in found:
        assert_close(network.params, train_plainly(mlp(), data, network.seed, recipe))
    assert_differ(found[0].params, found[1].params)


@pytest.mark.parametrize("engine", ["vmap", "loop"])
def test_running_statistics_are_separate(engine):
    data, recipe = blobs(), RECIPES["a batch of one"]
    found = train(normed(), data, seeds=[0, 1], recipe=recipe, engine=engine)
    for network in found:
        assert_close(network.params, train_plainly(normed(), data, network.seed, recipe))
        assert network.params["1.num_batches_tracked"] == 4
    assert_differ(found[0].params, found[1].params)


@pytest.mark.parametrize("engine", ["vmap", "loop"])
def test_result_does_not_depend_on_other_seeds(engine):
    data, recipe = blobs(), RECIPES["adam"]
    together = train(mlp(), data, seeds=range(5), recipe=recipe, engine=engine, group_size=5)
    (alone,) = train(mlp(), data, seeds=[3], recipe=recipe, engine=engine)
    assert_close(together[3].params, alone.params)
    assert together[3].losses == pytest.approx(alone.losses, rel=1e-5)
    assert [row.error for row in together[3].history] == [row.error for row in alone.history]


@pytest.mark.parametrize("engine", ["vmap", "loop"])
def test_noise_is_separate(engine):
    data = blobs()
    options = {"epochs": 2, "batch_size": 30, "engine": engine}
    found = train(noisy(), data, seeds=[4, 5, 6], group_size=3, **options)
    alone = train(noisy(), data, seeds=[5], **options)
    assert_close(found[1].params, alone[0].params)


def test_engines_draw_the_same_noise():
    data = blobs()
    batched, looped = (
        train(noisy(), data, seeds=[4, 5], epochs=2, batch_size=30, engine=engine)
        for engine in ("vmap", "loop")
    )
    for a, b in zip(batched, looped, strict=True):
        assert_close(a.params, b.params)


def test_dropout_does_not_change_the_random_state():
    still = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Dropout(0.0), nn.Linear(16, 3))
    noise, data = noisy(), blobs()
    state = torch.random.get_rng_state()
    (quiet,) = train(still, data, seeds=[4], epochs=1, batch_size=30, engine="loop")
    (loud,) = train(noise, data, seeds=[4], epochs=1, batch_size=30, engine="loop")
    assert_differ(quiet.params, loud.params)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_tied_and_fixed_parameters():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = nn.Linear(6, 6)
            self.second = nn.Linear(6, 6)
            self.second.weight = self.first.weight
            self.head = nn.Linear(6, 3)
            self.head.bias.requires_grad_(False)

        def forward(self, x):
            return self.head(self.second(self.first(x).relu()).relu())

    data, recipe = blobs(), RECIPES["sgd"]
    for engine in ("vmap", "loop"):
        found = train(Tied(), data, seeds=[0, 1], recipe=recipe, engine=engine)
        for network in found:
            assert_close(network.params, train_plainly(Tied(), data, network.seed, recipe))
            assert torch.equal(network.params["first.weight"], network.params["second.weight"])
