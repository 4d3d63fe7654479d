"""Valid seeds, and stable random numbers."""

from contextlib import nullcontext

import numpy as np
import pytest
import torch

from onebasin._random import (
    LEAST_SEED,
    MOST_SEED,
    check_seed,
    check_seeds,
    forked,
    generator_of,
    order_of,
    seeded,
    wrapped,
)
from onebasin.data import Augmentation, batches, load_dataset
from onebasin.errors import OneBasinError
from onebasin_studies.training import load_digits, train
from onebasin_studies.training.subspaces import train_subspace
from tests.studies.training.networks import blobs, mlp

OUTSIDE = [LEAST_SEED - 1, MOST_SEED + 1]


def test_random_numbers_are_stable():
    assert order_of(3, 1, 8).tolist() == [3, 0, 6, 1, 5, 4, 7, 2]
    assert order_of(-5, 0, 8).tolist() == [2, 3, 5, 7, 6, 4, 0, 1]
    assert generator_of(3, "noise", 0).initial_seed() == 30633481300878568


@pytest.mark.parametrize("seed", [LEAST_SEED, -1, 0, MOST_SEED])
def test_torch_accepts_every_valid_seed(seed):
    assert wrapped(check_seed(seed)) == seed
    torch.Generator().manual_seed(seed)


def test_derived_seeds_wrap_around():
    assert wrapped(MOST_SEED + 1) == 0
    assert 0 <= wrapped(LEAST_SEED - 1) <= MOST_SEED


@pytest.mark.parametrize("seeds", [[0, 0.5], ["a"], "ab", [None], [True]])
def test_invalid_seed_is_named(seeds):
    with pytest.raises(OneBasinError, match=r"^a seed is .*; it must be a whole number from"):
        check_seeds(seeds)


def test_seeds_must_be_a_list():
    with pytest.raises(OneBasinError, match=r"^seeds is 3; give a list of whole numbers, su"):
        check_seeds(3)
    with pytest.raises(OneBasinError, match=r"^seeds is empty"):
        check_seeds([])


@pytest.mark.parametrize("seeds", [np.arange(2), torch.arange(2), range(2), iter([0, 1])])
def test_seeds_can_be_any_iterable(seeds):
    assert [(type(seed), seed) for seed in check_seeds(seeds)] == [(int, 0), (int, 1)]


@pytest.mark.parametrize("seed", OUTSIDE)
def test_every_seed_is_checked(seed):
    digits = load_digits()
    calls = {
        "train: a seed": lambda: train(mlp(), blobs(), seeds=[0, seed]),
        "train: trunk_seed": lambda: train(
            mlp(), blobs(), seeds=[0], spawn_epoch=1, trunk_seed=seed
        ),
        "train_subspace: seed": lambda: train_subspace(mlp(), blobs(), seed=seed),
        "load_digits: seed": lambda: load_digits(seed=seed),
        "load_dataset: seed": lambda: load_dataset("nothing", seed=seed),
        "subset: seed": lambda: digits.subset(5, seed=seed),
        "split: seed": lambda: digits.split(seed=seed),
        "with_label_noise: seed": lambda: digits.with_label_noise(0.1, seed=seed),
        "batches: shuffle_seed": lambda: batches(
            digits.test_inputs, digits.test_labels, 9, shuffle_seed=seed
        ),
    }
    for text, call in calls.items():
        with pytest.raises(OneBasinError, match=f"^{text}.*must be a whole number from -9223"):
            call()


@pytest.mark.parametrize("seed", [LEAST_SEED, MOST_SEED])
def test_smallest_and_largest_seed_are_valid(seed):
    digits = load_digits(seed=seed).as_images()
    part = digits.subset(5, 5, seed).with_label_noise(0.2, seed=seed)
    apply_augmentation = batches(
        part.test_inputs, part.test_labels, 3, shuffle_seed=seed, augmentation=Augmentation()
    )
    assert [len(labels) for _, labels in apply_augmentation] == [3, 2]
    assert len(train(mlp(), blobs(), seeds=[seed], epochs=1)[0].losses) == 1


def test_global_generators_are_unchanged(monkeypatch):
    before = torch.get_rng_state()
    with seeded(3):
        drawn = torch.rand(4)
    with seeded(3):
        assert torch.equal(torch.rand(4), drawn)
    with forked():
        torch.rand(4)
    assert torch.equal(torch.get_rng_state(), before)
    # Those of accelerators, too, once they are in use.
    kept = []
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.random, "fork_rng", lambda devices: nullcontext(kept.extend(devices)))
    with forked():
        assert kept == [0, 1]
