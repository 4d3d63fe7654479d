"""Outputs: which of the tensors that a model returns count.

Owns the one selection that tracing and proving share. A cache is left out: its layout is
an inner one, and pinning it would pin the model's hidden units.
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
    """Return the tensors of a model's output that count, in a fixed order.

    All tensors in mappings, sequences, dataclasses and registered pytree nodes count,
    except caches: the usual entries of a `transformers` model output, and objects whose
    class is named a cache.

    Args:
        output: what the model returned.
        outputs: a choice of the caller's own, from the model's return value to any pytree
            of tensors; then every tensor in it counts, and no other.

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
