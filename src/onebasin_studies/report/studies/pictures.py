"""Drawing and writing of the figures of studies in a common style."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from onebasin.errors import OneBasinError
from onebasin.evaluation.curves import ALIGNED, NAIVE, SETTINGS, SOFT_INK, svg_source
from onebasin_studies.runtime.study import Picture, Study

COLOURS = (NAIVE, ALIGNED, "#e09f3e", "#5f4b8b", "#6a994e", SOFT_INK, "#bc6c25", "#3d5a80")


def draw(study: Study, rows: Sequence[Mapping[str, Any]]) -> Sequence[Picture]:
    """Return the figures of a study in the common style.

    Raises:
        OneBasinError: if a figure has no alternative text.
    """
    import matplotlib
    from cycler import cycler

    style = {**SETTINGS, "axes.prop_cycle": cycler(color=COLOURS), "legend.fontsize": 9}
    with matplotlib.rc_context(style):
        pictures = study.figures(rows)
        for picture in pictures:
            # Drawn here because ticks and texts take the style at that time.
            picture.figure.draw_without_rendering()
    for picture in pictures:
        if not picture.alt.strip():
            raise OneBasinError(f"study {study.name}: figure {picture.name!r} has no alt text")
    return pictures


def svg_bytes(picture: Picture, title: str) -> bytes:
    """Return the SVG file of a figure; equal figures give equal bytes.

    Args:
        picture: the figure; its alternative text becomes the description of the file.
        title: title of the file.
    """
    text = base64.b64decode(svg_source(picture.figure).partition(",")[2]).decode()
    start = text.index(">", text.index("<svg")) + 1
    words = f"\n <title>{escape(title)}</title>\n <desc>{escape(picture.alt)}</desc>"
    return f"{text[:start]}{words}{text[start:]}".encode()
