"""Datasets of the hub, read by the library `datasets`; a folder replaces the hub."""

from __future__ import annotations

import logging
import shutil

import pytest
import torch

from onebasin.data import DATASETS, load_dataset
from onebasin.data.datasets import HUB_PREFIX
from onebasin.errors import OneBasinError
from tests.data.small_datasets import images, write_set, write_split

library = pytest.importorskip("datasets", reason="needs pip install 'onebasin[data]'")


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """The name of a dataset in a folder that replaces the hub."""
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "hf")
    monkeypatch.delenv("ONEBASIN_DATA", raising=False)
    return HUB_PREFIX + str(write_set(tmp_path / "hub"))


def test_a_dataset_of_the_hub_is_decoded(hub, tmp_path):
    data = load_dataset(hub, cache=tmp_path / "cache")
    assert torch.equal(data.train_examples.raw[:, 0], torch.from_numpy(images(20)))
    assert data.train_labels.tolist() == [row % 3 for row in range(20)]
    assert data.class_names == ("cat", "dog", "eel")


def test_a_decoded_dataset_needs_no_hub(hub, tmp_path):
    load_dataset(hub, cache=tmp_path / "cache")
    shutil.rmtree(tmp_path / "hub")
    assert len(load_dataset(hub, cache=tmp_path / "cache").train_labels) == 20


def test_a_folder_in_the_root_is_preferred_to_the_hub(tmp_path):
    write_set(tmp_path / "root" / "owner" / "name", num_train=5)
    data = load_dataset("owner/name", root=tmp_path / "root", cache=tmp_path / "cache")
    assert len(data.train_labels) == 5


def test_splits_are_selected_by_name(hub, tmp_path):
    folder = tmp_path / "hub"
    write_split(folder / "validation.parquet", {"image": [], "label": []})
    write_set(folder, num_train=12)
    (folder / "validation.parquet").unlink()
    data = load_dataset(hub, cache=tmp_path / "cache", train_split="test", test_split="train")
    assert (len(data.train_labels), len(data.test_labels)) == (6, 12)
    text = r"has no split missing; its splits are train, test; name the right ones as test_split"
    with pytest.raises(OneBasinError, match=text):
        load_dataset(hub, cache=tmp_path / "cache", test_split="missing")


def test_a_missing_network_gives_one_line(tmp_path, monkeypatch, capfd):
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    text = r"^data: owner/nothing cannot .* hub \(.*root= \(default: ONEBASIN_DATA\)$"
    with pytest.raises(OneBasinError, match=text):
        load_dataset("owner/nothing", cache=tmp_path / "cache")
    assert capfd.readouterr() == ("", "")


def test_settings_of_the_library_are_restored(hub, tmp_path):
    level = logging.getLogger("huggingface_hub").level
    shows = library.are_progress_bars_disabled()
    load_dataset(hub, cache=tmp_path / "cache")
    assert logging.getLogger("huggingface_hub").level == level
    assert library.are_progress_bars_disabled() == shows


def test_a_missing_library_gives_the_install_command(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "datasets", None)
    with pytest.raises(OneBasinError, match="install the extra 'data': pip install 'datasets"):
        load_dataset("svhn", cache=tmp_path / "cache")


def test_normalizations_of_the_named_datasets():
    assert DATASETS["svhn"].normalization[1] == (0.1980, 0.2010, 0.1970)
    for name, source in DATASETS.items():
        if source is not None:
            channels = 1 if "mnist" in name else 3
            assert [len(part) for part in source.normalization] == [channels, channels]
