"""Imports of optional packages, with install commands for missing ones."""

import importlib
import importlib.metadata
from types import ModuleType

from onebasin.checkpoints.messages import one_line
from onebasin.errors import OneBasinError


def import_package(name: str, *, extra: str) -> ModuleType:
    """Return an optional package.

    Args:
        name: name of the module.
        extra: the extra of onebasin that installs it.

    Returns:
        The module.

    Raises:
        OneBasinError: the package is not installed, or its import fails.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        if isinstance(error, ModuleNotFoundError) and error.name == name:
            raise OneBasinError(
                f"{name} is not installed; install the extra {extra!r}: {install_command(extra)}"
            ) from error
        raise OneBasinError(_broken(name, extra, error)) from error
    except RuntimeError as error:
        raise OneBasinError(_broken(name, extra, error)) from error


def install_command(extra: str) -> str:
    """Return a command that installs an extra for any source of the onebasin package.

    Args:
        extra: the extra of onebasin.

    Examples:
        >>> install_command("annealing")
        "pip install 'numba>=0.62'"
    """
    try:
        requirements = importlib.metadata.requires("onebasin") or []
    except importlib.metadata.PackageNotFoundError:
        requirements = []
    parts = [each.partition(";") for each in requirements]
    needed = [
        requirement.strip()
        for requirement, _, marker in parts
        if marker.replace('"', "'").strip() == f"extra == '{extra}'"
    ]
    return "pip install " + " ".join(repr(each) for each in needed or [f"onebasin[{extra}]"])


def _broken(name: str, extra: str, error: Exception) -> str:
    command = install_command(extra).replace("install", "install --force-reinstall", 1)
    return f"{name} cannot be imported ({one_line(error)}); reinstall it: {command}"
