"""Tasks: calls of plain functions, described so that they can run anywhere and only once.

Owns `Task`, what it is keyed by, and `Result`, what every task's function returns.
"""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from importlib import import_module
from typing import Any

from onebasin.errors import OneBasinError


@dataclass(frozen=True, eq=False)
class Result:
    """What a task made.

    Args:
        rows: of plain values (numbers, texts, booleans, None), one mapping per row.
        tensors: by name; the state dict of a network is one.
    """

    rows: Sequence[Mapping[str, Any]] = ()
    tensors: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Declaration:
    """What an engine must know of a function; `declare` attaches it.

    Args:
        version: a part of the key: raise it when the function's results change.
        each: an argument that is a list, of which every element makes a result of its own.
            Tasks that differ in nothing else may be run by one call.
        cpus: cores that a call can use.
        gpus: share of a GPU to reserve, on a cluster that has any.
        interim: an argument that is no part of the key: a folder where a call can keep what it
            goes on from after it was killed, or None. With it, it must come to the same.
    """

    version: int = 1
    each: str | None = None
    cpus: int = 1
    gpus: float | int = 0.0
    interim: str | None = None


def declare(
    *,
    version: int = 1,
    each: str | None = None,
    cpus: int = 1,
    gpus: float | int = 0.0,
    interim: str | None = None,
) -> Callable[[Any], Any]:
    """Decorate a task's function with what engines must know; see `Declaration`.

    A function without this decorator has version 1 and needs one core.
    """

    def attach(function: Any) -> Any:
        function.declaration = Declaration(version, each, cpus, gpus, interim)
        return function

    return attach


def declaration_of(function: Callable[..., Any]) -> Declaration:
    """Return what was declared of a function, or the defaults."""
    return getattr(function, "declaration", Declaration())


@dataclass(frozen=True, eq=False)
class Task:
    """One call of a function: its result depends on nothing but what stands here.

    Make it with `Task.of`, or with `Task.each` for a function of many equal parts.

    Args:
        function: where the function is, `module:name`.
        declaration: what was declared of it.
        arguments: of the call, plain JSON values.
        inputs: arguments that are results of other tasks.
        labels: what every row of this task says in a study, such as `{"width": 64}`; no part
            of the key, as other studies may call the same thing otherwise.
        cost: how much work it is, relative to other tasks of the function.
    """

    function: str
    declaration: Declaration
    arguments: Mapping[str, Any]
    inputs: Mapping[str, Task | tuple[Task, ...]]
    labels: Mapping[str, Any] = field(default_factory=dict)
    cost: float = 1.0

    @staticmethod
    def of(function: Callable[..., Any], /, **arguments: Any) -> Task:
        """Describe a call.

        Args:
            function: at the top level of a module, taking keyword arguments, returning a
                `Result`; the same arguments must give the same result.
            **arguments: JSON values, and tasks or lists of tasks: the function gets their
                results.

        Raises:
            OneBasinError: when the function cannot be imported by name, or an argument is
                neither a task nor a JSON value.
        """
        name = _name_of(function)
        bound = inspect.signature(function).bind(**arguments)
        bound.apply_defaults()  # what is left out and what says the default are one task
        if interim := declaration_of(function).interim:
            bound.arguments.pop(interim, None)
        inputs = {key: _input(value) for key, value in bound.arguments.items() if _is_input(value)}
        rest = {key: value for key, value in bound.arguments.items() if key not in inputs}
        plain = {key: _plain(name, key, value) for key, value in rest.items()}
        return Task(name, declaration_of(function), plain, inputs)

    @staticmethod
    def each(function: Callable[..., Any], /, **arguments: Any) -> list[Task]:
        """Describe one call per element of the list argument that the function declares.

        Engines run several of them as one call, but keep every result under its own key.
        """
        name = declaration_of(function).each
        assert name is not None, f"{_name_of(function)} declares no `each`"
        elements = arguments.pop(name)
        return [Task.of(function, **arguments, **{name: [element]}) for element in elements]

    def labeled(self, **labels: Any) -> Task:
        """Return the same task with labels for its rows."""
        return replace(self, labels={**self.labels, **labels})

    def costing(self, cost: float | int) -> Task:
        """Return the same task with its cost, for the order of work and the time left."""
        return replace(self, cost=float(cost))

    @cached_property
    def key(self) -> str:
        """The hash of all that the result depends on."""
        text = json.dumps(self.to_json(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:32]

    @cached_property
    def kin(self) -> str:
        """Equal for tasks that one call can do."""
        each = self.declaration.each
        if each is None:
            return self.key
        data = self.to_json()
        data["arguments"] = {key: v for key, v in data["arguments"].items() if key != each}
        return json.dumps(data, sort_keys=True)

    def dependencies(self) -> list[Task]:
        """Return the tasks whose results are inputs."""
        found: list[Task] = []
        for value in self.inputs.values():
            found.extend([value] if isinstance(value, Task) else value)
        return found

    def to_json(self) -> dict[str, Any]:
        """Return what makes up the key, as plain JSON values."""
        return {
            "function": self.function,
            "version": self.declaration.version,
            "arguments": dict(self.arguments),
            "inputs": self.input_keys(),
        }

    def input_keys(self) -> dict[str, Any]:
        """Return for each input the key, or the list of keys, of the tasks."""
        return {
            name: value.key if isinstance(value, Task) else [task.key for task in value]
            for name, value in self.inputs.items()
        }

    def __str__(self) -> str:
        name = self.function.partition(":")[2]
        defaults = inspect.signature(resolve(self.function)).parameters
        given = {k: v for k, v in self.arguments.items() if v != defaults[k].default}
        told = {**given, **self.labels}
        short = (f"{key}={_short(value)}" for key, value in told.items())
        return f"{name}({', '.join(short)})"


def resolve(name: str) -> Callable[..., Any]:
    """Return the function of a name that `Task.function` holds."""
    module, _, attribute = name.partition(":")
    return getattr(import_module(module), attribute)


def _name_of(function: Callable[..., Any]) -> str:
    module, name = function.__module__, function.__qualname__
    if "." in name or "<" in name or module == "__main__":
        raise OneBasinError(
            f"Task.of: {module}.{name} cannot be imported by other processes; define it at the top "
            "level of a module"
        )
    return f"{module}:{name}"


def _is_input(value: Any) -> bool:
    is_list = isinstance(value, list | tuple) and bool(value)
    return isinstance(value, Task) or (is_list and all(isinstance(v, Task) for v in value))


def _input(value: Any) -> Task | tuple[Task, ...]:
    return value if isinstance(value, Task) else tuple(value)


def _plain(function: str, name: str, value: Any) -> Any:
    """Return a value as it comes back from JSON, so that a tuple and a list are one."""
    try:
        return json.loads(json.dumps(value, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise OneBasinError(
            f"Task.of: argument {name!r} of {function} is {value!r}, which is neither a task nor a "
            f"JSON value ({error}); pass numbers, texts, lists and mappings"
        ) from error


def _short(value: Any) -> str:
    if isinstance(value, Mapping):
        value = value.get("name", "…")
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 40 else f"{text[:39]}…"
