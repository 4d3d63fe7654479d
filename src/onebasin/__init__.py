"""Put independently trained neural networks into one basin.

onebasin finds the permutation symmetries of a PyTorch model, moves one network's hidden
units to where another has them, merges the two in weight space and measures the barrier
between them. This module owns the public surface: it re-exports names and defines none.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from onebasin.errors import OneBasinError
    from onebasin.symmetry import Group, Permutation, Symmetry, trace

__version__ = "0.1.0.dev0"

__all__ = ["Group", "OneBasinError", "Permutation", "Symmetry", "__version__", "trace"]

_HOMES = {
    "Group": "onebasin.symmetry",
    "OneBasinError": "onebasin.errors",
    "Permutation": "onebasin.symmetry",
    "Symmetry": "onebasin.symmetry",
    "trace": "onebasin.symmetry",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for, so that `onebasin --help` is quick."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
