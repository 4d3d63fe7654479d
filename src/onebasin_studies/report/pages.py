"""Self-contained HTML pages for phones and desktops, from the Jinja templates in `templates`."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from onebasin.evaluation.plotting import svg_source
from onebasin_studies.report._settings import entries, is_flat, to_words

if TYPE_CHECKING:
    from jinja2 import Environment


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
