"""The inputs of the transformers entries: tokens, images and sound, batch 2.

Batch size 2 and length 7 differ from all sizes of the models.
"""

from __future__ import annotations

from typing import Any

from .entry import random_images, random_tokens

BATCH = 2
LENGTH = 7
TARGET_LENGTH = 9
VOCABULARY = 103
LABELS = 11


def tokens(config: Any) -> dict[str, Any]:
    """Token ids, shape `(2, 7)`, without a mask."""
    return {"input_ids": random_tokens(BATCH, LENGTH, VOCABULARY)}


def source_and_target(config: Any) -> dict[str, Any]:
    """Source ids `(2, 7)` and target ids `(2, 9)`."""
    target = random_tokens(BATCH, TARGET_LENGTH, VOCABULARY, seed=1)
    return {**tokens(config), "decoder_input_ids": target}


def images(config: Any) -> dict[str, Any]:
    """Images of the configuration's `image_size`, or 64x64 where it has none."""
    config = getattr(config, "vision_config", config)
    size = getattr(config, "image_size", None) or 64
    height, width = size if isinstance(size, list | tuple) else (size, size)
    return {"pixel_values": random_images(BATCH, 3, height, width)}


def waveform(config: Any) -> dict[str, Any]:
    """Sound of 1600 samples."""
    return {"input_values": random_images(BATCH, 1600)}


def spectrogram(config: Any) -> dict[str, Any]:
    """Log-mel frames in time-major order, shape `(2, max_length, num_mel_bins)`."""
    return {"input_values": random_images(BATCH, config.max_length, config.num_mel_bins)}


def mel_and_target(config: Any) -> dict[str, Any]:
    """Log-mel features `(2, num_mel_bins, 2 * max_source_positions)` and target ids `(2, 9)`."""
    frames = 2 * config.max_source_positions
    return {
        "input_features": random_images(BATCH, config.num_mel_bins, frames),
        "decoder_input_ids": random_tokens(BATCH, TARGET_LENGTH, VOCABULARY, seed=1),
    }


def mel(config: Any) -> dict[str, Any]:
    """Log-mel features `(2, num_mel_bins, 2 * max_source_positions)`."""
    frames = 2 * config.max_source_positions
    return {"input_features": random_images(BATCH, config.num_mel_bins, frames)}


def image_and_text(config: Any) -> dict[str, Any]:
    """Two images and two texts, for models that compare them."""
    return {**images(config), **tokens(config)}
