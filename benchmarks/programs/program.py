"""Random programs: small modules written line by line, each line run as soon as it is written.

Every line runs at all input sizes at once. A line whose result has a dimension that is neither
constant nor an input size is dropped, so that a program accepts all of these sizes.
"""

from __future__ import annotations

import random
import re
import warnings
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

NAME = re.compile(r"\b[xpcv]\d+\b")
TABLE = 16
"""Rows of a table of positions: more than any input size reads."""

Shape = tuple[int, ...]
Dim = int | str
Dims = tuple[Dim, ...]
Sizes = Mapping[str, int]

SEQUENCE = ("B", "T", 5)
IMAGE = ("B", 3, "H", "W")


@dataclass(frozen=True)
class Program:
    """A module as Python statements.

    Args:
        input: dimensions of the input, sizes that vary by name.
        sizes: the sizes to trace at, followed by the others that it accepts.
        parameters: shapes by name.
        constants: shapes of buffers by name.
        lines: what forward does.
        outputs: names of the returned values.
        operators: names of the operators that wrote the lines.
    """

    input: Dims
    sizes: tuple[Sizes, ...]
    parameters: Mapping[str, Shape] = field(default_factory=dict)
    constants: Mapping[str, Shape] = field(default_factory=dict)
    lines: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    operators: tuple[str, ...] = ()

    def example(self, place: int) -> Tensor:
        """Return an input of the given entry of `sizes`."""
        shape = tuple(dim if isinstance(dim, int) else self.sizes[place][dim] for dim in self.input)
        return values_of("x0", shape)

    def __str__(self) -> str:
        tensors = {**self.parameters, **self.constants}
        shapes = [f"{name}: {shape}" for name, shape in tensors.items()]
        head = f"x0: {self.input} with {[dict(sizes) for sizes in self.sizes]}"
        return "\n".join([head, *shapes, *self.lines, f"return {', '.join(self.outputs)}"])


class Module(nn.Module):
    """A program as a module with float64 parameters."""

    def __init__(self, program: Program) -> None:
        """Draw parameters and constants from their names."""
        super().__init__()
        self.outputs = program.outputs
        self.code = compile("\n".join(program.lines), "program.py", "exec")
        for name, shape in program.parameters.items():
            self.register_parameter(name, nn.Parameter(values_of(name, shape)))
        for name, shape in program.constants.items():
            self.register_buffer(name, values_of(name, shape))

    def forward(self, x0: Tensor) -> list[Tensor]:
        """Run the lines."""
        values = {**VOCABULARY, **self._parameters, **self._buffers, "x0": x0}
        exec(self.code, values)
        return [values[name] for name in self.outputs]


VOCABULARY: dict[str, Any] = {"torch": torch, "F": F}


def values_of(name: str, shape: Shape) -> Tensor:
    """Return random values that depend on the name and the shape only."""
    generator = torch.Generator().manual_seed(zlib.crc32(f"{name}{shape}".encode()))
    return torch.randn(shape, generator=generator, dtype=torch.float64)


Operator = Callable[["Writer", str], str | Sequence[str] | None]
"""Returns an expression, or statements of which the last is an expression or empty."""


def by_name(weights: Mapping[Operator, float]) -> dict[str, tuple[float, Operator]]:
    """Return how often each operator is drawn, and the operator, by the name of its function."""
    return {
        operator.__name__.replace("_", " "): (weight, operator)
        for operator, weight in weights.items()
    }


class Writer:
    """Writes a program.

    Args:
        seed: seed of every choice.
        input: dimensions of the input.
        sizes: the sizes that the program must accept.
    """

    def __init__(self, seed: int, input: Dims, sizes: Sequence[Sizes]) -> None:
        """Start with the input only."""
        self.rng = random.Random(seed)
        self.program = Program(input, tuple(sizes))
        self.environments: list[dict[str, Any]] = [
            {**VOCABULARY, "x0": self.program.example(place)} for place in range(3)
        ]
        self.dims: dict[str, Dims] = {"x0": self.program.input}
        self.unread: list[str] = ["x0"]

    def choice(self, items: Sequence[Any]) -> Any:
        """Return one of several items."""
        return self.rng.choice(items)

    def chance(self, probability: float) -> bool:
        """Return whether an event of this probability happens."""
        return self.rng.random() < probability

    def width(self) -> int:
        """Return a number of features; equal ones are frequent."""
        return self.choice((2, 4, 4, 6, 6, 6, 8, 12))

    def parameter(self, *shape: int) -> str:
        """Return a parameter of a shape: a new one, sometimes an old one."""
        old = [name for name, known in self.program.parameters.items() if known == shape]
        if old and self.chance(0.15):
            return self.choice(old)
        name = f"p{len(self.program.parameters)}"
        self.program = replace(
            self.program, parameters={**self.program.parameters, name: tuple(shape)}
        )
        self._define(name, shape)
        return name

    def constant(self, *shape: int) -> str:
        """Return a new buffer of random values."""
        name = f"c{len(self.program.constants)}"
        constants = {**self.program.constants, name: tuple(shape)}
        self.program = replace(self.program, constants=constants)
        self._define(name, shape)
        return name

    def _define(self, name: str, shape: Sequence[int]) -> None:
        values = values_of(name, tuple(shape))
        for environment in self.environments:
            environment[name] = values

    def features(self, name: str) -> int:
        """Return the size of a value's last dimension, or 0 where inputs set it."""
        dims = self.dims[name]
        return dims[-1] if dims and isinstance(dims[-1], int) else 0

    def divisor(self, number: int) -> int | None:
        """Return a divisor that is neither 1 nor the number."""
        divisors = [d for d in range(2, number) if number % d == 0]
        return self.choice(divisors) if divisors else None

    def interval(self, number: int) -> tuple[int, int]:
        """Return the start and the end of a part of so many features that is not empty."""
        start = self.rng.randrange(number)
        return start, self.rng.randint(start + 1, number)

    def order(self, number: int) -> list[int]:
        """Return a random order of so many features."""
        order = list(range(number))
        self.rng.shuffle(order)
        return order

    def like(self, name: str) -> str:
        """Return another value of the same dimensions, or the value itself."""
        same = [other for other, dims in self.dims.items() if dims == self.dims[name]]
        others = [other for other in same if other not in (name, "x0")]
        return self.choice(others or same)

    def size(self, dim: Dim) -> str:
        """Return the code of a size."""
        return str(dim) if isinstance(dim, int) else f"x0.shape[{self.program.input.index(dim)}]"

    def write(self, operator: str, code: str | Sequence[str] | None) -> bool:
        """Run what an operator returned and keep it if its result is sensible."""
        if code is None:
            return False
        *statements, expression = [code] if isinstance(code, str) else code
        name = f"v{len(self.dims) - 1}"
        lines = [*statements, *([f"{name} = {expression}"] if expression else [])]
        compiled = compile("\n".join(lines), "program.py", "exec")
        for environment in self.environments:
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    exec(compiled, environment)
            except (RuntimeError, ValueError, IndexError, TypeError):
                return False
        changed = [name] if expression else NAME.findall(statements[0])[:1]
        dims = self._dims_of(changed[0])
        if dims is None:
            return False
        read = {found for line in lines for found in NAME.findall(line)} - {name}
        self.unread = [v for v in self.unread if v not in read]
        self.dims[changed[0]] = dims
        self.unread.append(changed[0])
        self.program = replace(
            self.program,
            lines=(*self.program.lines, *lines),
            operators=(*self.program.operators, operator),
        )
        return True

    def _dims_of(self, name: str) -> Dims | None:
        """Return the dimensions of a value, or None if it is not one to continue with."""
        values = [environment[name] for environment in self.environments]
        if not all(isinstance(v, Tensor) and _is_sensible(v) for v in values):
            return None
        if len({value.dim() for value in values}) > 1:
            return None
        known = {
            tuple(sizes[name] for sizes in self.program.sizes): name
            for name in self.program.sizes[0]
        }
        dims: list[Dim] = []
        for sizes in zip(*(value.shape for value in values), strict=True):
            dim = sizes[0] if len(set(sizes)) == 1 else known.get(tuple(sizes))
            if dim is None:
                return None
            dims.append(dim)
        return tuple(dims)


def _is_sensible(value: Tensor) -> bool:
    if not value.is_floating_point() or not 0 < value.numel() <= 4000 or value.dim() > 5:
        return False
    return bool(value.isfinite().all()) and float(value.abs().max()) < 1e3


def draw_sizes(seed: int, input: Dims, count: int = 3) -> tuple[Sizes, ...]:
    """Return random sizes for the named dimensions of an input; the first batch is above one."""
    rng = random.Random(seed)
    names = [dim for dim in input if isinstance(dim, str)]
    sizes = [{name: rng.randint(2, 7) for name in names} for _ in range(count)]
    sizes[-1]["B"] = rng.choice((1, sizes[-1]["B"]))
    return tuple(sizes)


def write_program(
    seed: int,
    operators: Mapping[str, tuple[float, Operator]],
    input: Dims,
    sizes: Sequence[Sizes],
) -> Program:
    """Return a random program of about 4 to 12 operators and a linear head for each result."""
    writer = Writer(seed, input, sizes)
    start = "convolution" if input == IMAGE else "linear"
    writer.write(start, operators[start][1](writer, "x0"))
    names, weights = list(operators), [weight for weight, _ in operators.values()]
    wanted = writer.rng.randint(4, 12)
    for _ in range(8 * wanted):
        if len(writer.program.operators) >= wanted:
            break
        (operator,) = writer.rng.choices(names, weights)
        parameters, constants = writer.program.parameters, writer.program.constants
        later = [name for name in writer.dims if name != "x0"]
        recent = [name for name in writer.unread if name != "x0"] or later or ["x0"]
        operand = writer.choice(recent if writer.chance(0.8) else later or recent)
        if not writer.write(operator, operators[operator][1](writer, operand)):
            writer.program = replace(writer.program, parameters=parameters, constants=constants)
    return _with_outputs(writer)


def _with_outputs(writer: Writer) -> Program:
    outputs = []
    for value in [name for name in writer.unread if name != "x0"] or ["x0"]:
        features = writer.features(value)
        if features:
            weight = writer.parameter(2, features)
            written = writer.write("head", f"F.linear({value}, {weight}).tanh()")
        else:
            written = writer.write("head", f"{value}.square().mean(-1)")
        outputs.append(writer.unread[-1] if written else value)
    program = writer.program
    names = {name for line in program.lines for name in NAME.findall(line)}
    return replace(
        program,
        parameters={name: shape for name, shape in program.parameters.items() if name in names},
        constants={name: shape for name, shape in program.constants.items() if name in names},
        outputs=tuple(dict.fromkeys(outputs)),
    )
