"""Building blocks of self-contained HTML pages for phones and desktops."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from importlib import resources


def page(title: str, parts: Iterable[str], *, style: str = "") -> str:
    """Return a complete page with inline style.

    Args:
        title: plain text for the title of the browser tab.
        parts: pieces of HTML, in order.
        style: CSS of this page, added after the shared CSS.
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
    """Return a row of large numbers.

    Args:
        entries: number, description, and CSS class or "".
    """
    items = "\n".join(
        f'<li><b class="{escape(kind)}">{escape(number)}</b><span>{escape(text)}</span></li>'
        for number, text, kind in entries
    )
    return f'<ul class="numbers">\n{items}\n</ul>'


def panels(images: Sequence[tuple[str, str]], caption: str) -> str:
    """Return images, next to each other on wide screens.

    Args:
        images: source and alternative text of each image.
        caption: HTML below the images.
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
    """Return a table whose first column contains row headers.

    Args:
        header: plain text, one per column.
        rows: plain text, one cell per column.
        caption: plain text.
        is_text: whether cells contain words and are left-aligned.
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
    """Return a block of shell commands."""
    return f"<pre><code>{escape(chr(10).join(lines))}</code></pre>"
