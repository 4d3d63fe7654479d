"""The default tokenizer and length of texts for an architecture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from onebasin.checkpoints._sources.transformers_config import config_content
from onebasin.data._read_options import LENGTH, ReadOptions
from onebasin.data._texts import BYTES
from onebasin.errors import OneBasinError

HF_PREFIX = "hf:"
POSITIONS = ("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len")


def options_for(arch: str | None, options: ReadOptions | None) -> ReadOptions:
    """Return the options of texts for an architecture.

    For a transformers folder, the defaults are its tokenizer and at most the positions of its
    model.

    Args:
        arch: ARCH, or None.
        options: options of the user.

    Raises:
        OneBasinError: byte tokens are requested for such a folder, or it is missing or has no
            valid config.json.
    """
    options = options or ReadOptions()
    if arch is None or not arch.startswith(HF_PREFIX):
        return options
    folder = arch.removeprefix(HF_PREFIX)
    content = config_content(folder)
    if options.tokenizer == BYTES:
        raise OneBasinError(
            f"data: tokenizer='bytes' does not suit {arch}: its model was trained on other tokens; "
            "remove tokenizer= to use the tokenizer of the folder"
        )
    positions = max_positions(content) or LENGTH
    return replace(options, default_tokenizer=folder, default_context=min(LENGTH, positions))


def max_positions(config: Mapping[str, Any]) -> int | None:
    """Return the largest number of tokens that a configuration allows; None if unknown."""
    known = [config.get(name) for name in POSITIONS]
    # Some models count positions from padding_idx + 1 (RoBERTa), so two are left.
    reserve = 2 if config.get("model_type") in ("roberta", "xlm-roberta", "camembert") else 0
    limits = [n - reserve for n in known if isinstance(n, int) and not isinstance(n, bool)]
    return max(1, min(limits)) if limits else None
