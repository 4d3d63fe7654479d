"""Images: from encoded bytes to arrays, many at a time."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import UInt8

from onebasin.checkpoints.messages import one_line
from onebasin.errors import OneBasinError

MAX_PIXELS = 36_000_000
"""The largest image that is decoded; a few kilobytes can state a far larger one."""

SLICE = 128
"""How many images a thread decodes at a time."""

GREY_MODES = ("1", "L", "I", "I;16", "I;16B", "I;16L")
"""Modes of one channel; all but the first two hold 16 bits, of which the upper 8 are kept."""


@dataclass(frozen=True)
class ImageForm:
    """What every image of a set is made into.

    Args:
        channels: 1 (gray) or 3 (color).
        height: in pixels.
        width: in pixels.
        crop: None where images must have that size already; otherwise the shorter side is
            scaled to the size over this share, and the middle is cut out.
    """

    channels: int
    height: int
    width: int
    crop: float | None = None


def form_of(encoded: Any, where: str, *, image_size: int | None, crop: float) -> ImageForm:
    """Return the form that a first image asks for.

    Args:
        encoded: the first image.
        where: its place, for messages.
        image_size: height and width to scale to; None keeps the image's own.
        crop: share of the scaled image that is kept, with `image_size`.

    Raises:
        OneBasinError: when it cannot be decoded.
    """
    image = _open(encoded, where)
    channels = 1 if image.mode in GREY_MODES else 3
    if image_size is not None:
        return ImageForm(channels, image_size, image_size, crop)
    return ImageForm(channels, image.height, image.width)


def decode(
    encoded: Sequence[Any], form: ImageForm, where: str, first_row: int, pool: Executor
) -> UInt8[np.ndarray, "n c h w"]:
    """Decode images.

    Args:
        encoded: bytes, or structs with `bytes`.
        form: what every image must be or be made into.
        where: where they come from, for messages.
        first_row: number of the first, for messages.
        pool: threads to decode in.

    Returns:
        Their bytes.

    Raises:
        OneBasinError: naming the row, when an image is broken or has another form.
    """
    starts = range(0, len(encoded), SLICE)

    def part(start: int) -> np.ndarray:
        stop = min(start + SLICE, len(encoded))
        pixels = np.empty((stop - start, form.height, form.width, form.channels), dtype=np.uint8)
        for place in range(start, stop):
            row = f"{where}, row {first_row + place}"
            pixels[place - start] = _pixels(encoded[place], form, row)
        return pixels

    parts = list(pool.map(part, starts))
    return np.ascontiguousarray(np.concatenate(parts).transpose(0, 3, 1, 2))


def _pixels(encoded: Any, form: ImageForm, where: str) -> UInt8[np.ndarray, "h w c"]:
    image = _in_bytes(_open(encoded, where), where)
    if form.channels == 1 and image.mode not in GREY_MODES:
        raise OneBasinError(
            f"data: {where}: the image is in color ({image.mode}), but the first one of the set "
            "is gray; make all of one kind"
        )
    mode = "L" if form.channels == 1 else "RGB"
    if image.mode != mode:
        image = image.convert(mode)
    if form.crop is not None:
        image = _fitted(image, form.width, form.crop)
    if (image.height, image.width) != (form.height, form.width):
        raise OneBasinError(
            f"data: {where}: the image is {image.height}x{image.width}, but the first one is "
            f"{form.height}x{form.width}; give an image_size to scale all to"
        )
    return np.asarray(image, dtype=np.uint8).reshape(form.height, form.width, form.channels)


def _in_bytes(image: Any, where: str) -> Any:
    """Return an image with 8 bits a channel."""
    from PIL import Image

    if image.mode == "F":
        raise OneBasinError(
            f"data: {where}: the image holds fractions, whose range nobody knows; convert it to 8 "
            "bits a channel"
        )
    if not image.mode.startswith("I"):
        return image
    values = np.asarray(image).astype(np.int64)
    if values.min() < 0 or values.max() >= 1 << 16:
        raise OneBasinError(
            f"data: {where}: the image has values from {values.min()} to {values.max()}; convert "
            "it to 8 or 16 bits a channel"
        )
    return Image.fromarray((values >> 8).astype(np.uint8))


def _fitted(image: Any, size: int, crop: float) -> Any:
    scale = round(size / crop) / min(image.size)
    width, height = (max(size, round(side * scale)) for side in image.size)
    if (width, height) != image.size:
        image = image.resize((width, height), resample=2)  # bilinear
    left, top = (width - size) // 2, (height - size) // 2
    return image.crop((left, top, left + size, top + size))


def _check_size(image: Any, where: str) -> None:
    """Check the size that a file states before it is decoded."""
    if image.width * image.height > MAX_PIXELS:
        raise OneBasinError(
            f"data: {where}: the image is {image.height}x{image.width}, more than "
            f"{MAX_PIXELS / 1e6:.0f} million pixels; make it smaller"
        )


def _open(encoded: Any, where: str) -> Any:
    from PIL import Image

    data = encoded.get("bytes") if isinstance(encoded, dict) else encoded
    if not data:
        raise OneBasinError(
            f"data: {where}: there are no bytes of an image; the set must hold its images itself"
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(data))
            _check_size(image, where)
            image.load()
    except OneBasinError:
        raise
    # A broken file makes Pillow raise many things, struct.error and SyntaxError among them.
    except Exception as error:
        raise OneBasinError(
            f"data: {where}: the image cannot be decoded ({one_line(error, limit=80)}); "
            "fetch the file again"
        ) from error
    return image
