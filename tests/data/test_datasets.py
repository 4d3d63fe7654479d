import pytest
import torch
from sklearn import datasets

from onebasin.data.datasets import load_digits


def test_digits_are_split_and_normalized():
    data = load_digits()
    assert (len(data.train_inputs), len(data.test_inputs)) == (1437, 360)
    assert data.train_inputs.mean() == pytest.approx(0, abs=1e-5)
    assert data.train_inputs.std() == pytest.approx(1, abs=1e-5)
    assert data.train_labels.unique().tolist() == list(range(data.num_classes))
    assert data.test_labels.unique().tolist() == list(range(data.num_classes))


def test_every_digit_is_used_once_with_its_label():
    data = load_digits(seed=3)
    inputs = torch.cat([data.train_inputs, data.test_inputs])
    labels = torch.cat([data.train_labels, data.test_labels])
    bunch = datasets.load_digits()
    scale = (bunch.data.max() - bunch.data.min()) / float(inputs.max() - inputs.min())
    pixels = ((inputs - inputs.min()) * scale).round().long().tolist()
    found = sorted(zip(pixels, labels.tolist(), strict=True))
    expected = sorted(zip(bunch.data.astype(int).tolist(), bunch.target.tolist(), strict=True))
    assert found == expected


def test_a_seed_determines_the_split():
    first, again, other = load_digits(seed=1), load_digits(seed=1), load_digits(seed=2)
    assert torch.equal(first.test_inputs, again.test_inputs)
    assert not torch.equal(first.test_inputs, other.test_inputs)
