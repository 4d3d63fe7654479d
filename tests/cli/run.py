"""What the tests of the command line share: small checkpoints, and a run in this process."""

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from onebasin.checkpoints import MLP
from onebasin.cli.main import main

WIDTH = 6
TINY = ("--arch-arg", f"width={WIDTH}", "--arch-arg", "depth=2")


@dataclass(frozen=True)
class Run:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def data(self):
        return json.loads(self.out)

    @property
    def notes(self) -> str:
        """What went to stderr, but for notes on weak networks: those of the tests are random."""
        weak = ("constant prediction", "with its statistics reset on")
        lines = self.err.splitlines(keepends=True)
        return "".join(line for line in lines if not any(text in line for text in weak))


def run(capsys, *arguments) -> Run:
    """Run `onebasin` with these arguments."""
    capsys.readouterr()
    code = main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return Run(code, captured.out, captured.err)


def succeed(capsys, *arguments) -> Run:
    """Run a command that must succeed."""
    found = run(capsys, *arguments)
    assert found.code == 0, found.err
    return found


def fail(capsys, *arguments) -> str:
    """Run a command that must fail; return its one line."""
    found = run(capsys, *arguments)
    assert found.code == 2, found
    assert found.out == ""
    start, line = found.err[:17], found.err[17:]
    assert start == "onebasin: error: ", found.err
    assert line.endswith("\n")
    assert line.count("\n") == 1
    return line.strip()


def network(seed: int, **sizes) -> dict[str, Tensor]:
    """The parameters of a small network that the command line calls `mlp` with `TINY`."""
    torch.manual_seed(seed)
    return dict(MLP(**{"width": WIDTH, "depth": 2, **sizes}).state_dict())


def write(path: Path, params: dict[str, Tensor]) -> Path:
    """Write parameters to a safetensors file."""
    save_file({name: tensor.contiguous() for name, tensor in params.items()}, path)
    return path


def read(path: Path) -> dict[str, Tensor]:
    return load_file(path)


def outputs(params: dict[str, Tensor]) -> Tensor:
    """What the network computes in float64, on always the same inputs."""
    model = MLP(width=WIDTH, depth=2).double()
    model.load_state_dict({name: tensor.double() for name, tensor in params.items()})
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        return model(torch.randn(20, 64, generator=generator, dtype=torch.float64))
