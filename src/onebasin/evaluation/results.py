"""Base class of all measurements, with rows, a plot, and files."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from math import isfinite, isnan
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from onebasin._files import atomic_path
from onebasin.errors import OneBasinError
from onebasin.evaluation.plotting import PICTURES, SETTINGS, write_picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TABLES = (".json", ".csv")
RESULTS = (*TABLES, *PICTURES)


class Result:
    """Base class of results; a subclass defines its rows and its plot."""

    def rows(self) -> list[dict[str, Any]]:
        """Return the numbers as tidy rows, one mapping of column to value each."""
        raise NotImplementedError

    def plot(self, ax: Axes | None = None) -> Axes:
        """Plot the numbers.

        Args:
            ax: axes to draw on; a new figure by default.

        Returns:
            The axes.
        """
        raise NotImplementedError

    def to_json(self) -> Any:
        """Return the content of a `.json` file: the rows as plain JSON values."""
        return plain_rows(self.rows())

    def save(self, path: str | PathLike[str]) -> None:
        """Write the rows to a `.json` or `.csv` file, or the plot to `.png`, `.svg` or `.pdf`.

        The file is written under a temporary name and renamed, so it is never incomplete.

        Args:
            path: the file; the suffix selects the format.

        Raises:
            OneBasinError: the suffix is unknown, or the file cannot be written.
        """
        check_result_path(path)
        with atomic_path(path) as temporary:
            self._write(temporary)

    def _write(self, path: Path) -> None:
        if path.suffix == ".json":
            path.write_text(_json_text(self.to_json()), encoding="utf-8")
        elif path.suffix == ".csv":
            path.write_text(csv_text(self.rows()), encoding="utf-8")
        else:
            self._draw(path)

    def _draw(self, path: Path) -> None:
        import matplotlib
        from matplotlib.figure import Figure

        with matplotlib.rc_context(SETTINGS):
            figure = Figure(figsize=(5.2, 4), layout="constrained")
            self.plot(figure.subplots())
        write_picture(figure, path, path.suffix.removeprefix("."))


def check_result_path(path: str | PathLike[str]) -> None:
    """Check the suffix of a result file before a long computation.

    Raises:
        OneBasinError: the suffix is not `.json`, `.csv`, `.png`, `.svg` or `.pdf`.
    """
    suffix = Path(path).suffix
    if suffix not in RESULTS:
        raise OneBasinError(
            f"{path}: unknown result format {suffix!r}; expected {', '.join(TABLES)} for the "
            f"rows or {', '.join(PICTURES)} for the plot"
        )


def save_rows(rows: Sequence[Mapping[str, Any]], path: str | PathLike[str]) -> None:
    """Write rows to a `.json` or `.csv` file; a partial file is never left.

    Raises:
        OneBasinError: the suffix is unknown, or the file cannot be written.
    """
    check_table_path(path)
    text = _json_text(plain_rows(rows)) if Path(path).suffix == ".json" else csv_text(rows)
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def check_table_path(path: str | PathLike[str]) -> None:
    """Check the suffix of a table file before a long computation.

    Raises:
        OneBasinError: the suffix is neither `.json` nor `.csv`.
    """
    suffix = Path(path).suffix
    if suffix not in TABLES:
        raise OneBasinError(
            f"{path}: unknown table format {suffix!r}; expected {' or '.join(TABLES)}"
        )


def _json_text(data: Any) -> str:
    return json.dumps(data, indent=1, allow_nan=False) + "\n"


def axes_for(ax: Axes | None) -> Axes:
    """Return the given axes, or those of a new pyplot figure."""
    if ax is not None:
        return ax
    import matplotlib.pyplot as plt

    return plt.subplots()[1]


def csv_text(rows: Sequence[Mapping[str, Any]]) -> str:
    r"""Return rows as CSV text with a header; NaN is an empty field.

    Example:
        >>> csv_text([{"alpha": 0.5, "loss": 1.25}, {"alpha": 1.0, "loss": float("nan")}])
        'alpha,loss\n0.5,1.25\n1.0,\n'
    """
    buffer = io.StringIO()
    names = list(dict.fromkeys(name for row in rows for name in row))
    writer = csv.DictWriter(buffer, names, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(plain_rows(rows))
    return buffer.getvalue()


def plain_rows(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return rows as plain JSON values; see `plain_number`."""
    return [{name: _plain(value) for name, value in row.items()} for row in rows]


def _plain(value: Any) -> Any:
    return plain_number(value) if isinstance(value, float) else value


def plain_number(value: float) -> float | str | None:
    """Return a number as a JSON value: NaN becomes None, infinity becomes "inf"."""
    if isnan(value):
        return None
    return value if isfinite(value) else str(value)
