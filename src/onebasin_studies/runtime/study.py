"""Studies: what a study is, and what it makes of its rows.

Owns the form that every entry of the catalogue has; a study holds no state and runs nothing.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, is_dataclass
from typing import Any, Literal, TypeAlias, get_args

from onebasin.errors import OneBasinError
from onebasin_studies.runtime.task import Result, Task

Scale = Literal["smoke", "small", "paper"]
Judgement = Literal["reproduced", "not reproduced", "not enough data"]
Row: TypeAlias = Mapping[str, Any]
Judge: TypeAlias = Callable[[Sequence[Row]], "Verdict"]
SCALES: tuple[str, ...] = get_args(Scale)

DIGITS = "digits"
"""What smoke scale trains on, and no paper did."""

NAMING = ("data", "setting", "family")
"""Columns that say what a row was measured on."""


@dataclass(frozen=True)
class Verdict:
    """Whether a claim came out, by the study's own stated criterion.

    Args:
        judgement: one of three.
        sentence: the criterion and the figures, computed from the rows.
    """

    judgement: Judgement
    sentence: str

    @staticmethod
    def of(holds: bool, sentence: str) -> Verdict:
        """Return "reproduced" or "not reproduced"."""
        return Verdict("reproduced" if holds else "not reproduced", sentence)

    @staticmethod
    def too_little(sentence: str) -> Verdict:
        """Return "not enough data"."""
        return Verdict("not enough data", sentence)


def beyond_digits(judge: Judge) -> Judge:
    """Make a verdict one that counts no row of the digits, as no claim is about them.

    Args:
        judge: from rows to a verdict; its docstring, the criterion, is told of this, too.
    """

    def judged(rows: Sequence[Row]) -> Verdict:
        counted = [row for row in rows if not _is_of_digits(row)]
        if rows and not counted:
            return Verdict.too_little(
                "Only digits were measured: they show that everything runs, and no claim is "
                "about them."
            )
        return judge(counted)

    judged.__doc__ = f"{inspect.cleandoc(judge.__doc__ or '')}\n\nDigits do not count.\n"
    return judged


def _is_of_digits(row: Row) -> bool:
    return any(DIGITS in str(row.get(column, "")).lower() for column in NAMING)


@dataclass(frozen=True, eq=False)
class Picture:
    """A figure of a study.

    Args:
        name: of its file, without suffix.
        figure: a matplotlib `Figure` of its own, unknown to pyplot.
        alt: what it shows, in words, for those who cannot see it; with figures.
        caption: plain text below it.
    """

    name: str
    figure: Any
    alt: str
    caption: str = ""


@dataclass(frozen=True)
class Table:
    """The table of a study.

    Args:
        header: of each column.
        rows: numbers and texts; as many cells as the header has.
        caption: plain text below it.
    """

    header: Sequence[str]
    rows: Sequence[Sequence[Any]]
    caption: str = ""


@dataclass(frozen=True, eq=False)
class Study:
    """One experiment: a configuration in, rows, a verdict, figures and a table out.

    `verdict`, `figures` and `table` get the rows that exist: after a failure, or while a run
    goes on, some or all are missing, and they must do with what there is.

    Args:
        name: what the user calls it.
        paper: the paper, such as "Ainsworth et al. 2023".
        item: what of the paper, such as "Table 1".
        claim: one sentence that can turn out wrong.
        scales: a configuration (a dataclass of JSON values) for each of smoke, small, paper.
        tasks: from a configuration to the tasks whose rows are the study's rows; the tasks
            they take as inputs come along by themselves.
        verdict: from rows to a verdict; its docstring is the criterion, and is printed.
        figures: from rows to pictures.
        table: from rows to a table.
        rows: from a task and its result to rows; by default the result's, with its labels.
    """

    name: str
    paper: str
    item: str
    claim: str
    scales: Mapping[str, Any]
    tasks: Callable[[Any], Sequence[Task]]
    verdict: Judge
    figures: Callable[[Sequence[Row]], Sequence[Picture]]
    table: Callable[[Sequence[Row]], Table]
    rows: Callable[[Task, Result], Sequence[Row]] | None = None

    @property
    def criterion(self) -> str:
        """What decides on the claim, in paragraphs: the docstring of `verdict`."""
        text = inspect.getdoc(self.verdict) or ""
        return "\n\n".join(" ".join(part.split()) for part in text.split("\n\n"))

    def config(self, scale: str) -> Any:
        """Return the configuration of a scale.

        Raises:
            OneBasinError: when the study has no such scale; its scales are listed.
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
        """Return the rows that a task adds to the study; each says its study and scale."""
        if self.rows is not None:
            made = self.rows(task, result)
        else:
            made = [{**task.labels, **row} for row in result.rows]
        return [{"study": self.name, "scale": scale, **row} for row in made]
