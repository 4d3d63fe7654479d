"""Files of reports: pages, figures as SVG, tables and rows as CSV."""

from __future__ import annotations

import base64
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from onebasin.errors import OneBasinError
from onebasin.evaluation.curve_figures import ALIGNED, NAIVE
from onebasin.evaluation.plotting import SETTINGS, SOFT_INK, svg_source
from onebasin_studies.papers.collection import CollectedStudy, collect
from onebasin_studies.report.studies.markdown import index_markdown
from onebasin_studies.report.studies.pages import index_page, runs_page, study_page
from onebasin_studies.report.studies.tables import table_numbers
from onebasin_studies.runtime.folder import StudyFolder
from onebasin_studies.runtime.store.files import Files
from onebasin_studies.runtime.study import Picture, Study, Table

if TYPE_CHECKING:
    from pandas import DataFrame

COLORS = (NAIVE, ALIGNED, "#e09f3e", "#5f4b8b", "#6a994e", SOFT_INK, "#bc6c25", "#3d5a80")

REPORT = "report"

Note = Callable[[str], None]


def write_study_reports(folder: StudyFolder, note: Note | None = None) -> list[CollectedStudy]:
    """Write the report of every study in a folder and an index of all of them.

    Writes `report/index.html` and `report/index.md`. Each study NAME also gets `NAME.html`,
    `NAME.csv` (the table), `NAME-rows.csv` (all rows) and one SVG file per figure. Does not
    run any task.

    Args:
        folder: a folder of studies, complete or not.
        note: a callback that receives one line about each study that cannot be reported.

    Returns:
        The reported studies, sorted by name.

    Raises:
        OneBasinError: if the folder has no studies, none of them can be reported, or a file
            cannot be written.
    """
    studies = _collected(folder, note)
    _write(studies, folder.files, REPORT)
    return studies


def write_run_index(
    folders: Sequence[StudyFolder], out: str | os.PathLike[str], note: Note | None = None
) -> dict[str, list[CollectedStudy]]:
    """Write the reports of several folders and one index of all of them.

    Args:
        folders: folders of studies; they are not changed.
        out: the output folder or URL. It gets `index.html`, `index.md` and, for each run, a
            folder with the files of `write_study_reports`.
        note: a callback that receives one line about each study that cannot be reported.

    Returns:
        The reported studies by the name of the run.

    Raises:
        OneBasinError: under the conditions of `write_study_reports`, for any of the folders.
    """
    runs: dict[str, list[CollectedStudy]] = {}
    for folder in folders:
        runs[_free_name(folder, runs)] = _collected(folder, note)
    files = Files(out)
    for name, collected in runs.items():
        _write(collected, files, name)
    files.write("index.html", runs_page(runs).encode())
    files.write("index.md", index_markdown(runs).encode())
    return runs


def _free_name(folder: StudyFolder, taken: Collection[str]) -> str:
    """Return the last part of the folder's path, with a number if it is taken."""
    name = folder.files.root.rpartition("/")[2] or "run"
    names = (name, *(f"{name}-{number}" for number in range(2, len(taken) + 2)))
    return next(name for name in names if name not in taken)


def _collected(folder: StudyFolder, note: Note | None) -> list[CollectedStudy]:
    """Return the contents of all readable studies; report the others to `note`."""
    studies, wrong = [], []
    for name in folder.studies():
        try:
            studies.append(collect(folder, name))
        except OneBasinError as error:
            wrong.append(f"study {name} cannot be reported: {error}")
    if not studies:
        raise OneBasinError("; ".join(wrong))
    for text in wrong:
        (note or (lambda text: None))(text)
    return studies


def _write(studies: Sequence[CollectedStudy], files: Files, place: str) -> None:
    for study in studies:
        for name, data in report_files(study).items():
            files.write(f"{place}/{name}", data)
    files.write(f"{place}/index.html", index_page(studies).encode())
    files.write(f"{place}/index.md", index_markdown({"": studies}).encode())


def report_files(collected: CollectedStudy) -> dict[str, bytes]:
    """Return the files of a study's report by name.

    Args:
        collected: the study with its results.
    """
    name, files = collected.study.name, {}
    pictures = draw(collected.study, collected.rows) if collected.rows else []
    body = collected.study.table(collected.rows) if collected.rows else Table((), ())
    for picture in pictures:
        files[f"{name}-{picture.name}.svg"] = svg_bytes(picture, f"{name}: {picture.name}")
    if collected.rows:
        files[f"{name}.csv"] = _csv(table_numbers(body))
        files[f"{name}-rows.csv"] = _csv(collected.frame())
    return {f"{name}.html": study_page(collected, pictures, body, list(files)).encode(), **files}


def _csv(frame: DataFrame) -> bytes:
    """Return a table as CSV with a header; missing values are empty."""
    return frame.to_csv(index=False, lineterminator="\n").encode()


def draw(study: Study, rows: Sequence[Mapping[str, Any]]) -> Sequence[Picture]:
    """Return the figures of a study in the common style.

    Raises:
        OneBasinError: if a figure has no alternative text.
    """
    import matplotlib
    from cycler import cycler

    style = {**SETTINGS, "axes.prop_cycle": cycler(color=COLORS), "legend.fontsize": 9}
    with matplotlib.rc_context(style):
        pictures = study.figures(rows)
        for picture in pictures:
            # Drawn here because ticks and texts take the style at that time.
            picture.figure.draw_without_rendering()
    for picture in pictures:
        if not picture.alt.strip():
            raise OneBasinError(f"study {study.name}: figure {picture.name!r} has no alt text")
    return pictures


def svg_bytes(picture: Picture, title: str) -> bytes:
    """Return the SVG file of a figure; equal figures give equal bytes.

    Args:
        picture: the figure; its alternative text becomes the description of the file.
        title: title of the file.
    """
    text = base64.b64decode(svg_source(picture.figure).partition(",")[2]).decode()
    start = text.index(">", text.index("<svg")) + 1
    words = f"\n <title>{escape(title)}</title>\n <desc>{escape(picture.alt)}</desc>"
    return f"{text[:start]}{words}{text[start:]}".encode()
