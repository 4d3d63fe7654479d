"""Random small modules: programs of a few lines of PyTorch with valid shapes.

Owns the program (its tensors, lines and outputs, and the module that runs it), and the writer
that generates a program from a seed and runs every line immediately.
"""

from __future__ import annotations

import random
import re
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import prod
from types import CodeType

import torch
import torch.nn.functional as F
from torch import Tensor, nn

NAME = re.compile(r"\b[xpbv]\d+\b")
SIZES = (1, 2, 2, 2, 3, 4, 4, 4, 6, 6, 12)
UNTRAINED = 1 << 32
LARGEST, MOST_DIMENSIONS, LOUDEST = 1500, 5, 1e4

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Line:
    """One assignment.

    Args:
        results: names of the assigned values.
        expression: Python code with tensors such as `x0`, `p0`, `b0` and `v0`.
        operator: name of the operator in the vocabulary.
    """

    results: tuple[str, ...]
    expression: str
    operator: str = ""

    @property
    def operands(self) -> list[str]:
        """Names of the tensors that the expression reads."""
        return NAME.findall(self.expression)

    def __str__(self) -> str:
        return f"{', '.join(self.results)} = {self.expression}"


@dataclass(frozen=True)
class Source:
    """An initial tensor of a program.

    Args:
        kind: input, tokens, parameter, buffer (a table), uniform (a table of equal entries),
            statistics (of a normalization layer), or the name of the parameter that
            it is tied to.
        shape: shape of the tensor.
    """

    kind: str
    shape: Shape

    def values(self, name: str) -> Tensor:
        """Return values that depend only on the name."""
        generator = torch.Generator().manual_seed(zlib.crc32(f"{name}{self.shape}".encode()))
        if self.kind == "tokens":
            return torch.randint(2, self.shape, generator=generator)
        noise = torch.randn(self.shape, generator=generator, dtype=torch.float64)
        if self.kind == "uniform":
            return torch.full_like(noise, 0.7)
        return noise.abs() + 0.5 if self.kind == "statistics" else noise


@dataclass(frozen=True)
class Program:
    """A module as a few lines of Python.

    Args:
        sources: inputs, parameters and buffers, by name.
        lines: the lines of forward.
        outputs: the values that it returns.
    """

    sources: Mapping[str, Source]
    lines: tuple[Line, ...] = ()
    outputs: tuple[str, ...] = ()

    @property
    def inputs(self) -> dict[str, Tensor]:
        """Example inputs by name."""
        return {n: s.values(n) for n, s in self.sources.items() if s.kind in ("input", "tokens")}

    @property
    def code(self) -> CodeType:
        """All lines, compiled."""
        return compile("\n".join(map(str, self.lines)), "program.py", "exec")

    def pruned(self) -> Program:
        """Return the program without unused lines and sources."""
        needed, lines = set(self.outputs), []
        for line in reversed(self.lines):
            if needed.intersection(line.results):
                needed.update(line.operands)
                lines.insert(0, line)
        kept = {name for name in self.sources if name in needed}
        kept |= {self.sources[n].kind for n in kept if self.sources[n].kind in self.sources}
        sources = {n: s for n, s in self.sources.items() if n in kept}
        return replace(self, sources=sources, lines=tuple(lines))

    def __str__(self) -> str:
        sources = [f"{n}: {s.kind} {s.shape}" for n, s in self.sources.items()]
        return "\n".join([*sources, *map(str, self.lines), f"return {', '.join(self.outputs)}"])


class Module(nn.Module):
    """A program as a module."""

    def __init__(self, program: Program) -> None:
        super().__init__()
        self.names, self.outputs, self.code = list(program.inputs), program.outputs, program.code
        for name, source in program.sources.items():
            if source.kind in ("buffer", "uniform", "statistics"):
                self.register_buffer(name, source.values(name))
            elif source.kind in program.sources:
                self.register_parameter(name, self.get_parameter(source.kind))
            elif name not in self.names:
                self.register_parameter(name, nn.Parameter(source.values(name)))

    def forward(self, *inputs: Tensor) -> list[Tensor]:
        """Run the lines."""
        values = {**VOCABULARY, **self._parameters, **self._buffers}
        values |= dict(zip(self.names, inputs, strict=True))
        exec(self.code, values)
        return [values[name] for name in self.outputs]


def placed(a: Tensor, place: tuple, b: Tensor) -> Tensor:
    """Return a copy of a tensor with a part replaced by another tensor."""
    a = a.clone()
    a[place] = b
    return a


def listed(numbers: Sequence[int | str]) -> str:
    """Return numbers or names as an argument list."""
    return ", ".join(map(str, numbers))


VOCABULARY = {"torch": torch, "F": F, "placed": placed}

Operator = Callable[["Writer", str], str | None]


@dataclass
class Writer:
    """Generates a program line by line.

    Args:
        rng: every choice.
        program: what was written so far.
        values: the value of everything so far.
        unread: results that no line has read.
    """

    rng: random.Random
    program: Program = field(default_factory=lambda: Program({}))
    values: dict[str, Tensor] = field(default_factory=dict)
    unread: list[str] = field(default_factory=list)

    def shape(self, name: str) -> Shape:
        """Return the sizes of a value."""
        return tuple(self.values[name].shape)

    def size(self) -> int:
        """Draw a size; equal sizes are frequent."""
        return self.rng.choice(SIZES)

    def chance(self, probability: float) -> bool:
        """Draw whether an event happens."""
        return self.rng.random() < probability

    def axis(self, name: str, least: int = 1) -> int | None:
        """Draw a dimension with several positions."""
        places = [i for i, size in enumerate(self.shape(name)) if size >= least]
        return self.rng.choice(places) if places else None

    def axes(self, name: str) -> list[int]:
        """Draw dimensions, in ascending order."""
        rank = len(self.shape(name))
        return sorted(self.rng.sample(range(rank), self.rng.randint(1, rank)))

    def divisor(self, number: int) -> int:
        """Draw a divisor uniformly."""
        return self.rng.choice([d for d in range(1, number + 1) if number % d == 0])

    def source(self, kind: str, shape: Sequence[int]) -> str:
        """Add a tensor and return its name."""
        letter = {"input": "x", "tokens": "x", "parameter": "p"}.get(kind, "b")
        letter = "p" if kind in self.program.sources else letter
        name = f"{letter}{len(self.program.sources)}"
        source = Source(kind, tuple(shape))
        values = self.values.get(kind, source.values(name))
        self.program = replace(self.program, sources={**self.program.sources, name: source})
        self.values[name] = values
        return name

    def weight(self, *shape: int) -> str:
        """Draw an expression of a given shape: a new or an existing parameter."""
        kind = self.rng.random()
        if kind < 0.3:
            matches = self.matching(lambda other: other == shape)
            if matches:
                return self.rng.choice(matches)
        elif kind < 0.4 and len(shape) > 1:
            matches = self.matching(lambda other: other == (*shape[:-2], shape[-1], shape[-2]))
            if matches:
                return f"{self.rng.choice(matches)}.mT"
        elif kind < 0.5:
            matches = self.matching(lambda other: prod(other) == prod(shape))
            if matches and shape:
                return f"{self.rng.choice(matches)}.reshape({listed(shape)})"
        elif kind < 0.55:
            return self.source(self.rng.choice(["buffer", "uniform"]), shape)
        elif kind < 0.6:
            tied = [n for n, s in self.program.sources.items() if s == Source("parameter", shape)]
            if tied:
                return self.source(self.rng.choice(tied), shape)
        elif kind < 0.65 and shape:
            i = self.rng.randrange(len(shape))
            low, high = self.rng.randint(0, 2), self.rng.randint(0, 2)
            whole = self.source("parameter", (*shape[:i], shape[i] + low + high, *shape[i + 1 :]))
            return f"{whole}.narrow({i}, {low}, {shape[i]})"
        return self.source("parameter", shape)

    def matching(self, fits: Callable[[Shape], bool]) -> list[str]:
        """Return names of floating-point values with a matching shape."""
        return [n for n, v in self.values.items() if v.is_floating_point() and fits(self.shape(n))]

    def operand(self) -> str:
        """Draw a value to continue from: often the latest one, or an unread one."""
        kind = self.rng.random()
        if self.unread and kind < 0.75:
            return self.unread[-1] if kind < 0.5 else self.rng.choice(self.unread)
        return self.rng.choice(self.matching(lambda shape: True))

    def write(self, operator: str, expression: str | None, count: int = 1) -> bool:
        """Run a line and keep it if its result has a reasonable size."""
        if expression is None:
            return False
        namespace = {**VOCABULARY, **self.values}
        result = eval(expression, namespace)
        results = list(result) if isinstance(result, list | tuple) else [result]
        if not all(map(_is_reasonable, results)):
            return False
        first = sum(len(line.results) for line in self.program.lines)
        names = tuple(f"v{first + i}" for i in range(len(results)))
        line = Line(
            names,
            expression if len(names) > 1 or result is results[0] else f"{expression}[0]",
            operator,
        )
        self.program = replace(self.program, lines=(*self.program.lines, line))
        self.values.update(zip(names, results, strict=True))
        read = set(line.operands)
        self.unread = [name for name in self.unread if name not in read] + list(names)
        return True


def _is_reasonable(value: Tensor) -> bool:
    fine = value.is_floating_point() and 0 < value.numel() <= LARGEST
    if not fine or value.dim() > MOST_DIMENSIONS:
        return False
    return bool(value.isfinite().all()) and float(value.abs().max()) < LOUDEST


def random_program(seed: int, operators: Mapping[str, tuple[float, Operator]]) -> Program:
    """Return a program of 3 to 12 operators with outputs for all its values.

    Args:
        seed: of every choice.
        operators: by name, how often one is taken and what writes it.
    """
    writer = Writer(random.Random(seed))
    rng = writer.rng
    batch = rng.choice((2, 2, 2, 3, 4, 6))
    shape = (batch, *(writer.size() for _ in range(rng.choice((1, 1, 2, 2, 3)))))
    writer.source("input", shape)
    writer.unread = ["x0"]
    for _ in range(rng.choice((0, 0, 1, 2))):
        writer.source("parameter", [writer.size() for _ in range(rng.choice((1, 2, 2, 3)))])
    wanted = rng.randint(3, 12)
    _grow(writer, operators, wanted)
    for name in list(writer.unread):
        _lead_out(writer, operators, name)
    program = writer.program.pruned()
    trained = any(source.kind == "parameter" for source in program.sources.values())
    return program if trained else random_program(seed + UNTRAINED, operators)


def _lead_out(writer: Writer, operators: Mapping, name: str) -> None:
    """Derive an output from a value; a value that is an output would be fixed."""
    writer.unread, shape, kind = [name], writer.shape(name), writer.rng.random()
    if kind < 0.45:
        weight = writer.source("parameter", shape)
        writer.write("total", f"({name} * {weight}).sum()")
    elif kind < 0.6:
        writer.write("total", f"{name}.square().sum({writer.axes(name)})" if shape else None)
    elif kind < 0.97:
        for _ in range(writer.rng.choice((1, 2))):
            _step(writer, operators, ("linear", "reduction", "contraction", "matmul"))
    outputs = (*writer.program.outputs, *writer.unread)
    writer.program = replace(writer.program, outputs=outputs)


def _grow(writer: Writer, operators: Mapping, wanted: int) -> None:
    for _ in range(20 * wanted):
        if len(writer.program.lines) >= wanted:
            return
        _step(writer, operators, tuple(operators))


def _step(writer: Writer, operators: Mapping, allowed: Sequence[str]) -> None:
    weights = [operators[name][0] for name in allowed]
    (name,) = writer.rng.choices(allowed, weights)
    before = writer.program, dict(writer.values)
    if not writer.write(name, operators[name][1](writer, writer.operand())):
        writer.program, writer.values = before  # remove sources that were added for it
