"""Imports of optional packages, with install commands for missing ones.

With a CPU build of torch, a torchvision wheel for CUDA cannot load its compiled operators. Its
import then fails, because the schemas of two of them are missing. Models need neither.
"""

import importlib
import importlib.metadata
import sys
from types import ModuleType

import torch

from onebasin._text import one_line
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


_MISSING_SCHEMAS = {
    "nms": "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}


def import_torchvision() -> ModuleType:
    """Return torchvision; define the two schemas first if they are missing.

    Returns:
        The package `torchvision`.

    Raises:
        OneBasinError: torchvision is not installed, or its import fails for another reason.
    """
    if "torchvision" not in sys.modules:
        try:
            return importlib.import_module("torchvision")
        except RuntimeError as error:
            if "operator torchvision::nms does not exist" in str(error):
                _define_schemas()
                _forget_half_imported()
        except ImportError:
            pass  # reported below
    return import_package("torchvision", extra="vision")


def _define_schemas() -> None:
    for name, schema in _MISSING_SCHEMAS.items():
        if not hasattr(torch.ops.torchvision, name):
            torch.library.define(f"torchvision::{name}", schema)


def _forget_half_imported() -> None:
    for name in [n for n in sys.modules if n == "torchvision" or n.startswith("torchvision.")]:
        del sys.modules[name]
