"""Files of reports: pages, figures as SVG, tables and rows as CSV, in `report/` of a folder."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from onebasin.report.studies.pages import index_page, study_page
from onebasin.report.studies.pictures import draw, svg_bytes
from onebasin.studies.collection import CollectedStudy, collect
from onebasin.studies.folder import StudyFolder
from onebasin.studies.store.rows import columns_of
from onebasin.studies.study import Table

REPORT = "report"


def write_study_reports(folder: StudyFolder) -> list[CollectedStudy]:
    """Write the report of every study in a folder, and the index over them.

    `report/` gets `index.html`, and for each study NAME `NAME.html`, `NAME.csv` (the table),
    `NAME-rows.csv` (all rows) and an SVG file per figure. Nothing is computed again.

    Args:
        folder: of studies, complete or not.

    Returns:
        What the reports are of, in order of their names.

    Raises:
        OneBasinError: when the folder holds no studies, a result is corrupt, or a file cannot
            be written.
    """
    found = [collect(folder, name) for name in sorted(folder.studies())]
    for one in found:
        for name, data in report_files(one).items():
            folder.files.write(f"{REPORT}/{name}", data)
    folder.files.write(f"{REPORT}/index.html", index_page(found).encode())
    return found


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
