"""The coverage page: rows to Markdown, and the same rows to JSON beside it.

Owns the page's words and columns. Nothing on it is typed by hand: every number comes from a row.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import median

from coverage_row import NOT_TRACED, PROVED, TRACED, WRONG, Row

INTRODUCTION = """# Coverage

Every model of `benchmarks/catalogue`, traced by `onebasin.infer_symmetry` and proved by `verify` on
the original module in float64. Written by `benchmarks/coverage.py`; measure again with

```sh
python benchmarks/coverage.py
```
"""
COLUMNS = (
    "model", "parameters", "groups", "log10 order", "moved", "unsupported", "worst error",
    "inference", "verification", "status",
)  # fmt: skip


def write_page(rows: Sequence[Row], environment: Mapping[str, str], folder: Path) -> Path:
    """Write `coverage.md` and `coverage.json` into a folder; return the page's path."""
    folder.mkdir(parents=True, exist_ok=True)
    data = {"environment": dict(environment), "rows": [asdict(row) for row in rows]}
    (folder / "coverage.json").write_text(json.dumps(data, indent=1) + "\n")
    page = folder / "coverage.md"
    page.write_text(page_text(rows, environment))
    return page


def page_text(rows: Sequence[Row], environment: Mapping[str, str]) -> str:
    """The whole page as Markdown."""
    parts = [INTRODUCTION, ", ".join(f"{k} {v}" for k, v in environment.items()) + ".\n"]
    parts += ["## Totals\n", _totals(rows), *_shortfalls(rows), *_refused(rows)]
    for library in dict.fromkeys(row.library for row in rows):
        chosen = [row for row in rows if row.library == library]
        parts += [f"## {library}\n", _table(COLUMNS, map(row_cells, chosen))]
    return "\n".join(parts)


def row_cells(row: Row) -> tuple[str, ...]:
    """The cells of one model's row, in the order of `COLUMNS`."""
    return (
        f"`{row.name}`",
        _shown(row.parameters, lambda n: f"{n:,}"),
        _shown(row.groups, str),
        _shown(row.log10_order, lambda x: f"{x:.1f}"),
        _shown(row.permutable_fraction, _percent),
        str(len(row.unsupported_ops)) if row.groups is not None else "–",
        _shown(row.max_error, lambda x: f"{x:.1e}"),
        _shown(row.trace_seconds, lambda x: f"{x:.1f} s"),
        _shown(row.prove_seconds, lambda x: f"{x:.1f} s"),
        row.status,
    )


def _totals(rows: Sequence[Row]) -> str:
    libraries = list(dict.fromkeys(row.library for row in rows))
    groups = [(lib, [row for row in rows if row.library == lib]) for lib in libraries]
    if len(groups) > 1:
        groups.append(("all", list(rows)))
    header = (
        "library", "models", "families", "traced", "proved", "wrong groups", "median moved",
        "least moved", "worst error", "median trace", "median proof",
    )  # fmt: skip
    return _table(header, (_total(name, chosen) for name, chosen in groups))


def _total(name: str, rows: Sequence[Row]) -> tuple[str, ...]:
    moved = [row.permutable_fraction for row in rows if row.permutable_fraction is not None]
    errors = [r.max_error for r in rows if r.max_error is not None and r.status == PROVED]
    traces = [row.trace_seconds for row in rows if row.trace_seconds is not None]
    proofs = [row.prove_seconds for row in rows if row.prove_seconds is not None]
    return (
        name,
        str(len(rows)),
        str(len({(row.library, row.family) for row in rows})),
        str(sum(row.groups is not None for row in rows)),
        str(sum(row.status == PROVED for row in rows)),
        str(sum(row.status == WRONG for row in rows)),
        _percent(median(moved)) if moved else "–",
        _percent(min(moved)) if moved else "–",
        f"{max(errors):.1e}" if errors else "–",
        f"{median(traces):.1f} s" if traces else "–",
        f"{median(proofs):.1f} s" if proofs else "–",
    )


def _shortfalls(rows: Sequence[Row]) -> list[str]:
    """Every model that is neither proved nor merely traced, with its reason."""
    short = [row for row in rows if row.status not in (PROVED, TRACED)]
    if not short:
        return []
    order = {WRONG: 0, NOT_TRACED: 1}
    short.sort(key=lambda row: order.get(row.status, 2))
    cells = ((row.library, f"`{row.name}`", row.status, _plain(row.reason)) for row in short)
    return ["## What falls short\n", _table(("library", "model", "status", "reason"), cells)]


def _refused(rows: Sequence[Row]) -> list[str]:
    """The operators that pinned something, by the number of models they did it in."""
    models: Counter[str] = Counter()
    for row in rows:
        models.update({refusal.split(":", 1)[0] for refusal in row.unsupported_ops})
    if not models:
        return []
    cells = ((f"`{operator}`", str(count)) for operator, count in models.most_common())
    return ["## Operators that were refused\n", _table(("operator", "models"), cells)]


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; all but the first column are aligned to the right where they count."""
    lines = [header, ["---"] + ["---:"] * (len(header) - 1), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines) + "\n"


def _shown(value: float | None, show: Callable[[float], str]) -> str:
    return "–" if value is None else show(value)


def _percent(fraction: float) -> str:
    """A share, rounded down so that only all is 100 %."""
    return f"{int(fraction * 10_000) / 100:.2f} %"


def _plain(text: str) -> str:
    """Text that cannot break a table's cell."""
    return " ".join(text.replace("|", "/").replace("`", "'").replace("<", "&lt;").split())
