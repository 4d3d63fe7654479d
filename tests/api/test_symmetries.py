"""Symmetries on the command line: every outcome of a verification is stated."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from onebasin.api._reporter import Reporter
from onebasin.api._symmetries import (
    SymmetryOptions,
    VerifiedSymmetry,
    verification_summary,
    verified_symmetry,
)
from onebasin.checkpoints import Architecture
from onebasin.data._example_splits import ArraySplit
from onebasin.data.data import Data
from onebasin.errors import OneBasinError, OneBasinWarning
from onebasin.symmetry import Symmetry
from onebasin.symmetry._verification.controls import Control
from onebasin.symmetry._verification.verification import Verification


class Rare(nn.Module):
    """A network whose hidden units count for inputs that start with a seven."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 8), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        return torch.where(x[:, :1] == 7, self.b(torch.relu(self.a(x))), x)


WRONG = {"a.weight": ["h", None], "a.bias": [None], "b.weight": [None, "h"], "b.bias": [None]}


def found_for(folder: Path, data: Data | None = None) -> VerifiedSymmetry:
    file = folder / "wrong.json"
    file.write_text(json.dumps(WRONG))
    architecture = Architecture("rare", Rare(), (torch.randn(2, 4),), {}, lambda _: Rare())
    return verified_symmetry(architecture, SymmetryOptions(file), Reporter(), data=data)


def test_unverified_groups_are_named(tmp_path: Path) -> None:
    with pytest.warns(OneBasinWarning, match="group 'h' could not be verified"):
        found = found_for(tmp_path)
    assert found.status == "unverified"
    summary = verification_summary(found.verification)
    assert summary is not None
    assert summary["unverified"] == ["h"]
    assert summary["verified"] == []
    assert summary["inputs"] == ["2x4", "1x4", "3x4"]


def test_the_data_of_a_command_verify(tmp_path: Path) -> None:
    inputs = torch.randn(6, 4)
    inputs[:, 0] = 7.0
    with pytest.warns(OneBasinWarning, match="group 'h' failed verification"):
        found = found_for(tmp_path, Data("toy", ArraySplit(inputs)))
    assert not found.symmetry.groups


def outcome(num_verified: int, num_open: int, precision: str = "float64") -> str:
    names = [f"g{i}" for i in range(num_verified + num_open)]
    model = nn.ParameterDict({name: torch.zeros(2) for name in names})
    symmetry: Symmetry = Symmetry.from_spec({name: [name] for name in names}, model)
    controls = {name: Control(name, 1.0) for name in names[:num_verified]}
    proof = Verification(
        symmetry, 3e-15, {}, controls, tuple(names[num_verified:]), precision=precision
    )
    return VerifiedSymmetry(symmetry, proof).status


def test_only_verified_groups_count_as_verified() -> None:
    assert outcome(2, 0) == "verified, max error 3e-15"
    assert outcome(2, 1) == "2 verified, max error 3e-15; 1 unverified"
    assert outcome(0, 1) == "unverified"
    assert outcome(1, 0, "float32") == "verified in float32, max error 3e-15"


def test_too_little_memory_is_a_user_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def too_large(*_: object) -> Tensor:
        raise MemoryError

    monkeypatch.setattr(Rare, "forward", too_large)
    with pytest.raises(OneBasinError, match="not enough memory to run Rare in float64"):
        found_for(tmp_path)
