"""Safe loading of torch.save files that hold more than tensors.

`torch.load(weights_only=True)` creates tensors and plain containers only. Every other class
or function that a file names is replaced by a placeholder, which is never executed: option
objects, configurations, NumPy numbers and pickled modules are read without their code.
"""

import re
import warnings
from collections import OrderedDict
from pathlib import Path
from typing import Any

import torch

MAX_TYPES = 200
"""Largest number of classes and functions that are replaced in one file."""

_UNKNOWN = re.compile(r"Unsupported global: GLOBAL (.+?) was not an allowed global")
_BAD_CONTAINER = re.compile(r"Can only (SETITEM|append|extend).*but got <class '.*?\.Inert_(\d+)'>")
# A checkpoint can use them only to run code or to read other files.
_HOSTILE_MODULES = frozenset(
    "os posix nt sys subprocess shutil importlib runpy pty socket ctypes webbrowser".split()
)
_HOSTILE_BUILTINS = frozenset("eval exec compile open __import__ breakpoint input".split())


class UnsafeGlobalError(Exception):
    """The file names a function whose only use is to run code.

    Args:
        name: the full name of the function.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


class Inert:
    """The placeholder of an object whose class is not allowed to run; it does nothing.

    Its subclasses carry in `type_name` the name of the class that they replace.
    """

    type_name = "object"

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        """Ignore the arguments of the replaced class."""
        return object.__new__(cls)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _InertDict(Inert):
    """The placeholder of a subclass of dict; its items are kept in an OrderedDict."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        return OrderedDict()


class _InertList(Inert):
    """The placeholder of a subclass of list; its items are kept in a list."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        return []


class _InertAttribute(Inert):
    """The placeholder of `getattr`, which pickles use for nested classes."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        return Inert


def module_tensors(value: Any) -> dict[str, Any] | None:
    """Return the parameters and persistent buffers of a pickled module by name.

    Args:
        value: part of a file's content.

    Returns:
        The entries of `state_dict()` of the module, or None if `value` is not a module.
    """
    if not _is_module(value):
        return None
    tensors: dict[str, Any] = {}
    stack, seen = [("", value)], {id(value)}
    while stack:
        prefix, module = stack.pop()
        unsaved = module.state.get("_non_persistent_buffers_set") or ()
        for name, tensor in (*_items(module, "_parameters"), *_items(module, "_buffers")):
            if tensor is not None and name not in unsaved:
                tensors[f"{prefix}{name}"] = tensor
        for name, child in reversed(_items(module, "_modules")):
            if _is_module(child) and id(child) not in seen:
                seen.add(id(child))
                stack.append((f"{prefix}{name}.", child))
    return tensors


def _is_module(value: Any) -> bool:
    names = ("_parameters", "_buffers", "_modules")
    return (
        isinstance(value, Inert)
        and isinstance(value.state, dict)
        and all(isinstance(value.state.get(name), dict) for name in names)
    )


def _items(module: Inert, kind: str) -> list[tuple[Any, Any]]:
    return list(module.state[kind].items())


def load_inert(path: Path, *, mmap: bool) -> Any:
    """Load a torch.save file; unknown classes and functions become placeholders.

    Args:
        path: an existing file.
        mmap: memory-map the tensors, which only the zip format allows.

    Returns:
        The content: tensors, plain containers and `Inert` objects.

    Raises:
        UnsafeGlobalError: the file names a function that serves to run code.
        Exception: whatever `torch.load` raises for a damaged file.
    """
    placeholders = _Placeholders()
    while True:
        try:
            with (
                torch.serialization.safe_globals(placeholders.allowed()),
                warnings.catch_warnings(),
            ):
                warnings.simplefilter("ignore")
                return torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
        except Exception as error:
            if not placeholders.extend(str(error)):
                raise


class _Placeholders:
    """The placeholders of one file, extended for each further name that torch rejects."""

    def __init__(self) -> None:
        self._names: list[str] = []
        self._classes: list[type[Inert]] = []

    def allowed(self) -> list[Any]:
        """Return the names with their placeholders, in the form of `safe_globals`."""
        pairs = zip(self._classes, self._names, strict=True)
        # torch leaves the module out of the names of built-in functions.
        return [Inert, *((c, full) for c, n in pairs for full in (n, f"builtins.{n}"))]

    def extend(self, message: str) -> bool:
        """Add or change the placeholder that an error message asks for; False without one."""
        unknown = _UNKNOWN.search(message)
        if unknown is not None:
            return self._add(unknown.group(1))
        container = _BAD_CONTAINER.search(message)
        if container is None:
            return False
        return self._change(
            int(container.group(2)), _InertDict if container.group(1) == "SETITEM" else _InertList
        )

    def _add(self, name: str) -> bool:
        module, _, attribute = name.rpartition(".")
        top = module.partition(".")[0]
        if top in _HOSTILE_MODULES or (not module and attribute in _HOSTILE_BUILTINS):
            raise UnsafeGlobalError(name)
        if name in self._names or len(self._names) == MAX_TYPES:
            return False
        self._names.append(name)
        self._classes.append(
            self._create(len(self._names) - 1, _InertAttribute if name == "getattr" else Inert)
        )
        return True

    def _change(self, number: int, base: type[Inert]) -> bool:
        if issubclass(self._classes[number], base):
            return False
        self._classes[number] = self._create(number, base)
        return True

    def _create(self, number: int, base: type[Inert]) -> type[Inert]:
        return type(f"Inert_{number}", (base,), {"type_name": self._names[number]})
