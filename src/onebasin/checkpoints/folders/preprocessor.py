"""Differences between how two folders prepare images and audio."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from onebasin.checkpoints.folders.difference import Difference, Effect, flatten, read_mapping

_FILES = ("preprocessor_config.json", "processor_config.json", "video_preprocessor_config.json")
# They change the numbers that a model receives for one image or sound.
_VALUES = frozenset(
    "do_normalize do_rescale feature_size fft_window_size hop_length image_mean image_std mean "
    "n_fft num_mel_bins rescale_factor return_attention_mask sampling_rate std".split()
)
_NO_EFFECT = frozenset(
    "_processor_class auto_map feature_extractor_type image_processor_type processor_class "
    "video_processor_type".split()
)


def preprocessor_differences(a: Path, b: Path) -> Iterator[Difference]:
    """Yield settings that differ where both folders have them.

    Args:
        a: a folder, with or without a preprocessor.
        b: another one.

    Raises:
        OneBasinError: when a file of a preprocessor is not valid JSON.
    """
    for file in _FILES:
        contents = [read_mapping(folder, file) for folder in (a, b)]
        if contents[0] is None or contents[1] is None:
            continue
        values_a, values_b = map(flatten, (contents[0], contents[1]))
        for name in sorted(values_a.keys() & values_b.keys()):
            key = name.rpartition(".")[2]
            if values_a[name] == values_b[name] or key in _NO_EFFECT:
                continue
            effect = Effect.FUNCTION if key in _VALUES else Effect.USE
            yield Difference(file, name, values_a[name], values_b[name], effect)
