"""Pieces of one-line error texts: names cut short, values, other libraries' texts folded."""

from collections.abc import Iterable


def some_names(names: Iterable[str], *, limit: int = 3) -> str:
    """Quote the first few names and count the rest.

    Args:
        names: What to list, in the order to list it.
        limit: How many are written out.

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
    """Fold an exception into `Type: text` on one line of bounded length.

    Args:
        error: Any exception, its text possibly many lines long.
        limit: The most characters kept of its text.

    Returns:
        The folded text; only the type's name where the exception carries no text.
    """
    text = " ".join(str(error).split())
    text = text if len(text) <= limit else text[: limit - 3] + "..."
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def counted(number: int, noun: str) -> str:
    """Write a count with its noun: `1 tensor`, `3 tensors`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
