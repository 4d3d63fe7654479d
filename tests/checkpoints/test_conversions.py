"""Checkpoints with other tensor names and shapes than the module."""

import os
import weakref
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from onebasin.checkpoints import Checkpoint, TensorInfo, open_checkpoint, write_checkpoint
from onebasin.checkpoints._conversions import Conversion, ConvertedCheckpoint, rename

STORED = {
    "expert.0": torch.zeros(2, 3),
    "expert.1": torch.ones(2, 3),
    "qkv": torch.arange(12.0).reshape(6, 2),
    "gamma": torch.full((3,), 2.0),
}

STACK = Conversion(
    ("expert.0", "expert.1"),
    ("experts",),
    lambda t: {"experts": torch.stack([t["expert.0"], t["expert.1"]])},
    lambda t: {f"expert.{i}": part for i, part in enumerate(t["experts"].unbind())},
)
SPLIT = Conversion(
    ("qkv",),
    ("q", "k", "v"),
    lambda t: dict(zip("qkv", t["qkv"].chunk(3), strict=True)),
    lambda t: {"qkv": torch.cat([t["q"], t["k"], t["v"]])},
)


@pytest.fixture
def converted(tmp_path: Path) -> Iterator[Checkpoint]:
    (tmp_path / "source").mkdir()
    save_file(STORED, tmp_path / "source" / "model.safetensors")
    with open_checkpoint(tmp_path / "source") as checkpoint:
        yield ConvertedCheckpoint(checkpoint, [STACK, SPLIT, rename("gamma", "scale")])


def test_the_view_has_the_names_and_shapes_of_the_module(
    converted: Checkpoint, tmp_path: Path
) -> None:
    assert set(converted) == {"experts", "q", "k", "v", "scale"}
    assert converted.path == converted.folder == tmp_path / "source"
    assert converted.files == (tmp_path / "source" / "model.safetensors",)
    assert converted.metadata("experts") == TensorInfo((2, 2, 3), torch.float32)
    for name in converted:
        assert converted.metadata(name) == TensorInfo.of(converted[name])
    assert torch.equal(converted["experts"][1], STORED["expert.1"])
    assert torch.equal(converted["k"], STORED["qkv"][2:4])
    assert torch.equal(converted["scale"], STORED["gamma"])


def assert_written(path: Path, expected: dict[str, Tensor]) -> None:
    found = load_file(path) if path.suffix == ".safetensors" else torch.load(path)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.mark.parametrize("name", ["a.safetensors", "a.pt"])
@pytest.mark.parametrize("backwards", [False, True])
def test_outputs_have_the_names_and_shapes_of_the_file(
    converted: Checkpoint, tmp_path: Path, name: str, backwards: bool
) -> None:
    order = list(converted)[::-1] if backwards else list(converted)
    pairs = ((key, converted[key] + 1) for key in order)
    write_checkpoint(tmp_path / name, pairs, like=converted)
    assert_written(tmp_path / name, {key: value + 1 for key, value in STORED.items()})
    assert sorted(os.listdir(tmp_path)) == [name, "source"]


def test_outputs_in_another_dtype(converted: Checkpoint, tmp_path: Path) -> None:
    half = {key: converted[key].half() for key in converted}
    specs = {key: TensorInfo.of(tensor) for key, tensor in half.items()}
    write_checkpoint(tmp_path / "a.safetensors", half, specs=specs, like=converted)
    assert_written(tmp_path / "a.safetensors", {k: v.half() for k, v in STORED.items()})


def test_outputs_without_like_have_the_names_of_the_module(
    converted: Checkpoint, tmp_path: Path
) -> None:
    write_checkpoint(tmp_path / "a.safetensors", converted)
    assert_written(tmp_path / "a.safetensors", dict(converted))


def test_unknown_names_pass_through(converted: Checkpoint) -> None:
    pairs = [("other", torch.ones(1)), ("scale", torch.ones(3))]
    assert [name for name, _ in converted.as_stored(pairs)] == ["other", "gamma"]


def test_a_missing_part_of_a_fused_tensor_fails_an_assertion(converted: Checkpoint) -> None:
    with pytest.raises(AssertionError, match="parts of a fused tensor were never given"):
        list(converted.as_stored([("q", torch.ones(2, 2))]))


def test_tensors_are_freed_before_the_next_one(converted: Checkpoint) -> None:
    alive: weakref.WeakSet[Tensor] = weakref.WeakSet()

    def pairs() -> Iterator[tuple[str, Tensor]]:
        for name in ("scale", "experts", "scale"):
            assert len(alive) == 0
            tensor = torch.zeros(converted.metadata(name).shape)
            alive.add(tensor)
            yield name, tensor
            del tensor

    for _, part in converted.as_stored(pairs()):
        del part


def test_checkpoints_without_conversions_are_written_unchanged(tmp_path: Path) -> None:
    save_file(STORED, tmp_path / "a.safetensors")
    with open_checkpoint(tmp_path / "a.safetensors") as checkpoint:
        pairs = list(STORED.items())
        assert checkpoint.as_stored(pairs) is pairs
