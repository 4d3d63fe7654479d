"""Pages: pieces of HTML that need no other file and fit a phone as well as a small."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from importlib import resources


def page(title: str, parts: Iterable[str], *, style: str = "") -> str:
    """Return a whole page with its style inside.

    Args:
        title: plain text for the tab of the browser.
        parts: pieces of HTML, in order.
        style: CSS of this page, after that of all pages.
    """
    shared = (
        resources.files("onebasin_studies.report").joinpath("page.css").read_text(encoding="utf-8")
    )
    body = "\n".join(parts)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title>
<style>
{shared}{style}</style>
</head>
<body>
<main>
{body}
</main>
</body>
</html>
"""


def numbers(entries: Sequence[tuple[str, str, str]]) -> str:
    """Return large numbers side by side.

    Args:
        entries: for each its text, what it is, and a class of the style sheet or "".
    """
    items = "\n".join(
        f'<li><b class="{escape(kind)}">{escape(number)}</b><span>{escape(text)}</span></li>'
        for number, text, kind in entries
    )
    return f'<ul class="numbers">\n{items}\n</ul>'


def panels(images: Sequence[tuple[str, str]], caption: str) -> str:
    """Return images that stand side by side where there is room.

    Args:
        images: for each its source and a text for those who cannot see it.
        caption: HTML.
    """
    shown = "\n".join(f'<img src="{source}" alt="{escape(alt)}">' for source, alt in images)
    return (
        f'<figure>\n<div class="panels">\n{shown}\n</div>\n'
        f"<figcaption>{caption}</figcaption>\n</figure>"
    )


def table(
    header: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    caption: str = "",
    is_text: bool = False,
) -> str:
    """Return a table whose first column names the rows.

    Args:
        header: plain text, one for each column.
        rows: plain text, as many cells as the header has.
        caption: plain text.
        is_text: cells hold words, not numbers, and stand at the left.
    """
    head = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in header)
    body = "\n".join(
        f'<tr><th scope="row">{escape(first)}</th>'
        + "".join(f"<td>{escape(cell)}</td>" for cell in rest)
        + "</tr>"
        for first, *rest in rows
    )
    under = f"<caption>{escape(caption)}</caption>\n" if caption else ""
    start = '<table class="text">' if is_text else "<table>"
    return f"{start}\n{under}<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>"


def command_lines(lines: Iterable[str]) -> str:
    """Return lines to type into a terminal."""
    return f"<pre><code>{escape(chr(10).join(lines))}</code></pre>"
