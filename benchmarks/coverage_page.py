"""The coverage page: rows as Markdown and as JSON."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import median

from coverage_row import INFERRED, NOT_INFERRED, VERIFIED, WRONG, Row

INTRODUCTION = """# Coverage

Written by `python benchmarks/coverage.py`. For every model of `benchmarks/catalogue`,
`onebasin.infer_symmetry` infers the symmetry, and `onebasin.verify` verifies it on the original
module in float64.

| column | meaning |
|---|---|
| families | number of different architectures |
| wrong groups | number of models with a group that failed verification |
| log10 order | log10 of the number of equivalent copies of the model |
| movable | fraction of the parameters on at least one permutable dimension |
| unsupported | number of operators without a rule |
| error | largest relative change of an output during verification |
"""
COLUMNS = (
    "model", "parameters", "groups", "log10 order", "movable", "unsupported", "error",
    "inference", "verification", "status",
)  # fmt: skip


def write_page(rows: Sequence[Row], environment: Mapping[str, str], folder: Path) -> Path:
    """Write `coverage.md` and `coverage.json` into a folder; return the path of the page."""
    folder.mkdir(parents=True, exist_ok=True)
    data = {"environment": dict(environment), "rows": [asdict(row) for row in rows]}
    (folder / "coverage.json").write_text(json.dumps(data, indent=1) + "\n")
    page = folder / "coverage.md"
    page.write_text(page_text(rows, environment))
    return page


def page_text(rows: Sequence[Row], environment: Mapping[str, str]) -> str:
    """Return the page as Markdown."""
    parts = [INTRODUCTION, ", ".join(f"{k} {v}" for k, v in environment.items()) + ".\n"]
    parts += ["## Totals\n", _totals(rows), *_shortfalls(rows), *_unsupported(rows)]
    for library in dict.fromkeys(row.library for row in rows):
        chosen = [row for row in rows if row.library == library]
        parts += [f"## {library}\n", _table(COLUMNS, map(row_cells, chosen))]
    return "\n".join(parts)


def row_cells(row: Row) -> tuple[str, ...]:
    """Return the cells of one model, in the order of `COLUMNS`."""
    return (
        f"`{row.name}`",
        _shown(row.parameters, lambda n: f"{n:,}"),
        _shown(row.groups, str),
        _shown(row.log10_order, lambda x: f"{x:.1f}"),
        _shown(row.permutable_fraction, _percent),
        str(len(row.unsupported_ops)) if row.groups is not None else "–",
        _shown(row.max_error, lambda x: f"{x:.1e}"),
        _shown(row.inference_seconds, lambda x: f"{x:.1f} s"),
        _shown(row.verification_seconds, lambda x: f"{x:.1f} s"),
        row.status,
    )


def _totals(rows: Sequence[Row]) -> str:
    libraries = list(dict.fromkeys(row.library for row in rows))
    groups = [(lib, [row for row in rows if row.library == lib]) for lib in libraries]
    if len(groups) > 1:
        groups.append(("all", list(rows)))
    header = (
        "library", "models", "families", "inferred", "verified", "wrong groups", "median movable",
        "least movable", "largest error", "median inference", "median verification",
    )  # fmt: skip
    return _table(header, (_total(name, chosen) for name, chosen in groups))


def _total(name: str, rows: Sequence[Row]) -> tuple[str, ...]:
    movable = [row.permutable_fraction for row in rows if row.permutable_fraction is not None]
    errors = [r.max_error for r in rows if r.max_error is not None and r.status == VERIFIED]
    inferences = [r.inference_seconds for r in rows if r.inference_seconds is not None]
    verifications = [r.verification_seconds for r in rows if r.verification_seconds is not None]
    return (
        name,
        str(len(rows)),
        str(len({(row.library, row.family) for row in rows})),
        str(sum(row.groups is not None for row in rows)),
        str(sum(row.status == VERIFIED for row in rows)),
        str(sum(row.status == WRONG for row in rows)),
        _percent(median(movable)) if movable else "–",
        _percent(min(movable)) if movable else "–",
        f"{max(errors):.1e}" if errors else "–",
        f"{median(inferences):.1f} s" if inferences else "–",
        f"{median(verifications):.1f} s" if verifications else "–",
    )


def _shortfalls(rows: Sequence[Row]) -> list[str]:
    """Return the models without a verified symmetry, with the reasons."""
    short = [row for row in rows if row.status not in (VERIFIED, INFERRED)]
    if not short:
        return []
    order = {WRONG: 0, NOT_INFERRED: 1}
    short.sort(key=lambda row: order.get(row.status, 2))
    cells = ((row.library, f"`{row.name}`", row.status, _plain(row.reason)) for row in short)
    return [
        "## Models without a verified symmetry\n",
        _table(("library", "model", "status", "reason"), cells),
    ]


def _unsupported(rows: Sequence[Row]) -> list[str]:
    """Return the unsupported operators, and the number of models with each."""
    models: Counter[str] = Counter()
    for row in rows:
        models.update({line.split(":", 1)[0] for line in row.unsupported_ops})
    if not models:
        return []
    cells = ((f"`{operator}`", str(count)) for operator, count in models.most_common())
    return ["## Unsupported operators\n", _table(("operator", "models"), cells)]


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table; all columns but the first are aligned to the right."""
    lines = [header, ["---"] + ["---:"] * (len(header) - 1), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines) + "\n"


def _shown(value: float | None, show: Callable[[float], str]) -> str:
    return "–" if value is None else show(value)


def _percent(fraction: float) -> str:
    """Return a percentage, rounded down so that only 1 is 100 %."""
    return f"{int(fraction * 10_000) / 100:.2f} %"


def _plain(text: str) -> str:
    """Return text that is valid in a cell of a table."""
    return " ".join(text.replace("|", "/").replace("`", "'").replace("<", "&lt;").split())
