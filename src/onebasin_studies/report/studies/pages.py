"""Pages of studies and their index."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from html import escape
from importlib import resources
from itertools import groupby
from typing import Any

from onebasin.evaluation.curves import svg_source
from onebasin_studies.papers.collection import CollectedStudy
from onebasin_studies.report.pages import page, table
from onebasin_studies.report.studies.tables import table_texts
from onebasin_studies.runtime.progress import duration
from onebasin_studies.runtime.store import Failure
from onebasin_studies.runtime.study import Picture, Table, Verdict


def study_page(
    found: CollectedStudy, pictures: Sequence[Picture], body: Table, files: Sequence[str]
) -> str:
    """Return the self-contained page of a study.

    Args:
        found: the study with its results.
        pictures: its figures, drawn.
        body: its table.
        files: names of the linked files in the same folder.
    """
    study = found.study
    parts = [
        f"<header>\n<p>{escape(study.paper)}, {escape(study.item)}</p>\n"
        f"<h1>{escape(study.name)}</h1>\n</header>",
        f'<p class="lead">{escape(study.claim)}</p>',
        _verdict(found),
        *map(_figure, pictures),
        _table(body),
        "<h2>Setup</h2>",
        _setting(found),
        *_failures(found.failures),
        "<h2>Files</h2>",
        _links(files),
        '<footer><a href="index.html">All studies</a></footer>',
    ]
    return page(f"{study.name}, a study with onebasin", parts, style=study_style())


def index_page(all_found: Sequence[CollectedStudy]) -> str:
    """Return the page that lists studies with their verdicts, by paper.

    Args:
        all_found: the studies of a folder.
    """
    parts = [
        "<header>\n<p>onebasin studies</p>\n<h1>Results</h1>\n</header>",
        f'<p class="lead">{escape(count_verdicts(all_found))}</p>',
    ]
    ordered = sorted(all_found, key=lambda found: found.study.paper)
    for paper, group in groupby(ordered, key=lambda found: found.study.paper):
        cards = "\n".join(map(_card, group))
        parts.append(f'<h2>{escape(paper)}</h2>\n<ul class="cards">\n{cards}\n</ul>')
    return page("Studies with onebasin", parts, style=study_style())


def count_verdicts(studies: Sequence[CollectedStudy]) -> str:
    """Return the number of studies with each verdict as a sentence."""
    verdicts = [collected.verdict().outcome for collected in studies]
    counts = ", ".join(f"{verdicts.count(word)} {word}" for word in dict.fromkeys(verdicts))
    number = "1 study" if len(studies) == 1 else f"{len(studies)} studies"
    return f"{number} at {studies[0].scale} scale: {counts}."


def study_style() -> str:
    """Return the CSS of pages of studies."""
    folder = resources.files("onebasin_studies.report.studies")
    return folder.joinpath("study.css").read_text(encoding="utf-8")


def kind_of(verdict: Verdict) -> str:
    """Return the CSS class of a verdict."""
    return verdict.outcome.replace(" ", "-")


def _verdict(found: CollectedStudy) -> str:
    verdict = found.verdict()
    return (
        f'<div class="verdict {kind_of(verdict)}">\n<span class="badge">'
        f"{escape(verdict.outcome)}</span>\n<p>{escape(verdict.sentence)}</p>\n"
        f"{_criterion(found.study.criterion)}</div>"
    )


def _criterion(text: str) -> str:
    """Return the criterion as HTML; its first sentence is a summary."""
    first, *rest = (f"<p>{escape(part)}</p>" for part in text.split("\n\n"))
    if not text:
        return ""
    first = first.replace("<p>", "<p><b>Criterion.</b> ", 1)
    return f'<div class="criterion">\n{"".join([first, *rest])}\n</div>\n'


def _card(found: CollectedStudy) -> str:
    verdict, name = found.verdict(), escape(found.study.name)
    return (
        f'<li class="{kind_of(verdict)}"><h3><a href="{name}.html">{name}</a> '
        f'<span class="soft">{escape(found.study.item)}</span></h3>\n'
        f'<span class="badge">{escape(verdict.outcome)}</span>\n'
        f'<p>{escape(found.study.claim)}</p>\n<p class="soft">{escape(verdict.sentence)}</p></li>'
    )


def _figure(picture: Picture) -> str:
    return (
        f'<figure>\n<div class="panels one-panel">\n<img src="{svg_source(picture.figure)}" '
        f'alt="{escape(picture.alt)}">\n</div>\n'
        f"<figcaption>{escape(picture.caption)}</figcaption>\n</figure>"
    )


def _table(body: Table) -> str:
    if not body.rows:
        return ""
    inside = table(list(map(str, body.header)), table_texts(body))
    # A wide table scrolls inside its box; its caption stays in place.
    box = f'<div class="scroll" tabindex="0" role="region" aria-label="Table">\n{inside}\n</div>'
    return f"<figure>\n{box}\n<figcaption>{escape(body.caption)}</figcaption>\n</figure>"


def _setting(found: CollectedStudy) -> str:
    rows = [
        ("scale", found.scale),
        ("tasks", f"{found.num_done} of {found.num_tasks} done"),
        ("work", f"{duration(found.seconds)}, all tasks"),
        ("elapsed", f"{duration(found.elapsed)} with at least one running task"),
        ("finished", date_of(found.finished)),
        ("machine", ", ".join(found.machines) or "none yet"),
        ("versions", _versions(found.versions)),
        ("seeds", _ranges(found.seeds) or "none"),
    ]
    config = "\n".join(f"<li>{_shown(name, value)}</li>" for name, value in found.config.items())
    return (
        f'<div class="setting">{table(("", ""), rows, is_text=True)}</div>\n'
        f'<h2>Configuration</h2>\n<ul class="config">\n{config}\n</ul>'
    )


def date_of(seconds: float | None) -> str:
    """Return a time in seconds since 1970 as a UTC date and time; "not yet" for None."""
    if seconds is None:
        return "not yet"
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")


def _versions(versions: Mapping[str, Sequence[str]]) -> str:
    return ", ".join(f"{name} {' and '.join(found)}" for name, found in versions.items())


def _shown(name: str, value: Any) -> str:
    """Return a value of a configuration as HTML: flat values in a line, nested ones as a list."""
    title = f"<b>{escape(name)}</b> " if name else ""
    if _is_flat(value):
        return f"{title}{escape(_words(value))}"
    inner = value.items() if isinstance(value, Mapping) else (("", each) for each in value)
    items = "\n".join(f"<li>{_shown(str(key), each)}</li>" for key, each in inner)
    return f"{title}\n<ul>\n{items}\n</ul>"


def _is_flat(value: Any) -> bool:
    """Return whether a value is a scalar or a flat collection of scalars."""
    inner = value.values() if isinstance(value, Mapping) else value
    return _is_scalar(value) or all(map(_is_scalar, inner))


def _is_scalar(value: Any) -> bool:
    return not isinstance(value, Mapping | list | tuple)


def _words(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_words(each)}" for name, each in value.items()) or "none"
    if isinstance(value, list | tuple):
        return ", ".join(map(_words, value)) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "none" if value is None else str(value)


def _ranges(numbers: Iterable[int]) -> str:
    """Return whole numbers as text: "0 to 4, 7"."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(f"{r[0]} to {r[-1]}" if len(r) > 1 else str(r[0]) for r in runs)


def _failures(failures: Sequence[Failure]) -> list[str]:
    if not failures:
        return []
    blocks = [
        f"<details><summary>{escape(failure.task)}: {escape(failure.reason)}</summary>"
        f"<pre><code>{escape(failure.traceback or failure.reason)}</code></pre></details>"
        for failure in failures
    ]
    return ["<h2>Failed tasks</h2>", *blocks]


def _links(files: Sequence[str]) -> str:
    items = "\n".join(f'<li><a href="{escape(f)}">{escape(f)}</a></li>' for f in files)
    return f"<ul>\n{items}\n</ul>"
