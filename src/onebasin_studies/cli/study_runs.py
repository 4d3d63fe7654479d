"""`onebasin study run` and `onebasin study report`."""

from __future__ import annotations

from typing import Annotated

import typer

from onebasin.cli.console import open_console
from onebasin.cli.option_groups import with_option_groups
from onebasin.cli.options.run import Json, Quiet
from onebasin_studies.cli.engine_options import EngineOptions

SOME_FAILED = 3


@with_option_groups
def run(
    *,
    names: Annotated[
        list[str],
        typer.Argument(metavar="NAME...", help="Names of studies, or all.", show_default=False),
    ],
    scale: Annotated[
        str,
        typer.Option(
            metavar="SCALE",
            help="smoke (seconds), small (under an hour on 4 cores) or paper (as published).",
        ),
    ] = "smoke",
    workers: EngineOptions,
    out: Annotated[
        str, typer.Option("--out", metavar="DIR", help="Folder or fsspec URL of the results.")
    ] = "studies-out",
    as_json: Json = False,
    quiet: Quiet = False,
) -> int:
    """Run studies and write their reports.

    Results in DIR are not computed again: run the same command to resume an interrupted run.
    Data other than digits are read from the folder in ONEBASIN_DATA, or downloaded. Exits with
    3 if tasks failed; the report has their tracebacks.

    \b
    Examples:
      onebasin study run symmetries counterexample
      onebasin study run all --scale small --out small-out --jobs 4
      onebasin study run width --scale paper --engine ray --address auto --out s3://bucket/width
    """
    with open_console(as_json, quiet) as console:
        from onebasin_studies.cli.progress import study_progress
        from onebasin_studies.report.studies import run_and_report

        engine = workers.build()
        with study_progress(console) as show:
            result = run_and_report(
                names,
                scale=scale,
                out=out,
                engine=engine,
                note=console.note,
                progress=show,
            )
        console.print(result.to_json(), result.summary())
        return 0 if result.is_complete else SOME_FAILED


def report(
    folders: Annotated[
        list[str],
        typer.Argument(metavar="DIR...", help="Output folders of `study run`.", show_default=False),
    ],
    out: Annotated[
        str | None,
        typer.Option(
            "--out",
            metavar="INDEX",
            help="Folder or fsspec URL for the reports of several folders and their index.",
            show_default=False,
        ),
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> int:
    """Write the report pages, figures and tables of a folder again.

    Writes index.html and index.md to DIR/report and, for each study, a page, SVG figures and CSV
    tables. With --out, writes one folder for each DIR to INDEX, and the results of all studies to
    index.html and index.md in INDEX. Exits with 3 if a study is damaged or belongs to another
    version of onebasin; all other studies are reported.

    \b
    Examples:
      onebasin study report studies-out
      onebasin study report smoke-out small-out --out all-runs
    """
    with open_console(as_json, quiet) as console:
        from onebasin_studies.report.studies import report_folders

        result = report_folders(folders, out)
        for line in result.notes:
            console.note(line)
        console.print(result.to_json(), result.summary())
        return SOME_FAILED if result.notes else 0
