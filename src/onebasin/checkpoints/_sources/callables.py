"""Architectures of the user: callables with an import path."""

import contextlib
import importlib
import inspect
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import nn

from onebasin._text import one_line
from onebasin.checkpoints._inputs import InputSpec
from onebasin.checkpoints._sources.recipe import Recipe, suggestion
from onebasin.errors import OneBasinError


def callable_recipe(path: str, arguments: Mapping[str, Any]) -> Recipe:
    """Return the recipe of a callable in a package or in the current folder.

    Args:
        path: `package.module:callable`; the callable may be a dotted name.
        arguments: keyword arguments of the callable.

    Returns:
        The recipe of the module.

    Raises:
        OneBasinError: the module cannot be imported, or has no such callable.
    """
    attribute = path.partition(":")[2]
    target = find_callable(path)
    if isinstance(target, nn.Module):
        raise OneBasinError(f"{path}: is a module; name a callable that builds it")
    if not callable(target):
        raise OneBasinError(
            f"{path}: is of type {type(target).__name__}, not a callable; name a callable that "
            "returns an nn.Module"
        )

    def inputs(module: nn.Module) -> tuple[InputSpec, ...]:
        raise OneBasinError(
            f"{path}: has no default input; pass the shapes of its inputs, "
            "such as example_inputs='2x3x224x224'"
        )

    def calling(error: BaseException) -> str:
        given = ", ".join(f"{key}={value!r}" for key, value in arguments.items())
        return f"{attribute}({given}){_location(target, error)}"

    return Recipe(path, lambda: _call(target, path, arguments), inputs, calling=calling)


def module_files(name: str) -> tuple[Path, ...]:
    """Return the source files that a module name may refer to, without importing anything.

    Args:
        name: name of a module, such as `package.module`.
    """
    parts = Path(*name.split("."))
    roots = [Path(), *map(Path, sys.path)]
    candidates = [root / file for root in roots for file in (f"{parts}.py", parts / "__init__.py")]
    return tuple(file for file in candidates if file.is_file())


def find_callable(path: str) -> Any:
    """Return an object by its import path, relative to the current folder or sys.path.

    Args:
        path: `package.module:attribute`; the attribute may be a dotted name.

    Raises:
        OneBasinError: the module cannot be imported, or has no such attribute.
    """
    module_name, _, attribute = path.partition(":")
    _check_module_name(module_name, attribute)
    with importable_folder():
        return _lookup(_import(module_name, path), attribute, path)


def _location(build: Callable[..., Any], error: BaseException) -> str:
    """Return the file and line at which a callable failed, or empty text if unknown."""
    try:
        file, line = inspect.getsourcefile(build), inspect.getsourcelines(build)[1]
    except (TypeError, OSError):
        return ""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename == file]
    return f" in {file}, line {frames[-1].lineno if frames else line},"


def _call(build: Callable[..., Any], path: str, arguments: Mapping[str, Any]) -> nn.Module:
    with importable_folder():
        module = build(**arguments)
    if not isinstance(module, nn.Module):
        raise OneBasinError(
            f"{path}: returned {type(module).__name__}; it must return an nn.Module"
        )
    return module


def _check_module_name(name: str, attribute: str) -> None:
    """Check that the name of a module is not the path of a file."""
    if not name.endswith(".py") and os.sep not in name:
        return
    module = ".".join(Path(name).with_suffix("").parts).lstrip(".")
    raise OneBasinError(
        f"{name}:{attribute}: expected the name of a module, not a file; write "
        f"{module or 'module'}:{attribute} and run in the folder that holds it"
    )


def _import(name: str, path: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        missing = error.name or name
        if name == missing or name.startswith(f"{missing}."):
            raise OneBasinError(
                f"{path}: no module named {missing!r}; check the spelling, or run in the folder "
                "that holds it"
            ) from error
        raise OneBasinError(
            f"{path}: importing {name} needs the module {missing!r}; install it"
        ) from error
    # A module may raise anything while it is imported.
    except Exception as error:
        raise OneBasinError(
            f"{path}: importing {name} failed ({one_line(error)}); fix the module"
        ) from error


def _lookup(module: Any, attribute: str, path: str) -> Any:
    target = module
    for part in attribute.split("."):
        if not hasattr(target, part):
            known = _own_callables(target, module.__name__)
            hint = suggestion(part, known) if known else "it defines no callable"
            raise OneBasinError(f"{path}: {module.__name__} has no {attribute!r}; {hint}")
        target = getattr(target, part)
    return target


def _own_callables(owner: Any, module: str) -> list[str]:
    """Return the public names of an object for callables that a module or package defines."""
    values = {name: getattr(owner, name, None) for name in dir(owner) if not name.startswith("_")}
    return [
        name
        for name, value in values.items()
        if callable(value) and f"{getattr(value, '__module__', None)}.".startswith(f"{module}.")
    ]


@contextlib.contextmanager
def importable_folder() -> Iterator[None]:
    """Add the working folder to sys.path for the time of a block."""
    folder = os.getcwd()
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):
            sys.path.remove(folder)
