"""Text from files made safe for a terminal."""

import unicodedata

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
