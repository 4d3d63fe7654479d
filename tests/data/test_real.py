"""The real MNIST and CIFAR-10."""

from __future__ import annotations

import time

import pytest
import torch

from onebasin.data import load_dataset


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def mnist(data_root, cache):
    return load_dataset("mnist", root=data_root, cache=cache)


def test_values_of_mnist(mnist):
    assert mnist.train_examples.raw.shape == (60_000, 1, 28, 28)
    assert mnist.test_examples.raw.shape == (10_000, 1, 28, 28)
    assert mnist.train_labels[:5].tolist() == [5, 0, 4, 1, 9]
    assert mnist.test_labels[:5].tolist() == [7, 2, 1, 0, 4]
    assert mnist.train_labels.bincount().tolist() == [
        5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949,
    ]  # fmt: skip
    pixels = mnist.train_examples.raw.double() / 255
    assert pixels.mean() == pytest.approx(0.1307, abs=5e-5)
    assert pixels.std() == pytest.approx(0.3081, abs=5e-5)


def test_a_second_load_of_mnist_takes_little_time(mnist, data_root, cache):
    start = time.perf_counter()
    again = load_dataset("mnist", root=data_root, cache=cache)
    assert time.perf_counter() - start < 2
    assert torch.equal(again.test_examples.raw, mnist.test_examples.raw)


def test_values_of_cifar10(data_root, tmp_path):
    """Uses the test set for both splits, which takes less time."""
    folder = tmp_path / "root" / "cifar10"
    folder.mkdir(parents=True)
    for split in ("train", "test"):
        (folder / f"{split}.parquet").symlink_to(data_root / "cifar10" / "test.parquet")
    data = load_dataset("cifar10", root=tmp_path / "root", cache=tmp_path / "cache")
    assert data.test_examples.raw.shape == (10_000, 3, 32, 32)
    assert data.test_labels.bincount().tolist() == [1000] * 10
    assert data.class_names[:2] == ("airplane", "automobile")
    inputs = data.test_inputs
    torch.testing.assert_close(inputs.mean((0, 2, 3)), torch.zeros(3), atol=0.03, rtol=0)
    torch.testing.assert_close(inputs.std((0, 2, 3)), torch.ones(3), atol=0.03, rtol=0)
