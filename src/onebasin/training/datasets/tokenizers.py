"""The tokenizer and the length of texts that suit an architecture."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from onebasin.errors import OneBasinError
from onebasin.training.datasets.read_options import LENGTH, ReadOptions
from onebasin.training.datasets.texts import BYTES

HF_PREFIX = "hf:"
POSITIONS = ("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len")


def options_for(arch: str | None, options: ReadOptions | None) -> ReadOptions:
    """Return how texts are read for an architecture.

    A folder of transformers brings its own tokenizer, and texts are no longer than its model
    can take.

    Args:
        arch: ARCH, or None.
        options: what the user says.

    Raises:
        OneBasinError: when byte tokens are asked for such a folder.
    """
    options = options or ReadOptions()
    if arch is None or not arch.startswith(HF_PREFIX):
        return options
    folder = Path(arch.removeprefix(HF_PREFIX))
    if options.tokenizer == BYTES:
        raise OneBasinError(
            f"data: --tokenizer bytes does not suit {arch}: its model was trained on other tokens; "
            "leave --tokenizer out to use the tokenizer of the folder"
        )
    return replace(
        options, default_tokenizer=str(folder), default_context=min(LENGTH, _positions(folder))
    )


def _positions(folder: Path) -> int:
    """Return the most tokens that a model takes, as its configuration says."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return LENGTH
    if not isinstance(config, dict):
        return LENGTH
    known = [config.get(name) for name in POSITIONS]
    # Some models count positions from padding_idx + 1 (RoBERTa), so two are left.
    reserve = 2 if config.get("model_type") in ("roberta", "xlm-roberta", "camembert") else 0
    limits = [n - reserve for n in known if isinstance(n, int) and not isinstance(n, bool)]
    return max(1, min(limits)) if limits else LENGTH
