"""Faults of the inferred symmetry of a program, found without the code of verification.

Owns the check of one program, group by group, and the search for a smaller program with the
same fault.
"""

from __future__ import annotations

import re
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from onebasin import Permutation, Symmetry, infer_symmetry
from onebasin.symmetry import verify
from tests.symmetry.inference.random_programs import VOCABULARY, Module, Program, Source

TOLERANCE, FLOOR = 1e-8, 1e-3
DRAWS, PATIENCE = 3, 24
"""Number of permutations; a group of two units may be unmoved in this many in a row."""


@dataclass(frozen=True)
class Finding:
    """The result for one program.

    Args:
        symmetry: the inferred symmetry, or None if inference failed.
        fault: one word and details, or "" without a fault.
    """

    symmetry: Symmetry | None
    fault: str = ""

    @property
    def kind(self) -> str:
        """The first word of the fault."""
        return self.fault.split(" ")[0]


def inspect(program: Program) -> Finding:
    """Infer the symmetry of a program and look for faults."""
    model, args = Module(program).eval(), tuple(program.inputs.values())
    symmetry = None
    try:
        symmetry = infer_symmetry(model, args)
        fault = _wrong(symmetry, model, args) or _idle(symmetry, model)
        if not fault and symmetry.groups:
            failed = verify(symmetry, model, args).failed_groups
            fault = f"verification {failed}" if failed else ""
    except Exception as error:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        fault = f"crash {type(error).__name__} {error} in {frame.name}"
    return Finding(symmetry, fault)


def _wrong(symmetry: Symmetry, model: Module, args: tuple[Tensor, ...]) -> str:
    """Return a description of the groups that change the outputs, jointly or separately."""
    state = model.state_dict()
    before = _outputs(model, state, args)
    for seed in range(DRAWS):
        permutation = Permutation.random(symmetry, seed=seed)
        if difference(before, _outputs(model, permutation.apply(state), args)) > TOLERANCE:
            return f"wrong {_failing(symmetry, model, args, before)}"
        if seed == 0 and len(symmetry.groups) > 1:
            failing = _failing(symmetry, model, args, before, draws=1)
            if failing:
                return f"wrong {failing}"
    return ""


def _failing(
    symmetry: Symmetry,
    model: Module,
    args: tuple[Tensor, ...],
    before: list[Tensor],
    draws: int = DRAWS,
) -> dict[str, float]:
    errors = {}
    for group in symmetry.groups:
        for seed in range(draws):
            state = permutation_of(symmetry, group, seed).apply(model.state_dict())
            error = difference(before, _outputs(model, state, args))
            if error > TOLERANCE:
                errors[group] = error
    return errors


def _idle(symmetry: Symmetry, model: Module) -> str:
    """Return a description of the groups that never move an entry."""
    state = model.state_dict()
    idle = [
        group
        for group, tensors_of in symmetry.tensors_of.items()
        if not any(
            not torch.equal(
                permutation_of(symmetry, group, seed).apply_tensor(n, state[n]), state[n]
            )
            for seed in range(PATIENCE)
            for n in tensors_of
        )
    ]
    return f"idle {idle}" if idle else ""


def permutation_of(symmetry: Symmetry, group: str, seed: int) -> Permutation:
    """Return a permutation that moves a single group."""
    unmoved = Permutation.identity(symmetry).indices
    drawn = Permutation.random(symmetry, seed=seed).indices
    return Permutation(symmetry, {**unmoved, group: drawn[group]})


def difference(before: list[Tensor], after: list[Tensor]) -> float:
    """Return the largest difference of outputs, relative to the largest entry of each."""
    pairs = zip(before, after, strict=True)
    return max(float((a - b).abs().max() / (FLOOR + a.abs().max())) for a, b in pairs)


def _outputs(model: Module, state: Mapping[str, Tensor], args: tuple[Tensor, ...]) -> list[Tensor]:
    with torch.no_grad():
        return torch.func.functional_call(model, dict(state), args, tie_weights=False)


def shrunk(program: Program, fails: Callable[[Program], bool], tries: int = 500) -> Program:
    """Return a smaller program that also fails.

    Args:
        program: a program that fails.
        fails: function that returns whether a program fails.
        tries: maximum number of programs to try.
    """
    again = True
    while again and tries > 0:
        again = False
        for smaller in _smaller(program):
            tries -= 1
            if fails(smaller):
                program, again = smaller, True
                break
            if tries <= 0:
                break
    return program


def _smaller(program: Program) -> Iterator[Program]:
    """Yield runnable programs with fewer outputs, lines or kinds of tensors."""
    values = _run(program)
    assert values is not None, "the program does not run"
    for candidate in (*_fewer_outputs(program), *_fewer_lines(program, values)):
        if _weight(candidate) < _weight(program) and _run(candidate) is not None:
            yield candidate
    for name, source in program.sources.items():
        for kind in ("parameter", "buffer"):
            other = replace(program, sources={**program.sources, name: Source(kind, source.shape)})
            if source.kind not in ("input", "tokens") and _weight(other) < _weight(program):
                yield other


def _fewer_outputs(program: Program) -> Iterator[Program]:
    for output in program.outputs if len(program.outputs) > 1 else ():
        yield replace(program, outputs=tuple(o for o in program.outputs if o != output)).pruned()


def _fewer_lines(program: Program, values: Mapping[str, Tensor]) -> Iterator[Program]:
    """Yield programs with a result replaced by an operand, a source or a new parameter."""
    for line in program.lines:
        for result in line.results:
            shape = values[result].shape
            names = [n for n in (*line.operands, *program.sources) if values[n].shape == shape]
            for name in dict.fromkeys(names):
                yield _without(program, result, name)
            new = f"p{900 + len(program.sources)}"
            sources = {**program.sources, new: Source("parameter", tuple(shape))}
            yield _without(replace(program, sources=sources), result, new)


def _without(program: Program, result: str, name: str) -> Program:
    pattern = re.compile(rf"\b{result}\b")
    lines = tuple(
        replace(line, expression=pattern.sub(name, line.expression))
        for line in program.lines
        if line.results != (result,)
    )
    outputs = tuple(name if output == result else output for output in program.outputs)
    return replace(program, lines=lines, outputs=outputs).pruned()


def _run(program: Program) -> dict[str, Tensor] | None:
    values = {name: source.values(name) for name, source in program.sources.items()}
    values |= {n: values[s.kind] for n, s in program.sources.items() if s.kind in values}
    try:
        exec(program.code, {**VOCABULARY}, values)
    except (RuntimeError, ValueError, IndexError, NameError):
        return None
    return values


def _weight(program: Program) -> tuple[int, ...]:
    kinds = [source.kind for source in program.sources.values()]
    simple = ("parameter", "buffer", "input")
    odd, trained = sum(k not in simple for k in kinds), kinds.count("parameter")
    return len(program.lines), len(program.outputs), len(kinds), odd, trained
