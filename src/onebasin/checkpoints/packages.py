"""Imports the optional packages, and says how to get those that are missing."""

import importlib
from types import ModuleType

from onebasin.checkpoints.messages import one_line
from onebasin.errors import OneBasinError


def import_package(name: str, *, extra: str) -> ModuleType:
    """Import an optional package.

    Args:
        name: What to import.
        extra: The extra of onebasin that installs it.

    Returns:
        The module.

    Raises:
        OneBasinError: It is not installed, or its import fails.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        if isinstance(error, ModuleNotFoundError) and error.name == name:
            raise OneBasinError(
                f"{name} is not installed; install it with pip install 'onebasin[{extra}]'"
            ) from error
        raise OneBasinError(_broken(name, extra, error)) from error
    except RuntimeError as error:
        raise OneBasinError(_broken(name, extra, error)) from error


def _broken(name: str, extra: str, error: Exception) -> str:
    return (
        f"{name} cannot be imported ({one_line(error)}); "
        f"reinstall it with pip install --force-reinstall 'onebasin[{extra}]'"
    )
