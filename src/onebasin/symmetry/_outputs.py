"""Selection of the model outputs that a symmetry must preserve.

Inference and verification share this selection. Caches are excluded because fixing their
layouts would fix the model's hidden units.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from torch import Tensor
from torch.utils._pytree import tree_leaves

CACHES = frozenset({"past_key_values", "past_key_value", "cache_params", "past_buckets_states"})
MODEL_OUTPUT_CACHES = CACHES | {"state", "states", "mems", "memory", "rnn_state", "cache"}


def select_outputs(output: object, outputs: Callable[[Any], object] | None = None) -> list[Tensor]:
    """Return the selected tensors of a model's output, in a fixed order.

    By default all tensors in mappings, sequences, dataclasses and registered pytree nodes
    are selected, except caches: the usual cache entries of a `transformers` model output,
    and objects whose class name ends with `Cache`.

    Args:
        output: return value of the model.
        outputs: custom selection, a function from the model's return value to a pytree of
            tensors; all its tensors are selected.

    Example:
        >>> import torch
        >>> logits, cache = torch.zeros(2, 3), torch.zeros(2, 8)
        >>> [x.shape[1] for x in select_outputs({"logits": logits, "past_key_values": cache})]
        [3]
        >>> [x.shape[1] for x in select_outputs((logits, cache), outputs=lambda out: out[1])]
        [8]
    """
    if outputs is not None:
        return [leaf for leaf in tree_leaves(outputs(output)) if isinstance(leaf, Tensor)]
    return list(_tensors(output))


def _tensors(value: object) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif _is_named(value, "Cache"):
        return
    elif isinstance(value, Mapping):
        caches = MODEL_OUTPUT_CACHES if _is_named(value, "ModelOutput") else CACHES
        for key, entry in value.items():
            if key not in caches:
                yield from _tensors(entry)
    elif isinstance(value, list | tuple):
        for entry in value:
            yield from _tensors(entry)
    elif is_dataclass(value) and not isinstance(value, type):
        for field in fields(value):
            if field.name not in CACHES:
                yield from _tensors(getattr(value, field.name))
    else:
        yield from (leaf for leaf in tree_leaves(value) if isinstance(leaf, Tensor))


def _is_named(value: object, ending: str) -> bool:
    return any(base.__name__.endswith(ending) for base in type(value).__mro__)
