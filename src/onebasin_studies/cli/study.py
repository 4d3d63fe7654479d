"""`onebasin study`: experiments of papers."""

from __future__ import annotations

from typing import Annotated

import typer

from onebasin._text import columns
from onebasin.cli.console import open_console
from onebasin.cli.options.run import Json, Quiet
from onebasin_studies.cli.study_runs import report, run

study = typer.Typer(
    name="study",
    help="Reproduce experiments of papers: list, run, status, report.",
    invoke_without_command=True,
    rich_markup_mode=None,
)


@study.callback()
def show_help(context: typer.Context) -> None:
    """Reproduce experiments of papers: list, run, status, report."""
    if context.invoked_subcommand is None:
        print(context.get_help())


@study.command("list")
def list_studies(as_json: Json = False, quiet: Quiet = False) -> None:
    """List the studies and the claim of each study."""
    from onebasin_studies import STUDIES, find_study

    with open_console(as_json, quiet) as console:
        studies = [find_study(name) for name in STUDIES]
        data = [
            {"name": s.name, "paper": s.paper, "item": s.item, "claim": s.claim} for s in studies
        ]
        rows = [(s.name, s.item, s.paper.partition(",")[0]) for s in studies]
        table = columns([("study", "item", "paper"), *rows], numbers_from=9).splitlines()
        lines = [f"{row}\n  {s.claim}" for row, s in zip(table[1:], studies, strict=True)]
        console.print({"studies": data}, "\n".join([table[0], *lines]))


study.command()(run)


@study.command()
def status(
    folder: Annotated[
        str,
        typer.Argument(metavar="DIR", help="Output folder of `study run`.", show_default=False),
    ],
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Show the progress of the studies in a folder.

    Works during a run, from any machine that can read DIR.

    \b
    Example:
      onebasin study status studies-out
    """
    from onebasin_studies.runtime.folder import StudyFolder
    from onebasin_studies.runtime.status import status_of

    with open_console(as_json, quiet) as console:
        result = status_of(StudyFolder(folder))
        rows = [
            (s.study, s.scale, s.state, f"{s.done} of {s.total}", str(s.failed))
            for s in result.studies
        ]
        body = columns([("study", "scale", "state", "done", "failed"), *rows], numbers_from=3)
        console.print(result.to_json(), f"{body}\n\n{result.to_text()}")


study.command()(report)
