"""The check of one program: its inferred symmetry must not change its function."""

from __future__ import annotations

import re
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from math import inf, isnan

import torch
from torch import Tensor, nn

from onebasin import OneBasinError, Permutation, Symmetry, infer_symmetry
from onebasin.symmetry.transformation import Transformation

from .layers import LAYERS
from .positions import POSITIONS
from .program import IMAGE, NAME, SEQUENCE, Module, Operator, Program, draw_sizes, write_program
from .writes import WRITES

TOLERANCE, FLOOR = 1e-8, 1e-3
DRAWS = 2
BUNDLE = 10
"""Consecutive seeds whose programs take inputs of the same shapes."""

OPERATORS: dict[str, tuple[float, Operator]] = {**LAYERS, **POSITIONS, **WRITES}


@dataclass(frozen=True)
class Outcome:
    """The result for one program.

    Args:
        groups: number of inferred groups.
        error: largest relative difference of the outputs between parameters and moved ones.
        failure: error of inference, or "".
        refused: whether the program was refused with an `OneBasinError`.
    """

    groups: int = 0
    error: float = 0.0
    failure: str = ""
    refused: bool = False

    @property
    def fault(self) -> str:
        """What is wrong, in words, or ""."""
        if self.failure:
            return f"inference fails: {self.failure}"
        return "" if self.error <= TOLERANCE else f"a wrong group: error {self.error:.1e}"


class Bundle(nn.Module):
    """Independent programs as one module, which is faster to trace."""

    def __init__(self, programs: Sequence[Program]) -> None:
        """Build the module of every program."""
        super().__init__()
        self.programs = nn.ModuleList(map(Module, programs))

    def forward(self, *inputs: Tensor) -> list[list[Tensor]]:
        """Return the outputs of every program."""
        return [program(x) for program, x in zip(self.programs, inputs, strict=True)]


def program_of(seed: int) -> Program:
    """Return the program of a seed; those of one bundle take inputs of the same shapes."""
    bundle = seed // BUNDLE
    input = IMAGE if bundle % 4 == 3 else SEQUENCE
    return write_program(seed, OPERATORS, input, draw_sizes(bundle, input))


def check(programs: Sequence[Program]) -> list[Outcome]:
    """Infer the symmetry of programs at their first input shapes; test it at all of them.

    Programs are inferred together, and again one by one if that fails.
    """
    model = Bundle(programs).eval()
    inputs = tuple(program.example(0) for program in programs)
    try:
        symmetry = infer_symmetry(model, inputs)
    except Exception as error:
        if len(programs) > 1:
            return [outcome for program in programs for outcome in check([program])]
        frame = traceback.extract_tb(error.__traceback__)[-1]
        if isinstance(error, OneBasinError):
            return [Outcome(refused=True)]
        return [Outcome(failure=f"{type(error).__name__} in {frame.name}: {error}")]
    errors = errors_of(symmetry, model, programs)
    groups = [_groups_of(symmetry, place) for place in range(len(programs))]
    return [Outcome(len(names), error) for names, error in zip(groups, errors, strict=True)]


def errors_of(symmetry: Symmetry, model: Bundle, programs: Sequence[Program]) -> list[float]:
    """Return the largest difference of each program's outputs, over elements and shapes."""
    shapes = range(len(programs[0].sizes))
    inputs = [[program.example(shape) for program in programs] for shape in shapes]
    state = model.state_dict()
    before = [_run(model, state, xs) for xs in inputs]
    errors = [0.0] * len(programs)
    for permutation in elements(symmetry, len(programs)):
        moved = permutation.apply(state)
        for xs, expected in zip(inputs, before, strict=True):
            after = _run(model, moved, xs)
            errors = list(map(max, errors, map(difference, expected, after)))
    return errors


def elements(symmetry: Symmetry, count: int) -> Iterator[Permutation | Transformation]:
    """Yield random elements, then exchanges of two units, in one group of each program."""
    if not symmetry.groups:
        return
    for seed in range(DRAWS):
        yield Permutation.random(symmetry, seed=seed)
    yield Transformation.random(symmetry)
    names = [_groups_of(symmetry, place) for place in range(count)]
    for place, chosen in enumerate(zip_longest(*names)):
        indices = dict(Permutation.identity(symmetry).indices)
        for name in filter(None, chosen):
            indices[name] = _exchanged(indices[name], place)
        yield Permutation(symmetry, indices)


def _exchanged(index: Tensor, place: int) -> Tensor:
    """Return an index in which two units of one outer position are exchanged."""
    index = index.clone()
    size = index.shape[-1]
    row = index.view(-1, size)[place % (index.numel() // size)]
    i, j = place % size, (place + 1) % size
    row[[i, j]] = row[[j, i]]
    return index


def _groups_of(symmetry: Symmetry, place: int) -> list[str]:
    """Return the groups of one program of a bundle, by the tensors that carry them."""
    prefix = f"programs.{place}."
    return [
        n for n, tensors in symmetry.tensors_of.items() if next(iter(tensors)).startswith(prefix)
    ]


def difference(before: Sequence[Tensor], after: Sequence[Tensor]) -> float:
    """Return the largest difference of outputs, relative to the largest entry of each."""
    pairs = zip(before, after, strict=True)
    errors = [float((a - b).abs().max() / (FLOOR + a.abs().max())) for a, b in pairs]
    return max(inf if isnan(error) else error for error in errors)


def _run(model: Bundle, state: Mapping[str, Tensor], xs: Sequence[Tensor]) -> list[list[Tensor]]:
    inputs = tuple(x.clone() for x in xs)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.func.functional_call(model, dict(state), inputs)


def shrunk(program: Program, fails: Callable[[Program], bool]) -> Program:
    """Return a program with fewer lines and outputs that fails, too."""
    candidates = [replace(program, outputs=(output,)) for output in program.outputs]
    candidates += [
        replace(program, lines=program.lines[:i] + program.lines[i + 1 :])
        for i in range(len(program.lines))
    ]
    candidates += [
        _without(program, line) for line in program.lines if line.startswith("v") and " = " in line
    ]
    for candidate in candidates:
        if len(_text(candidate)) < len(_text(program)) and _runs(candidate) and fails(candidate):
            return shrunk(candidate, fails)
    return program


def _without(program: Program, line: str) -> Program:
    """Return a program in which the first value that a line reads stands for its result."""
    result, expression = line.split(" = ", 1)
    operand = next(iter(NAME.findall(expression)), result)
    lines = [re.sub(rf"\b{result}\b", operand, kept) for kept in program.lines if kept != line]
    outputs = tuple(operand if output == result else output for output in program.outputs)
    return replace(program, lines=tuple(lines), outputs=outputs)


def _text(program: Program) -> str:
    return "\n".join([*program.lines, *program.outputs])


def _runs(program: Program) -> bool:
    try:
        for place in range(len(program.sizes)):
            with torch.no_grad(), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                Module(program)(program.example(place))
    except (RuntimeError, ValueError, IndexError, TypeError, NameError, KeyError):
        return False
    return True
