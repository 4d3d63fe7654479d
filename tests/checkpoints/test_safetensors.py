"""Safetensors files: lazy, not cached, with a clear error for every kind of damage."""

import json
import struct
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from onebasin.checkpoints import TensorInfo, open_checkpoint
from onebasin.checkpoints._lazy import SAFETENSORS_DTYPES
from onebasin.errors import OneBasinError


@pytest.fixture
def tensors() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        "layer.weight": torch.randn(4, 3, generator=generator),
        "layer.bias": torch.randn(4, generator=generator).bfloat16(),
        "norm.num_batches_tracked": torch.tensor(7),
        "empty": torch.zeros(0, 5),
    }


@pytest.fixture
def file(tmp_path: Path, tensors: dict[str, Tensor]) -> Path:
    path = tmp_path / "a.safetensors"
    save_file(tensors, path)
    return path


def test_the_mapping_returns_the_saved_tensors(file: Path, tensors: dict[str, Tensor]) -> None:
    with open_checkpoint(file) as checkpoint:
        assert checkpoint.path == file
        assert checkpoint.files == (file,)
        assert checkpoint.folder is None
        assert sorted(checkpoint) == sorted(tensors)
        assert len(checkpoint) == 4
        assert "layer.weight" in checkpoint
        assert "layer" not in checkpoint
        for name, tensor in tensors.items():
            assert checkpoint[name].dtype == tensor.dtype
            assert torch.equal(checkpoint[name], tensor)
            assert checkpoint.metadata(name) == TensorInfo.of(tensor)
            assert checkpoint.metadata(name).nbytes == tensor.nbytes


def test_unknown_name_is_a_key_error(file: Path) -> None:
    with open_checkpoint(str(file)) as checkpoint:
        with pytest.raises(KeyError, match="absent"):
            checkpoint["absent"]
        with pytest.raises(KeyError, match="absent"):
            checkpoint.metadata("absent")


def test_tensors_are_not_cached_and_survive_closing(file: Path, tensors: dict[str, Tensor]) -> None:
    with open_checkpoint(file) as checkpoint:
        first, second = checkpoint["layer.weight"], checkpoint["layer.weight"]
    assert first is not second
    assert torch.equal(first, tensors["layer.weight"])
    with pytest.raises(OneBasinError, match=r"a\.safetensors: .*File is closed"):
        checkpoint["layer.weight"]


def test_equality_does_not_compare_tensors(file: Path) -> None:
    with open_checkpoint(file) as one, open_checkpoint(file) as other:
        assert one == one
        assert one != other
        assert len({one, other}) == 2
        assert repr(one) == f"Checkpoint({str(file)!r}, 4 tensors)"


@pytest.mark.parametrize("dtype", SAFETENSORS_DTYPES.values(), ids=str)
def test_every_dtype_of_the_format(tmp_path: Path, dtype: torch.dtype) -> None:
    path = tmp_path / "a.safetensors"
    tensor = torch.arange(24, dtype=torch.uint8).view(dtype)
    save_file({"x": tensor}, path)
    with open_checkpoint(path) as checkpoint:
        assert checkpoint.metadata("x") == TensorInfo.of(tensor)
        assert torch.equal(checkpoint["x"].view(torch.uint8), tensor.view(torch.uint8))


def test_every_truncation_raises(file: Path, tmp_path: Path) -> None:
    whole = file.read_bytes()
    cut = tmp_path / "cut.safetensors"
    for length in range(len(whole)):
        cut.write_bytes(whole[:length])
        expected = "is empty" if length == 0 else "truncated, corrupt or not a safetensors file"
        with pytest.raises(
            OneBasinError, match=rf"cut\.safetensors: .*{expected}.*again"
        ) as caught:
            open_checkpoint(cut)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
            "Git LFS pointer.*lfs pull",
        ),
        (b"PK\x03\x04rest of a zip archive", "written by torch.save.*rename it to end in .pt"),
        (b"\x80\x02rest of a pickle", "written by torch.save.*rename it to end in .pt"),
        (b"\xff" * 64, "truncated, corrupt or not a safetensors file"),
        (struct.pack("<Q", 8) + b"not json", "truncated, corrupt or not a safetensors file"),
    ],
    ids=["lfs", "zip", "pickle", "noise", "no-json"],
)
def test_other_formats_are_recognized(tmp_path: Path, content: bytes, text: str) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(content)
    with pytest.raises(OneBasinError, match=text):
        open_checkpoint(path)


def test_a_dtype_unknown_to_torch_raises(tmp_path: Path) -> None:
    entry = {"dtype": "F4", "shape": [4], "data_offsets": [0, 2]}
    header = json.dumps({"scales": entry}).encode()
    path = tmp_path / "a.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header + b"\0\0")
    with pytest.raises(OneBasinError, match=r"a\.safetensors: tensor 'scales' has dtype F4"):
        open_checkpoint(path)


def test_a_file_without_tensors_raises(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_file({}, path)
    with pytest.raises(OneBasinError, match=r"a\.safetensors: holds no tensors"):
        open_checkpoint(path)


def test_a_missing_file_and_an_unknown_suffix_raise(tmp_path: Path) -> None:
    with pytest.raises(OneBasinError, match=r"b\.safetensors: no such file or folder"):
        open_checkpoint(tmp_path / "b.safetensors")
    for name in ("a" * 300 + ".safetensors", "a\0.safetensors"):
        with pytest.raises(OneBasinError, match="no such file or folder; check the path"):
            open_checkpoint(tmp_path / name)
    (tmp_path / "model.abc").write_bytes(b"x")
    with pytest.raises(OneBasinError, match=r"model\.abc: unknown kind of checkpoint '\.abc'"):
        open_checkpoint(tmp_path / "model.abc")
