"""Put independently trained neural networks into one basin.

onebasin finds the permutation symmetries of a PyTorch model, moves one network's hidden
units to where another has them, merges the two in weight space and measures the barrier
between them. This module owns the public surface: it re-exports names and defines none.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from onebasin.checkpoints import build_architecture, open_checkpoint, write_checkpoint
    from onebasin.errors import OneBasinError
    from onebasin.matching import (
        Matching,
        match_activations,
        match_combined,
        match_many,
        match_weights,
    )
    from onebasin.measuring import (
        Curve,
        Evaluation,
        evaluate,
        evaluator,
        interpolate,
        reset_statistics,
    )
    from onebasin.merging import merge, repair
    from onebasin.symmetry import (
        Group,
        Permutation,
        Proof,
        Symmetry,
        prove,
        symmetry_from_spec,
        trace,
    )
    from onebasin.training import train

__version__ = "0.1.0.dev0"

__all__ = [
    "Curve",
    "Evaluation",
    "Group",
    "Matching",
    "OneBasinError",
    "Permutation",
    "Proof",
    "Symmetry",
    "__version__",
    "build_architecture",
    "evaluate",
    "evaluator",
    "interpolate",
    "match_activations",
    "match_combined",
    "match_many",
    "match_weights",
    "merge",
    "open_checkpoint",
    "prove",
    "repair",
    "reset_statistics",
    "symmetry_from_spec",
    "trace",
    "train",
    "write_checkpoint",
]

_HOMES = {
    "onebasin.checkpoints": ("build_architecture", "open_checkpoint", "write_checkpoint"),
    "onebasin.errors": ("OneBasinError",),
    "onebasin.matching": (
        "Matching",
        "match_activations",
        "match_combined",
        "match_many",
        "match_weights",
    ),
    "onebasin.measuring": (
        "Curve",
        "Evaluation",
        "evaluate",
        "evaluator",
        "interpolate",
        "reset_statistics",
    ),
    "onebasin.merging": ("merge", "repair"),
    "onebasin.symmetry": (
        "Group",
        "Permutation",
        "Proof",
        "Symmetry",
        "prove",
        "symmetry_from_spec",
        "trace",
    ),
    "onebasin.training": ("train",),
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for, so that `onebasin --help` is quick."""
    for module, names in _HOMES.items():
        if name in names:
            return getattr(import_module(module), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
