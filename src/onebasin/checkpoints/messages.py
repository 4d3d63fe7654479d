"""Parts of one-line error messages: names, counts and exceptions."""

from collections.abc import Iterable


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
