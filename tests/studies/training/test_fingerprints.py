"""Fingerprints of data, architecture and initialization distinguish trainings."""

import pytest
import torch
from torch import nn

from onebasin.data.examples import Pixels, Tokens
from onebasin.errors import OneBasinError
from onebasin_studies.training import Dataset, train
from onebasin_studies.training.setup import (
    data_fingerprint,
    network_fingerprint,
    weights_fingerprint,
)
from tests.studies.training.networks import blobs, mlp

DATA = blobs(600)


def changed(tensor, row):
    tensor = tensor.clone()
    tensor[row] = (tensor[row] + 1) % 3 if tensor.ndim == 1 else 0
    return tensor


CHANGES = {
    "a late training input": {"train_inputs": changed(DATA.train_inputs, 599)},
    "a training label": {"train_labels": changed(DATA.train_labels, 500)},
    "a test input": {"test_inputs": changed(DATA.test_inputs, 39)},
    "test labels": {"test_labels": DATA.test_labels.flip(0)},
    "the classes": {"num_classes": 4},
    "the name": {"name": "other"},
}


@pytest.mark.parametrize("changes", CHANGES.values(), ids=CHANGES)
def test_fingerprint_depends_on_the_data(changes):
    assert data_fingerprint(DATA.replace()) == data_fingerprint(DATA)
    assert data_fingerprint(DATA.replace(**changes)) != data_fingerprint(DATA)


def test_images_differ_in_bytes_or_normalization():
    raw = torch.arange(5 * 3 * 4 * 4).remainder(251).to(torch.uint8).reshape(5, 3, 4, 4)

    def fingerprint(raw, mean=(0.5, 0.5, 0.5), deviation=(0.2, 0.2, 0.2)):
        pixels, labels = Pixels(raw, mean, deviation), torch.zeros(5, dtype=torch.int64)
        return data_fingerprint(
            Dataset("images", pixels, labels, test_inputs=pixels, test_labels=labels, num_classes=2)
        )

    first = fingerprint(raw)
    assert fingerprint(raw.clone()) == first
    assert fingerprint(raw.flip(0)) != first
    assert fingerprint(raw, mean=(0.5, 0.5, 0.4)) != first
    assert fingerprint(raw, deviation=(0.2, 0.2, 0.1)) != first


def test_sample_of_large_data_includes_the_end(monkeypatch):
    monkeypatch.setattr("onebasin_studies.training.setup.MOST_BYTES", 600)
    first = data_fingerprint(DATA)
    rows = [row for row in range(600) if data_fingerprint(one_changed(row)) != first]
    assert 20 <= len(rows) <= 30
    assert rows[0] < 30
    assert rows[-1] > 570


def one_changed(row):
    return DATA.replace(train_inputs=changed(DATA.train_inputs, row))


def test_texts_and_empty_splits_have_a_fingerprint():
    tokens, labels = Tokens(torch.ones(3, 4, dtype=torch.int32), 9), torch.zeros(3).long()
    empty = Dataset(
        "texts",
        tokens,
        labels,
        test_inputs=tokens.select(slice(0)),
        test_labels=labels[:0],
        num_classes=2,
    )
    assert data_fingerprint(empty)["test"] == [0, 4]


def test_fingerprint_of_weights_ignores_rounding():
    network = mlp()
    first = weights_fingerprint(network)
    with torch.no_grad():
        for param in network.parameters():
            param.mul_(1 + 1e-7)
    assert weights_fingerprint(network) == first
    with torch.no_grad():
        network[0].weight.neg_()
    assert weights_fingerprint(network) != first
    assert network_fingerprint(network) == network_fingerprint(mlp())
    assert network_fingerprint(network.requires_grad_(False)) != network_fingerprint(mlp())


def test_folder_rejects_other_data_and_initializations(tmp_path):
    def zeros():
        network = mlp()
        for param in network.parameters():
            nn.init.zeros_(param)
        return network

    options = {"seeds": [0], "epochs": 1, "checkpoints": tmp_path, "batch_size": 300}
    train(mlp(), DATA, **options)
    train(mlp, DATA, **options)
    with pytest.raises(OneBasinError, match="holds another training, with initialization"):
        train(zeros, DATA, **options)
    with pytest.raises(OneBasinError, match="holds another training, with data"):
        train(mlp(), one_changed(599), **options)
    with pytest.raises(OneBasinError, match="holds another training, with data"):
        train(mlp(), DATA.replace(test_labels=DATA.test_labels.flip(0)), **options)
