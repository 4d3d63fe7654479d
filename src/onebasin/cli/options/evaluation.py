"""Evaluation of networks: data, normalization and tables."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from onebasin.cli.option_groups import count

MaxTestExamples = Annotated[
    int | None,
    count("--max-test-examples", "Evaluate on N test examples, drawn at random.", "all"),
]
Evaluate = Annotated[
    bool,
    typer.Option(
        "--evaluate/--no-evaluate",
        help="With --data, also print the loss and error of all networks. This takes one pass "
        "over the test examples for each network.",
    ),
]
DataName = Annotated[
    str,
    typer.Option(
        "--data",
        metavar="DATA",
        help="Data to evaluate on: a name such as digits, a file, a folder, or "
        "package.module:callable.",
        show_default=False,
    ),
]
NormalizationName = Annotated[
    Literal["interpolated", "reset"],
    typer.Option(
        "--normalization",
        help="BatchNorm statistics between the checkpoints: interpolated, or recomputed from "
        "training data (reset).",
    ),
]
LineNormalizationName = Annotated[
    Literal["interpolated", "reset", "repair", "rescale", "refit"],
    typer.Option(
        "--normalization",
        help="Statistics between the checkpoints: interpolate BatchNorm statistics, recompute "
        "them from training data (reset), repair or rescale all units, or refit all layers.",
    ),
]
TableFile = Annotated[
    Path | None,
    typer.Option(
        "--save",
        metavar="FILE",
        help="Write all numbers as rows of a table (.csv or .json).",
        show_default=False,
    ),
]


@dataclass(frozen=True)
class EvaluationOptions:
    """Whether and on what the networks of a command are evaluated."""

    evaluate: Evaluate = True
    max_test_examples: MaxTestExamples = None

    @property
    def keywords(self) -> dict[str, Any]:
        """The arguments of the library function."""
        return {"evaluate": self.evaluate, "max_test_examples": self.max_test_examples}
