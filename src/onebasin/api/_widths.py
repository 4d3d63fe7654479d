"""Arguments of architectures that determine the numbers of units of groups."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from onebasin.api._architectures import AnyArchitecture, NamedArchitecture
from onebasin.api._reporter import Reporter
from onebasin.checkpoints import BUILTIN_ARCHITECTURES
from onebasin.errors import OneBasinError
from onebasin.symmetry import Symmetry
from onebasin.symmetry._enlargement import Enlargement


@dataclass(frozen=True)
class WidthArgument:
    """An argument that is the number of units of some groups.

    Args:
        name: name of the argument.
        value: its value.
        groups: groups that have this number of units.
    """

    name: str
    value: int
    groups: tuple[str, ...]


def width_arguments(
    architecture: AnyArchitecture, symmetry: Symmetry, reporter: Reporter
) -> list[WidthArgument]:
    """Return the arguments that are numbers of units; found by builds with more units.

    Args:
        architecture: a named architecture; a module has no arguments.
        symmetry: its symmetry.
        reporter: shows progress.
    """
    if not isinstance(architecture, NamedArchitecture):
        return []
    found: list[WidthArgument] = []
    for name, value in _candidates(architecture):
        # One unit more can be rounded, and twice as many can change other sizes, too.
        one, twice = (
            _groups_with(architecture, symmetry, (name, value), number, reporter)
            for number in (value + 1, 2 * value)
        )
        groups = one if one == twice else ()
        if groups and not any(set(groups) & set(each.groups) for each in found):
            found.append(WidthArgument(name, value, groups))
    return found


def _candidates(architecture: NamedArchitecture) -> Iterator[tuple[str, int]]:
    """Yield the arguments that are whole numbers."""
    source, _, folder = architecture.spec.partition(":")
    values = dict[str, object]()
    if source == "hf":
        values |= json.loads(Path(folder, "config.json").read_text(encoding="utf-8"))
    elif architecture.spec in BUILTIN_ARCHITECTURES:
        parameters = inspect.signature(BUILTIN_ARCHITECTURES[architecture.spec].build).parameters
        values |= {name: each.default for name, each in parameters.items()}
    for name, value in (values | architecture.all_arguments).items():
        if isinstance(value, int) and not isinstance(value, bool) and value > 1:
            yield name, value


def _groups_with(
    architecture: NamedArchitecture,
    symmetry: Symmetry,
    argument: tuple[str, int],
    number: int,
    reporter: Reporter,
) -> tuple[str, ...]:
    """Return the groups whose sizes an argument changes to a number, if nothing else changes."""
    name, value = argument
    changed = replace(architecture, arguments={**architecture.arguments, name: number})
    try:
        module = changed.build(reporter, without_memory=True).module
    except OneBasinError:
        return ()
    shapes = {each: tuple(tensor.shape) for each, tensor in module.state_dict().items()}
    same = {each for each, shape in symmetry.shapes.items() if shapes.get(each) == shape}
    groups = tuple(
        group.name
        for group in symmetry.groups.values()
        if group.size == value and not same.intersection(symmetry.tensors_of[group.name])
    )
    units = {group: torch.arange(number)[None] for group in groups}
    wider = Enlargement(symmetry, units, (1.0,))
    fits = all(shapes.get(each) in (None, wider.shape(each)) for each in symmetry.layouts)
    return groups if fits else ()


def changed_arguments(
    arguments: Sequence[WidthArgument], num_separate: Mapping[str, int], num_networks: int
) -> dict[str, int] | None:
    """Return the arguments that build an enlarged network; None if no arguments can.

    Args:
        arguments: result of `width_arguments`.
        num_separate: for each group the number of units that are kept separate.
        num_networks: number of networks that were merged.
    """
    added = {group: number for group, number in num_separate.items() if number}
    changed = {}
    for argument in arguments:
        numbers = {added.pop(group, 0) for group in argument.groups}
        if len(numbers) != 1:
            return None
        number = numbers.pop()
        if number:
            changed[argument.name] = argument.value + (num_networks - 1) * number
    return None if added else changed
