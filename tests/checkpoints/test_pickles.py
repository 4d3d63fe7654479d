"""Files of torch.save: memory-mapped, never executed, with a clear error for every problem."""

import os
import pickle
import warnings
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from onebasin.checkpoints import open_checkpoint
from onebasin.errors import OneBasinError

STATE = {"weight": torch.arange(6.0).reshape(2, 3), "bias": torch.ones(2, dtype=torch.float16)}


class Planted:
    """Writes a file if it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (exec, ("raise RuntimeError('code was run')",))


def save(path: Path, content: Any, **options: Any) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.save(content, path, **options)
    return path


def assert_is_state(path: Path) -> None:
    with open_checkpoint(path) as checkpoint:
        assert list(checkpoint) == list(STATE)
        for name, tensor in STATE.items():
            assert torch.equal(checkpoint[name], tensor)
            assert checkpoint[name].dtype == checkpoint.metadata(name).dtype == tensor.dtype
            assert not checkpoint[name].requires_grad


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".bin", ".th", ".ckpt"])
@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_every_suffix_and_format(tmp_path: Path, suffix: str, zipped: bool) -> None:
    path = tmp_path / f"a{suffix}"
    assert_is_state(save(path, STATE, _use_new_zipfile_serialization=zipped))


@pytest.mark.parametrize(
    "content",
    [
        {"state_dict": STATE, "epoch": 3},
        {"model": STATE, "optimizer": {"lr": 0.1, "momentum": [torch.ones(2)]}},
        {"model_state_dict": STATE, "rng": torch.ones(2)},
        {"model": {"state_dict": STATE}},
        {"state_dict": {f"module.{name}": tensor for name, tensor in STATE.items()}},
        {name: nn.Parameter(tensor) for name, tensor in STATE.items()},
    ],
    ids=["state_dict", "model", "model_state_dict", "nested", "module", "parameters"],
)
def test_wrapped_state_dicts(tmp_path: Path, content: dict[str, Any]) -> None:
    assert_is_state(save(tmp_path / "a.pt", content))


def test_a_tensor_named_model_is_read_as_a_tensor(tmp_path: Path) -> None:
    with open_checkpoint(save(tmp_path / "a.pt", {"model": torch.ones(2)})) as checkpoint:
        assert list(checkpoint) == ["model"]


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="needs Linux's /proc")
def test_zip_files_are_memory_mapped(tmp_path: Path) -> None:
    path = save(tmp_path / "a.pt", {"x": torch.zeros(1000)})
    with open_checkpoint(path) as checkpoint:
        address = checkpoint["x"].data_ptr()
        ranges = [
            [int(end, 16) for end in line.split()[0].split("-")]
            for line in Path("/proc/self/maps").read_text().splitlines()
            if line.endswith(str(path))
        ]
        assert any(start <= address < end for start, end in ranges)


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_truncated_files_raise(tmp_path: Path, zipped: bool) -> None:
    path = save(tmp_path / "a.pt", STATE, _use_new_zipfile_serialization=zipped)
    whole = path.read_bytes()
    for length in [*range(0, len(whole), 7), len(whole) - 1]:
        path.write_bytes(whole[:length])
        expected = "is empty" if length == 0 else "truncated, corrupt or not a file of|cut short"
        with pytest.raises(OneBasinError, match=rf"a\.pt: .*({expected})") as caught:
            open_checkpoint(path)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_errors_do_not_repeat_internal_messages_of_torch(tmp_path: Path, zipped: bool) -> None:
    path = save(tmp_path / "a.pt", STATE, _use_new_zipfile_serialization=zipped)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(OneBasinError) as caught:
        open_checkpoint(path)
    assert str(caught.value) == (
        f"{path}: is not a complete checkpoint (truncated, corrupt or not a file of torch.save); "
        "copy or download it again"
    )


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"hello, this is no checkpoint", "truncated, corrupt or not a file of torch.save"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"),
        (b"\x10\0\0\0\0\0\0\0" + b'{"x":{"dtype":', "a safetensors file by its content"),
        (pickle.dumps({"a": [1, 2]}), "truncated, corrupt or not a file of torch.save"),
    ],
    ids=["text", "lfs", "safetensors", "plain-pickle"],
)
def test_other_formats_are_recognized(tmp_path: Path, content: bytes, text: str) -> None:
    path = tmp_path / "a.pt"
    path.write_bytes(content)
    with pytest.raises(OneBasinError, match=text):
        open_checkpoint(path)


def test_a_plain_zip_archive_raises(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.pt", "w") as archive:
        archive.writestr("readme.txt", "nothing here")
    with pytest.raises(OneBasinError, match="truncated, corrupt or not a file of"):
        open_checkpoint(tmp_path / "a.pt")


class Blocked:
    """Names a module that torch blocks."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.system, ("true",))


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize(
    ("content", "found"),
    [
        ({"state_dict": STATE, "args": Planted()}, r"(builtins\.)?exec"),
        ({"a": Blocked()}, rf"{os.name}\.system"),
    ],
    ids=["code", "blocked"],
)
def test_hostile_objects_raise_without_being_executed(
    tmp_path: Path, content: Any, found: str, zipped: bool
) -> None:
    path = save(tmp_path / "a.pt", content, _use_new_zipfile_serialization=zipped)
    text = rf"a\.pt: holds a pickled {found}, not only tensors.*run code, so save plain tensors"
    with pytest.raises(OneBasinError, match=text) as caught:
        open_checkpoint(path)
    assert "\n" not in str(caught.value)


def test_a_torchscript_archive_raises(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.script(nn.Linear(2, 2)).save(tmp_path / "a.pt")
    with pytest.raises(OneBasinError, match=r"a\.pt: a TorchScript archive, not a state dict"):
        open_checkpoint(tmp_path / "a.pt")


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ([torch.ones(2)], "holds list, not a mapping of names to tensors"),
        (torch.ones(2), "holds Tensor, not a mapping of names to tensors"),
        ({"w": torch.ones(2), "sub": STATE}, "entry 'sub' is of type dict, not a named tensor"),
        ({"w": torch.ones(2), "sub": [torch.ones(2)]}, "entry 'sub' is of type list, not a named"),
        ({3: torch.ones(2)}, "entry 3 is of type Tensor, not a named tensor"),
        ({}, "holds no tensors"),
        ({"state_dict": {}}, "holds no tensors"),
    ],
    ids=["list", "tensor", "mapping", "list-inside", "key", "empty", "empty-inside"],
)
def test_other_structures_raise(tmp_path: Path, content: Any, text: str) -> None:
    with pytest.raises(OneBasinError, match=rf"a\.pt: .*{text}"):
        open_checkpoint(save(tmp_path / "a.pt", content))


def unusual_tensors() -> dict[str, torch.Tensor]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {
            "quantized": torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8),
            "sparse": torch.eye(3).to_sparse(),
            "nested": torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]),
            "an expanded view": torch.ones(1).expand(1 << 40),
            "on the meta device": torch.ones(3, device="meta"),
        }


@pytest.mark.parametrize(
    "kind", ["quantized", "sparse", "nested", "an expanded view", "on the meta device"]
)
def test_unusual_tensors_raise(tmp_path: Path, kind: str) -> None:
    path = save(tmp_path / "a.pt", {"layer.weight": unusual_tensors()[kind]})
    with pytest.raises(OneBasinError, match=rf"a\.pt: tensor 'layer\.weight' is {kind}"):
        open_checkpoint(path)
