"""The symmetry, and the matching of networks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from onebasin.cli.option_groups import count, option
from onebasin.cli.options.networks import ArchitectureOptions

SymmetryFile = Annotated[
    Path | None,
    option(
        "--symmetry",
        metavar="FILE",
        help="Read the symmetry from a JSON file instead of tracing. The file is an output of "
        "inspect --save, or maps each tensor name to a group name or null per dimension.",
    ),
]
Verify = Annotated[
    bool,
    typer.Option(
        "--verify/--no-verify",
        help="Verify the symmetry on the model in float64 first, and drop groups that fail.",
    ),
]
Classes = Annotated[
    Literal["all", "permutation"],
    typer.Option(help="Maps of units: all, or permutations only (no scales and rotations)."),
]
PermutationFile = Annotated[
    Path | None,
    option("--save-permutation", metavar="FILE", help="Also write the permutation (.safetensors)."),
]
Restarts = Annotated[
    int | None, count("--restarts", "Number of restarts; the best result is used.", "1")
]


def _method(default: str) -> Any:
    """Declare `--method` of a command whose default methods are given in words."""
    return option(
        "--method",
        metavar="NAME",
        help="Matching method. An unknown name lists the available ones.",
        default=f"{default}; rotations for transformers",
    )


MethodName = Annotated[str | None, _method("weights; combined with --data")]
MergingMethodName = Annotated[
    str | None, _method("weights; combined with --data; many for three or more checkpoints")
]
LineMethodName = Annotated[
    str | None, _method("weights; combined with --normalization reset, repair, rescale or refit")
]
PlaneMethodName = Annotated[str | None, _method("weights; combined with --normalization reset")]
MethodArgs = Annotated[
    list[str] | None,
    option(
        "--method-arg",
        metavar="KEY=VALUE",
        help="Option of the method, such as max_sweeps=20; may be repeated.",
    ),
]
Init = Annotated[
    str | None,
    option(
        "--init",
        metavar="NAME",
        help="Method to run first, with its defaults; its permutation initializes the search.",
    ),
]
MethodData = Annotated[
    str | None,
    option(
        "--data",
        metavar="DATA",
        help="Data for matching, such as digits or a file. The default method then uses weights "
        "and features together.",
    ),
]
MergingData = Annotated[
    str | None,
    option(
        "--data",
        metavar="DATA",
        help="Data for matching, repair and refit, such as digits or a file. Two checkpoints are "
        "then matched by weights and features, unless --method selects another method.",
    ),
]


@dataclass(frozen=True)
class MatchingOptions(ArchitectureOptions):
    """How the architecture is built, its symmetry inferred, and networks matched."""

    symmetry: SymmetryFile = None
    verify: Verify = True
    classes: Classes = "all"
    method: MethodName = None
    method_arg: MethodArgs = None
    restarts: Restarts = None
    init: Init = None

    @property
    def keywords(self) -> dict[str, Any]:
        """The arguments of the library function."""
        return {
            **super().keywords,
            "symmetry": self.symmetry,
            "verify": self.verify,
            "classes": self.classes,
            "method": self.method or "auto",
            "init": self.init,
            "method_options": self._method_options(),
        }

    def _method_options(self) -> dict[str, Any]:
        from onebasin.checkpoints._arguments import parse_arguments

        options = parse_arguments(
            self.method_arg, argument="method_options", example="max_sweeps=20"
        )
        return options if self.restarts is None else {**options, "restarts": self.restarts}


@dataclass(frozen=True)
class MergingMatchingOptions(MatchingOptions):
    """Matching options of `merge`."""

    method: MergingMethodName = None


@dataclass(frozen=True)
class LineMatchingOptions(MatchingOptions):
    """Matching options of commands that measure between two checkpoints."""

    method: LineMethodName = None


@dataclass(frozen=True)
class PlaneMatchingOptions(MatchingOptions):
    """Matching options of `plane`."""

    method: PlaneMethodName = None
