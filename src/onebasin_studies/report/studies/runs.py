"""The index of several runs: each study once, with its verdict in each run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from itertools import groupby
from urllib.parse import quote

from onebasin_studies.papers.catalogue import STUDIES
from onebasin_studies.papers.collection import CollectedStudy
from onebasin_studies.report.pages import page
from onebasin_studies.report.studies.pages import kind_of, study_style

Runs = Mapping[str, Sequence[CollectedStudy]]


def runs_page(runs: Runs) -> str:
    """Return the page that lists studies, by paper, with their verdict in each run.

    Args:
        runs: the studies of each run, by the name of the folder of its pages.
    """
    studies = {one.study.name: one.study for found in runs.values() for one in found}
    order = [name for name in (*STUDIES, *studies) if name in studies]
    ordered = sorted(dict.fromkeys(order), key=lambda name: studies[name].paper)
    links = ", ".join(
        f'<a href="{quote(run)}/index.html">{escape(run)}</a> ({escape(_scale(found))})'
        for run, found in runs.items()
    )
    parts = [
        "<header>\n<p>onebasin studies</p>\n<h1>Results</h1>\n</header>",
        f'<p class="lead">{_number(len(studies), "study", "studies")} in '
        f"{_number(len(runs), 'run', 'runs')}: {links}.</p>",
    ]
    for paper, names in groupby(ordered, key=lambda name: studies[name].paper):
        cards = "\n".join(_card(name, runs) for name in names)
        parts.append(f'<h2>{escape(paper)}</h2>\n<ul class="cards">\n{cards}\n</ul>')
    return page("Runs of studies with onebasin", parts, style=study_style())


def _number(count: int, one: str, many: str) -> str:
    return f"{count} {one if count == 1 else many}"


def _scale(found: Sequence[CollectedStudy]) -> str:
    return f"{found[0].scale} scale"


def _card(name: str, runs: Runs) -> str:
    found = {run: one for run, all_of in runs.items() for one in all_of if one.study.name == name}
    study = next(iter(found.values())).study
    lines = "\n".join(_line(run, one) for run, one in found.items())
    return (
        f'<li><h3>{escape(name)} <span class="soft">{escape(study.item)}</span></h3>\n'
        f"<p>{escape(study.claim)}</p>\n{lines}</li>"
    )


def _line(run: str, found: CollectedStudy) -> str:
    verdict = found.verdict()
    return (
        f'<p class="{kind_of(verdict)}"><a href="{quote(run)}/{quote(found.study.name)}.html">'
        f'{escape(run)}</a> <span class="badge">{escape(verdict.outcome)}</span> '
        f'<span class="soft">{escape(verdict.sentence)}</span></p>'
    )
