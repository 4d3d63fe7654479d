"""Parsing of ranges and lists of whole numbers in options."""

from __future__ import annotations

import re

from onebasin.errors import OneBasinError

MOST = 100_000


def numbers_of(text: str, option: str) -> list[int]:
    """Return the numbers of a text such as `1..20` or `1,2,5..7`, endpoints included.

    Args:
        text: the value of the option.
        option: name of the option, for messages.

    Raises:
        OneBasinError: if the text is invalid, a range is empty, or a number is repeated.

    Example:
        >>> numbers_of("1..3,7", "--seeds")
        [1, 2, 3, 7]
    """
    numbers: list[int] = []
    for part in text.split(","):
        found = re.fullmatch(r"\s*(\d+)(?:\.\.(\d+))?\s*", part)
        if found is None:
            raise OneBasinError(
                f"{option}: invalid numbers {text!r}; expected a range such as 1..20 or a list "
                "such as 1,2,5"
            )
        first = int(found[1])
        last = int(found[2]) if found[2] else first
        if not first <= last < first + MOST:
            raise OneBasinError(
                f"{option}: {part.strip()!r} has no numbers, or too many; give the lower end first"
            )
        numbers += range(first, last + 1)
    if len(set(numbers)) < len(numbers):
        raise OneBasinError(f"{option}: {text!r} names a number twice; give each once")
    return numbers
