"""Text for messages and terminals: safe names, counts, exceptions and tables."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence

# Control characters, unpaired surrogates, and format characters that reorder a line.
_UNSAFE = frozenset({"Cc", "Cs", "Zl", "Zp"})
_REORDERING = frozenset("\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def printable(text: str, *, keep: str = "") -> str:
    r"""Return text with control characters and unpaired surrogates escaped.

    Names in checkpoints may hold escape sequences, which a terminal would obey, and bytes
    that are not UTF-8, which `print` cannot encode.

    Args:
        text: any text.
        keep: control characters to keep, such as newlines.

    Example:
        >>> printable("layer\x1b[2J.weight")
        'layer\\x1b[2J.weight'
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(c if c in keep or not _is_unsafe(c) else _escaped(c) for c in text)


def _is_unsafe(character: str) -> bool:
    return unicodedata.category(character) in _UNSAFE or character in _REORDERING


def _escaped(character: str) -> str:
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")


def columns(rows: Sequence[Sequence[str]], *, numbers_from: int = 1) -> str:
    """Return rows of text as a table with aligned columns.

    Args:
        rows: the cells of each row, the same number in all rows.
        numbers_from: columns from this one on are right-aligned.

    Example:
        >>> print(columns([("", "naive"), ("loss", "0.74")]))
              naive
        loss   0.74
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if i >= numbers_from else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


def some_names(names: Iterable[str], *, limit: int = 3) -> str:
    """Return the first names in quotes and the number of the others.

    Args:
        names: the names, in order.
        limit: number of names in the text.

    Returns:
        Text such as `'a', 'b', 'c' and 4 more`.

    Examples:
        >>> some_names(["a", "b", "c"], limit=2)
        "'a', 'b' and 1 more"
    """
    names = list(names)
    text = ", ".join(repr(_shortened(name)) for name in names[:limit])
    return text if len(names) <= limit else f"{text} and {len(names) - limit} more"


def _shortened(name: str, limit: int = 200) -> str:
    return name if len(name) <= limit else f"{name[: limit - 3]}..."


def one_line(error: BaseException, *, limit: int = 200) -> str:
    """Return an exception as `Type: text` on one line of bounded length.

    Args:
        error: any exception.
        limit: largest number of characters of its text.

    Returns:
        The line; only the name of the type if the exception has no text.
    """
    text = " ".join(str(error).split())
    text = text if len(text) <= limit else text[: limit - 3] + "..."
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def counted(number: int, noun: str) -> str:
    """Return a count with its noun: `1 tensor`, `3 tensors`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
