"""Files of training scripts: selection of the state dict, and ignored objects."""

import argparse
import enum
import warnings
from collections import OrderedDict, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from onebasin.checkpoints import open_checkpoint
from onebasin.errors import OneBasinError


def state(value: float) -> dict[str, torch.Tensor]:
    return {"weight": torch.full((2, 3), value), "bias": torch.full((2,), value)}


class Options(dict[str, Any]):
    """A dictionary with attributes, such as hyperparameters."""


class Listing(list[Any]):
    """A list of a configuration library."""


class Color(enum.Enum):
    RED = 1


class Config:
    """A container of a configuration library with its own state."""

    def __init__(self) -> None:
        self.content = Options(depth=Listing([1, 2]))

    def __getstate__(self) -> tuple[Any, ...]:
        return ("config", self.content, 3)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        raise AssertionError("the code of a file was run")


class Reduced:
    def __reduce__(self) -> tuple[Any, ...]:
        return (_never, ("argument",))


def _never(argument: str) -> None:
    raise AssertionError("the code of a file was run")


OBJECTS = {
    "args": argparse.Namespace(lr=0.1, layers=[1, 2]),
    "config": Config(),
    "hyper_parameters": Options(lr=Options(start=0.1)),
    "list": Listing([Color.RED, Path("a")]),
    "best": np.float64(0.9),
    "array": np.arange(3),
    "rng": np.random.RandomState(0),
    "reduced": Reduced(),
    "class": Config,
    "defaults": defaultdict(dict, {"a": {}}),
    "frozen": frozenset([1]),
    "optimizer": {"state": {0: {"exp_avg": torch.zeros(2)}}, "param_groups": [{"lr": 0.1}]},
}


def save(path: Path, content: Any, **options: Any) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.save(content, path, **options)
    return path


def value_of(path: Path, key: str | None = None) -> tuple[float, tuple[str, ...]]:
    """Open a checkpoint with `state(value)`; return the value and the notes."""
    with open_checkpoint(path, key=key) as checkpoint:
        assert set(checkpoint) == {"weight", "bias"}
        return checkpoint["bias"][0].item(), checkpoint.notes


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_other_objects_are_ignored_and_not_executed(tmp_path: Path, zipped: bool) -> None:
    content = {"state_dict": state(1.0), **OBJECTS}
    path = save(tmp_path / "a.ckpt", content, _use_new_zipfile_serialization=zipped)
    assert value_of(path) == (1.0, ())


@pytest.mark.parametrize("suffix", ["pth.tar", "tar", "checkpoint", "model", "weights", "step100"])
def test_suffixes_of_training_scripts(tmp_path: Path, suffix: str) -> None:
    assert value_of(save(tmp_path / f"a.{suffix}", state(1.0))) == (1.0, ())


@pytest.mark.parametrize(
    "key", ["net", "model_state", "model_state_dict", "ema", "params", "generator", "anything"]
)
def test_the_only_state_dict_is_read(tmp_path: Path, key: str) -> None:
    assert value_of(save(tmp_path / "a.pt", {key: state(1.0), "epoch": 3})) == (1.0, ())


MANY = {
    "model": state(1.0),
    "model_ema": state(2.0),
    "nested": {"teacher": OrderedDict(state(3.0))},
    "flat": {f"encoder.{name}": tensor for name, tensor in state(4.0).items()},
    "dotted.key": state(5.0),
}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (None, 1.0),
        (".", 1.0),
        ("model", 1.0),
        ("model_ema", 2.0),
        ("nested", 3.0),
        ("nested.teacher", 3.0),
        ("flat.encoder", 4.0),
        ("dotted.key", 5.0),
    ],
)
def test_a_key_selects_one_of_many(tmp_path: Path, key: str | None, value: float) -> None:
    assert value_of(save(tmp_path / "a.pt", MANY), key)[0] == value


def test_a_note_describes_the_default(tmp_path: Path) -> None:
    _, notes = value_of(save(tmp_path / "a.pt", MANY))
    assert notes == (
        "read 'model'; the file also holds 'model_ema', 'nested.teacher', 'flat' and 1 more, "
        "which key= selects",
    )


def test_a_key_selects_a_prefix_inside_the_default(tmp_path: Path) -> None:
    content = {f"model.{name}": tensor for name, tensor in state(1.0).items()}
    path = save(tmp_path / "a.ckpt", {"state_dict": {**content, "loss.weight": torch.ones(1)}})
    assert value_of(path, "model")[0] == 1.0


@pytest.mark.parametrize(("key", "value"), [("encoder", 1.0), ("decoder", 2.0)])
def test_a_key_selects_in_a_file_without_a_default(tmp_path: Path, key: str, value: float) -> None:
    path = save(tmp_path / "a.pt", {"encoder": state(1.0), "decoder": state(2.0)})
    assert value_of(path, key)[0] == value


def test_notes_do_not_list_the_state_of_an_optimizer(tmp_path: Path) -> None:
    path = save(tmp_path / "a.pt", {"model": state(1.0), "Optimizer": {"State": state(2.0)}})
    assert value_of(path) == (1.0, ())


def test_a_pickled_module_is_read_without_its_code(tmp_path: Path) -> None:
    module = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    module.register_buffer("unsaved", torch.zeros(2), persistent=False)
    module[1].weight = nn.Parameter(torch.tensor([2.0, 3.0]))
    path = save(tmp_path / "a.pt", {"model": module})
    with open_checkpoint(path) as checkpoint:
        assert list(checkpoint) == list(module.state_dict())
        for name, tensor in module.state_dict().items():
            assert torch.equal(checkpoint[name], tensor)


@pytest.mark.parametrize(
    ("content", "key", "text"),
    [
        ({"encoder": state(1.0), "decoder": state(2.0)}, None, "'encoder', 'decoder'.*key="),
        ({"model": state(1.0)}, "ema", "no key 'ema' that holds tensors; the file holds 'model'"),
        ({"encoder": state(1.0), "decoder": state(2.0)}, "x", "no key 'x'.*'encoder', 'decoder'"),
        ({"model": state(1.0)}, "model.head", "no key 'model.head'"),
        (state(1.0), "nope", "no key 'nope' .*; the file holds a single state dict; remove key="),
        (argparse.Namespace(a=1), None, "holds argparse.Namespace, not a mapping"),
    ],
)
def test_an_ambiguous_choice_raises(
    tmp_path: Path, content: Any, key: str | None, text: str
) -> None:
    with pytest.raises(OneBasinError, match=rf"a\.pt: .*{text}"):
        open_checkpoint(save(tmp_path / "a.pt", content), key=key)


def test_values_that_are_not_tensors_are_ignored_and_reported(tmp_path: Path) -> None:
    path = save(tmp_path / "a.pt", {**state(1.0), "epoch": 3, "extra": None})
    assert value_of(path)[1] == ("entries that are not tensors are ignored: 'epoch', 'extra'",)


def test_a_state_dict_that_contains_itself(tmp_path: Path) -> None:
    content: dict[str, Any] = {}
    content["state_dict"] = content
    with pytest.raises(OneBasinError, match="holds no tensors"):
        open_checkpoint(save(tmp_path / "a.pt", content))
    content["weight"] = torch.ones(2)
    with pytest.raises(OneBasinError, match="entry 'state_dict' is of type dict"):
        open_checkpoint(save(tmp_path / "a.pt", content))
