"""Checkpoints in folders and index files: reading and errors."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from onebasin.checkpoints import open_checkpoint
from onebasin.errors import OneBasinError

TENSORS = {"a": torch.ones(2), "b": torch.zeros(3), "c": torch.full((4,), 2.0)}
INDEX = "model.safetensors.index.json"


def write_shards(folder: Path, *, suffix: str = ".safetensors") -> Path:
    """Write TENSORS to two files with an index, in the form of transformers."""
    stem = "model" if suffix == ".safetensors" else "pytorch_model"
    files = {"a": "one" + suffix, "b": "one" + suffix, "c": "two" + suffix}
    for file in set(files.values()):
        content = {name: TENSORS[name] for name in files if files[name] == file}
        (save_file if suffix == ".safetensors" else torch.save)(content, folder / file)
    index = folder / f"{stem}{suffix}.index.json"
    index.write_text(json.dumps({"metadata": {"total_size": 36}, "weight_map": files}))
    return index


def assert_holds_tensors(path: Path, expected: dict[str, Tensor]) -> None:
    with open_checkpoint(path) as checkpoint:
        assert set(checkpoint) == set(expected)
        assert all(torch.equal(checkpoint[name], expected[name]) for name in expected)


@pytest.mark.parametrize("suffix", [".safetensors", ".bin"])
def test_shards_by_folder_and_by_index(tmp_path: Path, suffix: str) -> None:
    index = write_shards(tmp_path, suffix=suffix)
    assert_holds_tensors(tmp_path, TENSORS)
    assert_holds_tensors(index, TENSORS)
    for path in (tmp_path, index):
        with open_checkpoint(path) as checkpoint:
            assert checkpoint.path == path
            assert checkpoint.folder == tmp_path
            shards = [tmp_path / f"{stem}{suffix}" for stem in ("one", "two")]
            assert checkpoint.files == (index, *shards)


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_single_file_in_a_folder(tmp_path: Path, name: str) -> None:
    write = save_file if name.endswith(".safetensors") else torch.save
    write(TENSORS, tmp_path / name)
    (tmp_path / "config.json").write_text("{}")
    assert_holds_tensors(tmp_path, TENSORS)


def test_safetensors_files_are_preferred(tmp_path: Path) -> None:
    save_file({"a": torch.ones(1)}, tmp_path / "model.safetensors")
    torch.save({"b": torch.ones(1)}, tmp_path / "pytorch_model.bin")
    assert_holds_tensors(tmp_path, {"a": torch.ones(1)})


def test_a_folder_without_a_checkpoint_raises(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(OneBasinError, match=r"holds no checkpoint; expected one of model\.safe"):
        open_checkpoint(tmp_path)


def test_a_missing_shard_raises(tmp_path: Path) -> None:
    write_shards(tmp_path)
    (tmp_path / "two.safetensors").unlink()
    with pytest.raises(OneBasinError, match=r"names the file 'two\.safetensors', which is not in"):
        open_checkpoint(tmp_path)


def test_a_missing_tensor_raises(tmp_path: Path) -> None:
    write_shards(tmp_path)
    save_file({"a": torch.ones(2)}, tmp_path / "one.safetensors")
    text = r"index\.json: 1 tensor \('b'\) not in the file the index names, one\.safetensors"
    with pytest.raises(OneBasinError, match=text):
        open_checkpoint(tmp_path)


def test_a_truncated_shard_is_named_in_the_error(tmp_path: Path) -> None:
    write_shards(tmp_path)
    shard = tmp_path / "two.safetensors"
    shard.write_bytes(shard.read_bytes()[:-1])
    with pytest.raises(OneBasinError, match=r"two\.safetensors: truncated"):
        open_checkpoint(tmp_path)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("", "not a valid checkpoint index"),
        ('{"weight_map": {"a": "one', "not a valid checkpoint index"),
        ("[]", "not a valid checkpoint index"),
        ("{}", "not a valid checkpoint index.*weight_map"),
        ('{"weight_map": []}', "not a valid checkpoint index"),
        ('{"weight_map": {"a": 3}}', "not a valid checkpoint index.*file names"),
        ('{"weight_map": {}}', "holds no tensors"),
        ('{"weight_map": {"a": "one.safetensors", "a": "two.safetensors"}}', "'a' named twice"),
        ('{"weight_map": {"a": "model.onnx"}}', r"names the file 'model\.onnx', which is not in"),
        ("[" * 100_000, "not a valid checkpoint index"),
    ],
)
def test_an_invalid_index_raises(tmp_path: Path, content: str, text: str) -> None:
    (tmp_path / INDEX).write_text(content)
    with pytest.raises(OneBasinError, match=text) as caught:
        open_checkpoint(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_binary_index_raises(tmp_path: Path) -> None:
    (tmp_path / INDEX).write_bytes(b"\xff\xfe\x00")
    with pytest.raises(OneBasinError, match=r"index\.json: not a valid checkpoint index"):
        open_checkpoint(tmp_path / INDEX)


def test_a_prefix_of_all_shards_is_removed(tmp_path: Path) -> None:
    for file, name in (("one", "module.a"), ("two", "module.b")):
        save_file({name: torch.ones(1)}, tmp_path / f"{file}.safetensors")
    weight_map = {"module.a": "one.safetensors", "module.b": "two.safetensors"}
    (tmp_path / INDEX).write_text(json.dumps({"weight_map": weight_map}))
    assert_holds_tensors(tmp_path, {"a": torch.ones(1), "b": torch.ones(1)})
