"""Tasks: serializable calls of plain functions with content-addressed results."""

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
    """The result of a task.

    Args:
        rows: mappings of plain values (numbers, texts, booleans, None).
        tensors: tensors by name, such as the state dict of a network.
    """

    rows: Sequence[Mapping[str, Any]] = ()
    tensors: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Declaration:
    """The properties of a task function that engines need; `task` attaches it.

    Args:
        version: part of the key; raise it when the results of the function change.
        map_over: name of a list argument with one result per element. Tasks that differ only in
            this argument may share a call.
        cpus: number of cores that a call can use.
        gpus: fraction of a GPU to reserve on a cluster with GPUs.
        resume_folder: name of an argument that is not part of the key: a folder, or None, in which
            a call stores state to resume from. Resuming must not change the result.
    """

    version: int = 1
    map_over: str | None = None
    cpus: int = 1
    gpus: float | int = 0.0
    resume_folder: str | None = None


def task(
    *,
    version: int = 1,
    map_over: str | None = None,
    cpus: int = 1,
    gpus: float | int = 0.0,
    resume_folder: str | None = None,
) -> Callable[[Any], Any]:
    """Decorate a task function with properties that engines need; see `Declaration`.

    A function without this decorator has version 1 and uses one core.
    """

    def attach(function: Any) -> Any:
        function.declaration = Declaration(version, map_over, cpus, gpus, resume_folder)
        return function

    return attach


def declaration_of(function: Callable[..., Any]) -> Declaration:
    """Return the declaration of a function, or the defaults."""
    return getattr(function, "declaration", Declaration())


@dataclass(frozen=True, eq=False)
class Task:
    """One call of a function; its result depends only on these fields.

    Create it with `Task.of`, or with `Task.map` for a function with `map_over`.

    Args:
        function: import path of the function, `module:name`.
        declaration: properties of the function.
        arguments: plain JSON values.
        inputs: arguments that are results of other tasks.
        labels: columns added to every row of this task in a study, such as `{"width": 64}`. They
            are not part of the key.
        cost: amount of work relative to other tasks of the function.
    """

    function: str
    declaration: Declaration
    arguments: Mapping[str, Any]
    inputs: Mapping[str, Task | tuple[Task, ...]]
    labels: Mapping[str, Any] = field(default_factory=dict)
    cost: float = 1.0

    @staticmethod
    def of(function: Callable[..., Any], /, **arguments: Any) -> Task:
        """Return a task that calls a function.

        Args:
            function: a top-level function with keyword arguments that returns a `Result`. The same
                arguments must give the same result.
            **arguments: JSON values, tasks or lists of tasks; the function receives the results of
                the tasks.

        Raises:
            OneBasinError: if the function cannot be imported by name, or an argument is neither a
                task nor a JSON value.
        """
        name = _name_of(function)
        bound = inspect.signature(function).bind(**arguments)
        bound.apply_defaults()  # omitted and default arguments give the same key
        if resume_folder := declaration_of(function).resume_folder:
            bound.arguments.pop(resume_folder, None)
        inputs = {key: _input(value) for key, value in bound.arguments.items() if _is_input(value)}
        rest = {key: value for key, value in bound.arguments.items() if key not in inputs}
        plain = {key: _plain(name, key, value) for key, value in rest.items()}
        return Task(name, declaration_of(function), plain, inputs)

    @staticmethod
    def map(function: Callable[..., Any], /, **arguments: Any) -> list[Task]:
        """Return one task per element of the list argument that the function declares in
        `map_over`.

        Engines may run several of them in one call, but store every result under its own key.
        """
        name = declaration_of(function).map_over
        assert name is not None, f"{_name_of(function)} does not declare `map_over`"
        elements = arguments.pop(name)
        return [Task.of(function, **arguments, **{name: [element]}) for element in elements]

    def with_labels(self, **labels: Any) -> Task:
        """Return the same task with further labels."""
        return replace(self, labels={**self.labels, **labels})

    def with_cost(self, cost: float | int) -> Task:
        """Return the same task with a cost, for the order of work and the time estimate."""
        return replace(self, cost=float(cost))

    @cached_property
    def key(self) -> str:
        """A hash of everything that the result depends on."""
        text = json.dumps(self.to_json(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:32]

    @cached_property
    def batch_key(self) -> str:
        """A key that is equal for tasks that one call can run."""
        each = self.declaration.map_over
        if each is None:
            return self.key
        data = self.to_json()
        data["arguments"] = {key: v for key, v in data["arguments"].items() if key != each}
        return json.dumps(data, sort_keys=True)

    def dependencies(self) -> list[Task]:
        """Return the tasks whose results are inputs."""
        tasks: list[Task] = []
        for value in self.inputs.values():
            tasks.extend([value] if isinstance(value, Task) else value)
        return tasks

    def to_json(self) -> dict[str, Any]:
        """Return the contents of the key as plain JSON values."""
        return {
            "function": self.function,
            "version": self.declaration.version,
            "arguments": dict(self.arguments),
            "inputs": self.input_keys(),
        }

    def input_keys(self) -> dict[str, Any]:
        """Return the key, or the list of keys, of each input."""
        return {
            name: value.key if isinstance(value, Task) else [task.key for task in value]
            for name, value in self.inputs.items()
        }

    def __str__(self) -> str:
        name = self.function.partition(":")[2]
        defaults = inspect.signature(resolve(self.function)).parameters
        given = {k: v for k, v in self.arguments.items() if v != defaults[k].default}
        values = {**given, **self.labels}
        short = (f"{key}={_short(value)}" for key, value in values.items())
        return f"{name}({', '.join(short)})"


def resolve(name: str) -> Callable[..., Any]:
    """Return the function of an import path `module:name`."""
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
    """Return a value after a JSON round trip, so that tuples and lists are equal."""
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
