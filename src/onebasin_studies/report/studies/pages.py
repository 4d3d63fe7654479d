"""Pages of studies and their indexes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime

from onebasin_studies.papers.catalogue import STUDIES
from onebasin_studies.papers.collection import CollectedStudy
from onebasin_studies.report.pages import render
from onebasin_studies.report.studies.tables import table_texts
from onebasin_studies.runtime.progress import duration
from onebasin_studies.runtime.study import Picture, Table


def study_page(
    collected: CollectedStudy, pictures: Sequence[Picture], body: Table, files: Sequence[str]
) -> str:
    """Return the self-contained page of a study.

    Args:
        collected: the study with its results.
        pictures: its figures, drawn.
        body: its table.
        files: names of the linked files in the same folder.
    """
    return render(
        "study",
        study=collected.study,
        verdict=collected.verdict(),
        pictures=pictures,
        body=body,
        cells=table_texts(body),
        facts=_facts(collected),
        config=collected.config,
        failures=collected.failures,
        files=files,
    )


def index_page(studies: Sequence[CollectedStudy]) -> str:
    """Return the page that lists studies with their verdicts, by paper.

    Args:
        studies: the studies of a folder.
    """
    return render("index", studies=studies, summary=count_verdicts(studies))


def runs_page(runs: Mapping[str, Sequence[CollectedStudy]]) -> str:
    """Return the page that lists studies, by paper, with their verdict in each run.

    Args:
        runs: the studies of each run, by the name of the folder of its pages.
    """
    studies = {one.study.name: one.study for collected in runs.values() for one in collected}
    return render(
        "runs",
        runs={run: collected[0].scale for run, collected in runs.items()},
        studies=[studies[name] for name in dict.fromkeys([*STUDIES, *studies]) if name in studies],
        verdicts={
            name: {
                run: one.verdict()
                for run, collected in runs.items()
                for one in collected
                if one.study.name == name
            }
            for name in studies
        },
    )


def count_verdicts(studies: Sequence[CollectedStudy]) -> str:
    """Return the number of studies with each verdict as a sentence."""
    verdicts = [collected.verdict().outcome for collected in studies]
    counts = ", ".join(f"{verdicts.count(word)} {word}" for word in dict.fromkeys(verdicts))
    number = "1 study" if len(studies) == 1 else f"{len(studies)} studies"
    return f"{number} at {studies[0].scale} scale: {counts}."


def date_of(seconds: float | None) -> str:
    """Return a time in seconds since 1970 as a UTC date and time; "not yet" for None."""
    if seconds is None:
        return "not yet"
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")


def _facts(collected: CollectedStudy) -> dict[str, str]:
    """Return the scale, the effort and the origin of a study's results."""
    versions = (f"{name} {' and '.join(all_)}" for name, all_ in collected.versions.items())
    return {
        "scale": collected.scale,
        "tasks": f"{collected.num_done} of {collected.num_tasks} done",
        "work": f"{duration(collected.seconds)}, all tasks",
        "elapsed": f"{duration(collected.elapsed)} with at least one running task",
        "finished": date_of(collected.finished),
        "machine": ", ".join(collected.machines) or "none yet",
        "versions": ", ".join(versions),
        "seeds": _ranges(collected.seeds) or "none",
    }


def _ranges(numbers: Iterable[int]) -> str:
    """Return whole numbers as text: "0 to 4, 7"."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(f"{r[0]} to {r[-1]}" if len(r) > 1 else str(r[0]) for r in runs)
