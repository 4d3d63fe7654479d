"""Studies: experiments with a claim, and the verdict, figures and table from their rows."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, is_dataclass
from typing import Any, Literal, TypeAlias, get_args

from onebasin.errors import OneBasinError
from onebasin_studies.runtime.task import Result, Task

Scale = Literal["smoke", "small", "paper"]
VerdictOutcome = Literal["reproduced", "not reproduced", "not enough data"]
Row: TypeAlias = Mapping[str, Any]
VerdictFunction: TypeAlias = Callable[[Sequence[Row]], "Verdict"]
SCALES: tuple[str, ...] = get_args(Scale)

DIGITS = "digits"
"""The dataset of smoke scale, which no paper uses."""

NAMING = ("data", "setting", "family")
"""Columns that may name the dataset of a row."""


@dataclass(frozen=True)
class Verdict:
    """The verdict on a claim, by the study's stated criterion.

    Args:
        outcome: "reproduced", "not reproduced" or "not enough data".
        sentence: the criterion with the computed figures.
    """

    outcome: VerdictOutcome
    sentence: str

    @staticmethod
    def of(holds: bool, sentence: str) -> Verdict:
        """Return "reproduced" or "not reproduced"."""
        return Verdict("reproduced" if holds else "not reproduced", sentence)

    @staticmethod
    def inconclusive(sentence: str) -> Verdict:
        """Return "not enough data"."""
        return Verdict("not enough data", sentence)


def excluding_digits(judge: VerdictFunction) -> VerdictFunction:
    """Return a verdict function that ignores rows of the digits, because no claim is about them.

    Args:
        judge: a function from rows to a verdict; its docstring is the criterion.
    """

    def wrapped(rows: Sequence[Row]) -> Verdict:
        counted = [row for row in rows if not _is_of_digits(row)]
        if rows and not counted:
            return Verdict.inconclusive(
                "Only the digits dataset was measured; it checks that the code runs and does not "
                "test the claim."
            )
        return judge(counted)

    wrapped.__doc__ = (
        f"{inspect.cleandoc(judge.__doc__ or '')}\n\nRows of the digits dataset are ignored.\n"
    )
    return wrapped


def _is_of_digits(row: Row) -> bool:
    return any(DIGITS in str(row.get(column, "")).lower() for column in NAMING)


@dataclass(frozen=True, eq=False)
class Picture:
    """A figure of a study.

    Args:
        name: file name without suffix.
        figure: a matplotlib `Figure` that is not registered with pyplot.
        alt: a description with the main figures, for readers who cannot see it.
        caption: plain text below the figure.
    """

    name: str
    figure: Any
    alt: str
    caption: str = ""


@dataclass(frozen=True)
class Table:
    """The table of a study.

    Args:
        header: column titles.
        rows: numbers and texts, one cell per column.
        caption: plain text below the table.
    """

    header: Sequence[str]
    rows: Sequence[Sequence[Any]]
    caption: str = ""


@dataclass(frozen=True, eq=False)
class Study:
    """One experiment: from a configuration to rows, a verdict, figures and a table.

    `verdict`, `figures` and `table` receive the existing rows. Rows of failed or unfinished tasks
    are missing, possibly all of them.

    Args:
        name: name of the study.
        paper: the paper, such as "Ainsworth et al. 2023".
        item: the figure, table or section, such as "Table 1".
        claim: one falsifiable sentence.
        scales: a configuration (a dataclass of JSON values) for each of smoke, small, paper.
        tasks: a function from a configuration to the tasks whose rows form the study; their inputs
            are added automatically.
        verdict: a function from rows to a verdict; its docstring is the printed criterion.
        figures: a function from rows to figures.
        table: a function from rows to a table.
        rows: a function from a task and its result to rows; default: the rows of the result with
            the labels of the task.
    """

    name: str
    paper: str
    item: str
    claim: str
    scales: Mapping[str, Any]
    tasks: Callable[[Any], Sequence[Task]]
    verdict: VerdictFunction
    figures: Callable[[Sequence[Row]], Sequence[Picture]]
    table: Callable[[Sequence[Row]], Table]
    rows: Callable[[Task, Result], Sequence[Row]] | None = None

    @property
    def criterion(self) -> str:
        """The criterion in paragraphs: the docstring of `verdict`."""
        text = inspect.getdoc(self.verdict) or ""
        return "\n\n".join(" ".join(part.split()) for part in text.split("\n\n"))

    def config(self, scale: str) -> Any:
        """Return the configuration of a scale.

        Raises:
            OneBasinError: if the study does not have this scale; the message lists its scales.
        """
        if scale not in self.scales:
            raise OneBasinError(
                f"study {self.name}: unknown scale {scale!r}; it has {', '.join(self.scales)}"
            )
        return self.scales[scale]

    def config_json(self, scale: str) -> dict[str, Any]:
        """Return the configuration of a scale as plain values."""
        config = self.config(scale)
        assert is_dataclass(config) and not isinstance(config, type)
        return asdict(config)

    def rows_of(self, task: Task, result: Result, scale: str) -> list[dict[str, Any]]:
        """Return the rows of a task, with the name and the scale of the study."""
        if self.rows is not None:
            rows = self.rows(task, result)
        else:
            rows = [{**task.labels, **row} for row in result.rows]
        return [{"study": self.name, "scale": scale, **row} for row in rows]
