"""Self-contained HTML pages for phones and desktops, from the Jinja templates in `templates`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

from onebasin.evaluation.plotting import svg_source

if TYPE_CHECKING:
    from jinja2 import Environment


def is_flat(value: Any) -> bool:
    """Return whether a value is a scalar or a flat collection of scalars."""
    inner = value.values() if isinstance(value, Mapping) else value
    return _is_scalar(value) or all(map(_is_scalar, inner))


def entries(value: Any) -> Iterable[tuple[str, Any]]:
    """Return the items of a mapping, or the elements of a list with empty names."""
    if isinstance(value, Mapping):
        return [(str(name), item) for name, item in value.items()]
    return [("", item) for item in value]


def to_words(value: Any) -> str:
    """Return a flat value as text.

    Example:
        >>> to_words({"widths": [4, 8], "augment": None, "flip": True})
        'widths 4, 8, augment none, flip yes'
    """
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {to_words(item)}" for name, item in value.items()) or "none"
    if isinstance(value, list | tuple):
        return ", ".join(map(to_words, value)) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "none" if value is None else str(value)


def _is_scalar(value: Any) -> bool:
    return not isinstance(value, Mapping | list | tuple)


def render(template: str, **values: Any) -> str:
    """Return a complete page.

    Args:
        template: name of a template, without `.html.j2`.
        **values: values of its variables; plain text is escaped.
    """
    return environment().get_template(f"{template}.html.j2").render(values)


@cache
def environment() -> Environment:
    """Return the environment of all templates. An undefined variable raises an error."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    env = Environment(
        loader=PackageLoader("onebasin_studies.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    env.filters |= {
        "css_class": lambda text: text.replace(" ", "-"),
        "entries": entries,
        "svg_source": svg_source,
        "words": to_words,
    }
    env.tests["flat"] = is_flat
    return env
