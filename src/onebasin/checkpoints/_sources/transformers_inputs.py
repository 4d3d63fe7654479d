"""Example inputs of transformers models: text, images, audio, or text with images."""

import inspect
import itertools
import math
from collections.abc import Callable
from typing import Any

import torch

from onebasin.checkpoints._inputs import InputSpec
from onebasin.errors import OneBasinError

_BATCH = 2
_LENGTH = 16
_IMAGE = 224


def default_inputs(module: Any, name: str) -> tuple[InputSpec, ...]:
    """Return the default inputs of a transformers model.

    Args:
        module: a `PreTrainedModel`.
        name: the specification, for error texts.

    Returns:
        The main input, the input of a decoder if there is one, and both text and images for a model
        that compares them; all by keyword.

    Raises:
        OneBasinError: the kind of the main input is unknown.
    """
    names = _input_names(module)
    for keyword in names:
        if keyword not in _MAKERS:
            raise OneBasinError(
                f"{name}: {type(module).__name__} takes {keyword!r}, which has no "
                f"default; pass its shape, such as example_inputs='{keyword}=2x16'"
            )
    return tuple(_MAKERS[keyword](module.config, keyword) for keyword in names)


def _input_names(module: Any) -> list[str]:
    accepted = inspect.signature(module.forward).parameters
    names = [module.main_input_name]
    is_dual = {"input_ids", "pixel_values"} <= accepted.keys() and hasattr(module, "text_model")
    if is_dual and hasattr(module, "vision_model"):
        names = ["input_ids", "pixel_values"]
    if getattr(module.config, "is_encoder_decoder", False) and "decoder_input_ids" in accepted:
        names.append("decoder_input_ids")
    return names


def _tokens(config: Any, keyword: str) -> InputSpec:
    text = config.get_text_config(decoder=keyword.startswith("decoder"))
    length = min(_LENGTH, _positive(text, "max_position_embeddings", _LENGTH))
    low, high = _ordinary_tokens(text, _positive(text, "vocab_size", 2))
    return InputSpec((_BATCH, length), torch.int64, low=low, high=high, keyword=keyword)


def _ordinary_tokens(config: Any, vocab_size: int) -> tuple[int, int]:
    """Return the longest range of token ids without special tokens (padding, image, end, ...)."""
    values = [v for k, v in config.to_dict().items() if k.endswith("_token_id")]
    special = {v for v in values if isinstance(v, int) and 0 <= v < vocab_size}
    edges = [-1, *sorted(special), vocab_size]
    runs = [(low + 1, high) for low, high in itertools.pairwise(edges)]
    return max(runs, key=lambda run: run[1] - run[0])


def _pixels(config: Any, keyword: str) -> InputSpec:
    vision = getattr(config, "vision_config", config)
    size = getattr(vision, "image_size", None) or _IMAGE
    height, width = size if isinstance(size, (list, tuple)) else (size, size)
    shape: tuple[int, ...] = (_positive(vision, "num_channels", 3), height, width)
    if hasattr(vision, "num_frames"):
        shape = (vision.num_frames, *shape)
    return InputSpec((_BATCH, *shape), keyword=keyword)


def _waveform(config: Any, keyword: str) -> InputSpec:
    if hasattr(config, "num_mel_bins") and hasattr(config, "max_length"):
        return InputSpec((_BATCH, config.max_length, config.num_mel_bins), keyword=keyword)
    hop = math.prod(getattr(config, "conv_stride", None) or (320,))
    return InputSpec((_BATCH, 2 * _LENGTH * hop), keyword=keyword)


def _spectrum(config: Any, keyword: str) -> InputSpec:
    if hasattr(config, "max_source_positions") and hasattr(config, "num_mel_bins"):
        frames = 2 * config.max_source_positions  # the encoder halves the number of frames
        return InputSpec((_BATCH, config.num_mel_bins, frames), keyword=keyword)
    size = next(
        (
            getattr(config, key)
            for key in ("feature_projection_input_dim", "input_feat_per_channel", "num_mel_bins")
            if hasattr(config, key)
        ),
        80,
    )
    return InputSpec((_BATCH, 4 * _LENGTH, size), keyword=keyword)


def _positive(config: Any, key: str, default: int) -> int:
    value = getattr(config, key, None)
    return value if isinstance(value, int) and value > 0 else default


_MAKERS: dict[str, Callable[[Any, str], InputSpec]] = {
    "input_ids": _tokens,
    "decoder_input_ids": _tokens,
    "pixel_values": _pixels,
    "pixel_values_videos": _pixels,
    "input_values": _waveform,
    "input_features": _spectrum,
}
