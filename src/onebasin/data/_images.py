"""Decoding of images to bytes, all in one form."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import UInt8

from onebasin._text import one_line
from onebasin.errors import OneBasinError

MAX_PIXELS = 36_000_000
"""Largest number of pixels; a file of a few kilobytes can claim far more."""

SLICE = 128
"""Number of images that a thread decodes at a time."""

GRAY_MODES = ("1", "L", "I", "I;16", "I;16B", "I;16L")
"""Modes of one channel; all but the first two have 16 bits, of which the upper 8 remain."""


@dataclass(frozen=True)
class ImageForm:
    """The form of all images of a dataset.

    Args:
        channels: 1 (gray) or 3 (color).
        height: height in pixels.
        width: width in pixels.
        crop: None if images must have this size. Otherwise the shorter side is scaled to the
            size divided by this fraction, and the center is cropped.
    """

    channels: int
    height: int
    width: int
    crop: float | None = None


def form_of(encoded: Any, where: str, *, image_size: int | None, crop: float) -> ImageForm:
    """Return the form of a dataset from its first image.

    Args:
        encoded: the first image.
        where: source of the image, for messages.
        image_size: height and width of scaled images; None keeps the size.
        crop: fraction of the scaled image that remains, with `image_size`.

    Raises:
        OneBasinError: the image cannot be decoded.
    """
    image = _open(encoded, where)
    channels = 1 if image.mode in GRAY_MODES else 3
    if image_size is not None:
        return ImageForm(channels, image_size, image_size, crop)
    return ImageForm(channels, image.height, image.width)


def decode(
    encoded: Sequence[Any], form: ImageForm, where: str, first_row: int, pool: Executor
) -> UInt8[np.ndarray, "n c h w"]:
    """Return decoded images.

    Args:
        encoded: bytes, or structs with `bytes`.
        form: form of the decoded images.
        where: source of the images, for messages.
        first_row: row of the first image, for messages.
        pool: threads.

    Returns:
        The pixels as bytes.

    Raises:
        OneBasinError: an image is broken or has another form; the message has its row.
    """
    starts = range(0, len(encoded), SLICE)

    def part(start: int) -> np.ndarray:
        stop = min(start + SLICE, len(encoded))
        pixels = np.empty((stop - start, form.height, form.width, form.channels), dtype=np.uint8)
        for index in range(start, stop):
            row = f"{where}, row {first_row + index}"
            pixels[index - start] = _pixels(encoded[index], form, row)
        return pixels

    parts = list(pool.map(part, starts))
    return np.ascontiguousarray(np.concatenate(parts).transpose(0, 3, 1, 2))


def _pixels(encoded: Any, form: ImageForm, where: str) -> UInt8[np.ndarray, "h w c"]:
    image = _as_8_bit(_open(encoded, where), where)
    if form.channels == 1 and image.mode not in GRAY_MODES:
        raise OneBasinError(
            f"data: {where}: the image is in color ({image.mode}), but the first one of the set "
            "is gray; convert all images to one mode"
        )
    mode = "L" if form.channels == 1 else "RGB"
    if image.mode != mode:
        image = image.convert(mode)
    if form.crop is not None:
        image = _resize_and_crop(image, form.width, form.crop)
    if (image.height, image.width) != (form.height, form.width):
        raise OneBasinError(
            f"data: {where}: the image is {image.height}x{image.width}, but the first one is "
            f"{form.height}x{form.width}; pass image_size= to scale all images"
        )
    return np.asarray(image, dtype=np.uint8).reshape(form.height, form.width, form.channels)


def _as_8_bit(image: Any, where: str) -> Any:
    """Return an image with 8 bits per channel."""
    from PIL import Image

    if image.mode == "F":
        raise OneBasinError(
            f"data: {where}: floating-point images have an unknown range; convert it to 8 bits "
            "per channel"
        )
    if not image.mode.startswith("I"):
        return image
    values = np.asarray(image).astype(np.int64)
    if values.min() < 0 or values.max() >= 1 << 16:
        raise OneBasinError(
            f"data: {where}: the image has values from {values.min()} to {values.max()}; convert "
            "it to 8 or 16 bits per channel"
        )
    return Image.fromarray((values >> 8).astype(np.uint8))


def _resize_and_crop(image: Any, size: int, crop: float) -> Any:
    scale = round(size / crop) / min(image.size)
    width, height = (max(size, round(side * scale)) for side in image.size)
    if (width, height) != image.size:
        image = image.resize((width, height), resample=2)  # bilinear
    left, top = (width - size) // 2, (height - size) // 2
    return image.crop((left, top, left + size, top + size))


def _check_size(image: Any, where: str) -> None:
    """Check the claimed size of an image before it is decoded."""
    if image.width * image.height > MAX_PIXELS:
        raise OneBasinError(
            f"data: {where}: the image is {image.height}x{image.width}, more than "
            f"{MAX_PIXELS / 1e6:.0f} million pixels; make it smaller"
        )


def _open(encoded: Any, where: str) -> Any:
    from PIL import Image, UnidentifiedImageError

    data = encoded.get("bytes") if isinstance(encoded, dict) else encoded
    if not data:
        raise OneBasinError(
            f"data: {where}: the image has no bytes; store the encoded images, not their paths"
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(data))
            _check_size(image, where)
            image.load()
    except OneBasinError:
        raise
    # For broken files, Pillow raises many exceptions, such as struct.error and SyntaxError.
    except Exception as error:
        # The text of this error has the address of the bytes in memory.
        is_unknown = isinstance(error, UnidentifiedImageError)
        reason = "unknown format" if is_unknown else one_line(error, limit=80)
        raise OneBasinError(
            f"data: {where}: the image cannot be decoded ({reason}); fetch the file again"
        ) from error
    return image
