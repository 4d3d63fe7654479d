"""`onebasin study`: experiments of papers, run, watched and reported."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from onebasin._text import columns
from onebasin.cli.console import open_console
from onebasin.cli.options.run import Json, Quiet
from onebasin.errors import OneBasinError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from onebasin.cli.console import Console
    from onebasin_studies import Outcome
    from onebasin_studies.papers.collection import CollectedStudy
    from onebasin_studies.runtime.engines import Engine

SOME_FAILED = 3
Folder = Annotated[
    str, typer.Argument(metavar="DIR", help="Output folder of `study run`.", show_default=False)
]

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
        found = [find_study(name) for name in STUDIES]
        data = [{"name": s.name, "paper": s.paper, "item": s.item, "claim": s.claim} for s in found]
        rows = [(s.name, s.item, s.paper.partition(",")[0]) for s in found]
        table = columns([("study", "item", "paper"), *rows], numbers_from=9).splitlines()
        lines = [f"{row}\n  {s.claim}" for row, s in zip(table[1:], found, strict=True)]
        console.print({"studies": data}, "\n".join([table[0], *lines]))


@study.command()
def run(
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
    engine: Annotated[
        str,
        typer.Option(metavar="ENGINE", help="local (processes on this machine) or ray."),
    ] = "local",
    address: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT",
            help="Address of the Ray cluster, or auto; default: start Ray on this machine.",
            show_default=False,
        ),
    ] = None,
    jobs: Annotated[
        int | None,
        typer.Option(
            metavar="N", help="Number of parallel tasks; default: one per core.", show_default=False
        ),
    ] = None,
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
        chosen = choose_engine(engine, address=address, jobs=jobs)
        return run_named(names, scale=scale, out=out, engine=chosen, console=console)


@study.command()
def status(folder: Folder, as_json: Json = False, quiet: Quiet = False) -> None:
    """Show the progress of the studies in a folder.

    Works during a run, from any machine that can read DIR.

    \b
    Example:
      onebasin study status studies-out
    """
    from onebasin_studies.runtime.folder import StudyFolder
    from onebasin_studies.runtime.status import status_of

    with open_console(as_json, quiet) as console:
        found = status_of(StudyFolder(folder))
        rows = [
            (s.study, s.scale, s.state, f"{s.done} of {s.total}", str(s.failed))
            for s in found.studies
        ]
        body = columns([("study", "scale", "state", "done", "failed"), *rows], numbers_from=3)
        console.print(found.to_json(), f"{body}\n\n{found.to_text()}")


@study.command()
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
            help="Folder or fsspec URL for the reports of many, and the index over them.",
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
        wrong: list[str] = []
        data, text = _reported(folders, out, wrong.append)
        for line in wrong:
            console.note(line)
        console.print({**data, "unreported": wrong}, text)
        return SOME_FAILED if wrong else 0


def _reported(
    folders: Sequence[str], out: str | None, note: Callable[[str], None]
) -> tuple[dict[str, Any], str]:
    """Write reports; return what came out as data and as text."""
    from onebasin_studies.report.studies import write_run_index, write_study_reports
    from onebasin_studies.runtime.folder import StudyFolder

    if out is None and len(folders) > 1:
        raise OneBasinError(
            f"study report: {len(folders)} folders given; name one for the index with --out"
        )
    if out is None:
        found = write_study_reports(StudyFolder(folders[0]), note)
        return _verdicts(found), _text(found, folders[0])
    runs = write_run_index([StudyFolder(folder) for folder in folders], out, note)
    blocks = [f"{name}\n{_lines(found)}" for name, found in runs.items()]
    text = "\n\n".join([*blocks, f"wrote {out}/index.html"])
    return {"runs": {name: _verdicts(found) for name, found in runs.items()}}, text


def choose_engine(name: str, *, address: str | None, jobs: int | None) -> Engine:
    """Return the engine of a name.

    Args:
        name: "local" or "ray".
        address: of the Ray cluster.
        jobs: tasks at a time.

    Raises:
        OneBasinError: when there is none of that name, or an option is not one of it.
    """
    from onebasin_studies.runtime.engines import LocalEngine

    if name not in ("local", "ray"):
        raise OneBasinError(f"study run: unknown engine {name!r}; known are local, ray")
    if name == "ray":
        from onebasin_studies.runtime.engines.ray import RayEngine

        return RayEngine(address, jobs=jobs)
    if address is not None:
        raise OneBasinError("study run: --address requires --engine ray")
    return LocalEngine(jobs)


def run_named(
    names: Sequence[str], *, scale: str, out: str, engine: Engine, console: Console
) -> int:
    """Run studies by name and print what came out.

    Returns:
        The exit code: 3 when a task failed.
    """
    from onebasin_studies import find_studies, run_studies
    from onebasin_studies.cli.study_progress import progress_line
    from onebasin_studies.report.studies import write_study_reports
    from onebasin_studies.runtime.engines import LocalEngine
    from onebasin_studies.runtime.folder import StudyFolder
    from onebasin_studies.tasks.specs import check_data

    studies = find_studies(names, scale)
    # Elsewhere data may be where they are not here.
    check = check_data if isinstance(engine, LocalEngine) else None
    with progress_line(console) as line:
        told = {"note": line.note, "progress": line.show}
        outcome = run_studies(studies, scale=scale, out=out, engine=engine, check=check, **told)
    reported = write_study_reports(StudyFolder(out), console.note)
    found = [one for one in reported if one.study.name in studies]
    data = {"out": out, **outcome.progress.to_json(), **_verdicts(found)}
    data["failures"] = [vars(failure) for failure in outcome.failures]
    console.print(data, f"{_text(found, out)}{_failed(outcome)}")
    return 0 if outcome.is_complete and len(found) == len(studies) else SOME_FAILED


def _verdicts(found: Sequence[CollectedStudy]) -> dict[str, Any]:
    verdicts = {one.study.name: vars(one.verdict()) for one in found}
    return {"verdicts": verdicts}


def _text(found: Sequence[CollectedStudy], folder: str) -> str:
    return f"{_lines(found)}\n\nwrote {folder}/report/index.html"


def _lines(found: Sequence[CollectedStudy]) -> str:
    verdicts = {one.study.name: one.verdict() for one in found}
    return "\n".join(f"{name}: {v.judgement}\n  {v.sentence}" for name, v in verdicts.items())


def _failed(outcome: Outcome) -> str:
    if outcome.is_complete:
        return ""
    skipped = f", {len(outcome.skipped)} more need what they make" if outcome.skipped else ""
    failed = outcome.progress.failed
    return f"\n{failed} of {outcome.progress.total} tasks failed{skipped}; run again to retry"
