"""Merge independently trained neural networks into one.

onebasin infers the permutation symmetries of any PyTorch model, aligns one network to another,
averages them into one network, and measures the loss barrier between them.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from onebasin.api import (
        Alignment,
        Barrier,
        DataSource,
        Evaluations,
        Inspection,
        Merged,
        align,
        barrier,
        evaluate,
        inspect,
        merge,
    )
    from onebasin.checkpoints import (
        Architecture,
        Checkpoint,
        build_architecture,
        open_checkpoint,
        write_checkpoint,
    )
    from onebasin.errors import OneBasinError, OneBasinWarning
    from onebasin.evaluation import Curve, Evaluation
    from onebasin.matching import Matching
    from onebasin.merging import average, resize
    from onebasin.symmetry import Group, Permutation, Symmetry, Verification, infer_symmetry, verify

__version__ = "0.2.0"

__all__ = [
    "Alignment",
    "Architecture",
    "Barrier",
    "Checkpoint",
    "Curve",
    "DataSource",
    "Evaluation",
    "Evaluations",
    "Group",
    "Inspection",
    "Matching",
    "Merged",
    "OneBasinError",
    "OneBasinWarning",
    "Permutation",
    "Symmetry",
    "Verification",
    "__version__",
    "align",
    "average",
    "barrier",
    "build_architecture",
    "evaluate",
    "infer_symmetry",
    "inspect",
    "merge",
    "open_checkpoint",
    "resize",
    "verify",
    "write_checkpoint",
]

_MODULES = {
    "api": (
        "Alignment Barrier DataSource Evaluations Inspection Merged align barrier evaluate inspect "
        "merge"
    ),
    "checkpoints": "Architecture Checkpoint build_architecture open_checkpoint write_checkpoint",
    "errors": "OneBasinError OneBasinWarning",
    "matching": "Matching",
    "evaluation": "Curve Evaluation",
    "merging": "average resize",
    "symmetry": "Group Permutation Symmetry Verification infer_symmetry verify",
}

_PACKAGES = (
    "api",
    "checkpoints",
    "data",
    "evaluation",
    "graph",
    "matching",
    "merging",
    "networks",
    "symmetry",
)


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that `onebasin --help` is fast."""
    for module, names in _MODULES.items():
        if name in names.split():
            value = getattr(import_module(f"onebasin.{module}"), name)
            globals()[name] = value
            return value
    if name in _PACKAGES:
        return import_module(f"onebasin.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
