"""The results of studies as one Markdown page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from onebasin_studies.papers.collection import CollectedStudy
from onebasin_studies.report.studies.pages import count_verdicts, date_of

HEADER = ("study", "paper and item", "claim", "verdict", "figures", "finished", "machine")
SPECIAL = str.maketrans({character: f"\\{character}" for character in "\\|*_`[]~"})


def index_markdown(runs: Mapping[str, Sequence[CollectedStudy]]) -> str:
    """Return a Markdown page with one table of studies for each run.

    Args:
        runs: the studies of each run, by the title of its section; an empty title
            makes no heading.
    """
    sections = [_section(title, studies) for title, studies in runs.items()]
    return "\n\n".join(["# Study results", *sections]) + "\n"


def _section(title: str, studies: Sequence[CollectedStudy]) -> str:
    ordered = sorted(studies, key=lambda collected: collected.study.paper)
    table = [HEADER, ["---"] * len(HEADER), *map(_row, ordered)]
    parts = [
        f"## {_text(title)}" if title else "",
        f"{count_verdicts(studies)} This command runs them and writes this table to "
        "`studies-out/report/index.md`:",
        f"```sh\nonebasin study run all --scale {studies[0].scale} --out studies-out\n```",
        "\n".join(f"| {' | '.join(cells)} |" for cells in table),
    ]
    return "\n\n".join(part for part in parts if part)


def _row(collected: CollectedStudy) -> list[str]:
    study, verdict = collected.study, collected.verdict()
    source = f"{study.paper.partition(',')[0]}, {study.item}"
    is_finished = collected.finished is not None
    day = date_of(collected.finished).partition(" ")[0] if is_finished else "-"
    cells = (source, study.claim, verdict.outcome, verdict.sentence, day)
    return [f"`{study.name}`", *map(_text, (*cells, ", ".join(collected.machines) or "-"))]


def _text(text: str) -> str:
    """Return plain text as Markdown that fits a cell of a table."""
    return escape(" ".join(text.split()), quote=False).translate(SPECIAL)
