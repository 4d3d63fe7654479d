"""Errors name damaged files of a training, and how to fix them."""

import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from onebasin.errors import OneBasinError
from onebasin_studies.training import train
from tests.studies.training.networks import blobs, mlp

OPTIONS = {"seeds": [0, 1], "epochs": 2, "batch_size": 50}
MENDED = r"; delete it to train that part again"


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with a training that is done; copied before it is changed."""
    folder = tmp_path_factory.mktemp("trained")
    train(mlp(), blobs(), checkpoints=folder, **OPTIONS)
    return folder


@pytest.fixture
def folder(trained, tmp_path):
    import shutil

    return shutil.copytree(trained, tmp_path / "copy")


def rewrite(file, *, tensors=None, metadata=None):
    """Write a file of tensors once more, some of it changed."""
    with safe_open(file, "pt") as opened:
        kept = opened.metadata()
    save_file(tensors or load_file(file), file, {**kept, **(metadata or {})})


def check_named_and_mended(folder, file, why):
    kept = train(mlp(), blobs(), **OPTIONS)[0].params
    with pytest.raises(OneBasinError, match=rf"{file.name}: cannot be read \(.*{why}.*\){MENDED}"):
        train(mlp(), blobs(), checkpoints=folder, **OPTIONS)
    file.unlink()
    found = train(mlp(), blobs(), checkpoints=folder, **OPTIONS)[0].params
    assert all(torch.equal(found[name], tensor) for name, tensor in kept.items())


def test_network_of_another_tool_is_rejected(folder):
    file = folder / "seed-0.safetensors"
    save_file(load_file(file), file)
    check_named_and_mended(folder, file, "its metadata or rows have no 'status'")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda held: {"x": torch.zeros(2)}, "tensor '0.weight' is missing"),
        (lambda held: {**held, "x": torch.zeros(2)}, "tensor 'x' is not of the network"),
        (lambda held: {**held, "0.bias": torch.zeros(5)}, r"'0.bias' is \(5,\), not \(12,\)"),
        (lambda held: {**held, "0.bias": held["0.bias"].double()}, "'0.bias' is torch.float64"),
    ],
)
def test_unexpected_tensors_are_rejected(folder, change, why):
    file = folder / "seed-0.safetensors"
    rewrite(file, tensors=change(load_file(file)))
    check_named_and_mended(folder, file, why)


@pytest.mark.parametrize(
    ("metadata", "why"),
    [
        ({"status": "fine"}, "its status is 'fine'"),
        ({"engine": "steam"}, "its engine is 'steam'"),
        ({"seed": "1"}, "its seed is 1"),
        ({"epochs": "two"}, "ValueError: invalid literal"),
    ],
)
def test_unexpected_metadata_are_rejected(folder, metadata, why):
    file = folder / "seed-0.safetensors"
    rewrite(file, metadata=metadata)
    check_named_and_mended(folder, file, why)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda text: "", "it has no 2 epochs of seed 0"),
        (lambda text: text[:50], "JSONDecodeError"),
        (lambda text: text.splitlines()[0], "it has no 2 epochs of seed 0"),
        (lambda text: "[1]\n", "its history has no rows"),
        (lambda text: '{"seed": 0, "epoch": 1}\n', "rows have no 'loss'"),
        (lambda text: text.replace('"seed": 0', '"seed": 1'), "it has no 2 epochs of seed 0"),
    ],
)
def test_truncated_history_is_rejected(folder, change, why):
    file = folder / "history" / "seed-0.jsonl"
    file.write_text(change(file.read_text()))
    check_named_and_mended(folder, file, why)


@pytest.mark.parametrize(
    ("tensors", "metadata", "why"),
    [
        ({"x": torch.zeros(2)}, {}, "tensor '0.weight' is missing"),
        (None, {"history": "{}"}, "rows have no '0'"),
        (None, {"history": "["}, "JSONDecodeError"),
        (None, {"epoch": "0"}, "it has no 0 epochs of seed 0"),
        (None, {"seeds": "[0]"}, r"is \(2, 12, 6\), not \(1, 12, 6\)"),
        (None, {"seeds": "7"}, "TypeError"),
    ],
)
def test_unexpected_state_is_rejected(tmp_path, tensors, metadata, why):
    options = {**OPTIONS, "epochs": 40, "group_size": 2, "checkpoints": tmp_path}

    def stop(found):
        if found.epoch == 1:
            raise KeyboardInterrupt

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with pytest.raises(KeyboardInterrupt):
            train(mlp(), blobs(), on_epoch_end=stop, **options)
        (file,) = (tmp_path / "running").glob("*.safetensors")
        rewrite(file, tensors=tensors, metadata=metadata)
        with pytest.raises(
            OneBasinError, match=rf"{file.name}: cannot be read \(.*{why}.*{MENDED}"
        ):
            train(mlp(), blobs(), **options)
        file.unlink()
        assert len(train(mlp(), blobs(), **options)) == 2
    finally:
        torch.set_num_threads(threads)
    assert json.loads((tmp_path / "manifest.json").read_text())["groups"] == [[0, 1]]
