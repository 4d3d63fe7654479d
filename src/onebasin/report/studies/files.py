"""Files of reports: pages, figures as SVG, tables and rows as CSV, in `report/` of a folder."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from onebasin.errors import OneBasinError
from onebasin.report.studies.pages import index_page, study_page
from onebasin.report.studies.pictures import draw, svg_bytes
from onebasin.studies.collection import CollectedStudy, collect
from onebasin.studies.folder import StudyFolder
from onebasin.studies.store.rows import columns_of
from onebasin.studies.study import Table

REPORT = "report"
Note = Callable[[str], None]


def write_study_reports(folder: StudyFolder, note: Note | None = None) -> list[CollectedStudy]:
    """Write the report of every study in a folder, and the index over them.

    `report/` gets `index.html`, and for each study NAME `NAME.html`, `NAME.csv` (the table),
    `NAME-rows.csv` (all rows) and an SVG file per figure. Nothing is computed again.

    Args:
        folder: of studies, complete or not.
        note: gets a line about each study that cannot be reported; the others are.

    Returns:
        What the reports are of, in order of their names.

    Raises:
        OneBasinError: when the folder holds no studies, none of them can be reported, or a file
            cannot be written.
    """
    found, wrong = _collect(folder)
    for text in wrong if found else []:
        (note or (lambda text: None))(text)
    if not found:
        raise OneBasinError("; ".join(wrong))
    for one in found:
        for name, data in report_files(one).items():
            folder.files.write(f"{REPORT}/{name}", data)
    folder.files.write(f"{REPORT}/index.html", index_page(found).encode())
    return found


def _collect(folder: StudyFolder) -> tuple[list[CollectedStudy], list[str]]:
    """Return what there is of each study, and a line for each of which it cannot be told."""
    found, wrong = [], []
    for name in folder.studies():
        try:
            found.append(collect(folder, name))
        except OneBasinError as error:
            wrong.append(f"study {name} cannot be reported: {error}")
    return found, wrong


def report_files(found: CollectedStudy) -> dict[str, bytes]:
    """Return the files of a study's report by name.

    Args:
        found: the study and what there is of it.
    """
    name, files = found.study.name, {}
    pictures = draw(found.study, found.rows) if found.rows else []
    body = found.study.table(found.rows) if found.rows else Table((), ())
    for picture in pictures:
        files[f"{name}-{picture.name}.svg"] = svg_bytes(picture)
    if found.rows:
        files[f"{name}.csv"] = _csv([body.header, *body.rows])
        files[f"{name}-rows.csv"] = rows_csv(found.rows)
    return {f"{name}.html": study_page(found, pictures, body, list(files)).encode(), **files}


def rows_csv(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """Return rows as CSV: a header, and nothing where a row lacks a column."""
    columns = columns_of(rows)
    return _csv([columns, *([row.get(column) for column in columns] for row in rows)])


def _csv(rows: Iterable[Iterable[Any]]) -> bytes:
    target = io.StringIO()
    csv.writer(target, lineterminator="\n").writerows(rows)
    return target.getvalue().encode()
