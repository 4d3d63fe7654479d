"""Selection of model outputs: defaults, caches and custom selections."""

from __future__ import annotations

from collections import OrderedDict, namedtuple
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from onebasin.symmetry._modules import select_outputs

A, B, C = torch.zeros(1), torch.zeros(2), torch.zeros(3)


class ModelOutput(OrderedDict):
    """A dict with the class name of the model outputs of transformers."""


class DynamicCache:
    def __init__(self) -> None:
        self.layers = [C]


@dataclass
class Detection:
    boxes: Tensor
    scores: Tensor
    note: str = ""
    past_key_values: Tensor | None = None


Pair = namedtuple("Pair", ["first", "second"])


@pytest.mark.parametrize(
    ("output", "sizes"),
    [
        (A, [1]),
        ((A, [B, (C,)]), [1, 2, 3]),
        (Pair(A, B), [1, 2]),
        ({"x": A, "y": {"z": B}}, [1, 2]),
        ({"logits": A, "past_key_values": (B, C), "cache_params": C}, [1]),
        ({"state": A, "mems": B}, [1, 2]),
        (ModelOutput(logits=A, state=[B, C], mems=B, hidden_states=(C,)), [1, 3]),
        (ModelOutput(logits=A, past_key_values=DynamicCache()), [1]),
        ((A, DynamicCache()), [1]),
        (Detection(A, B, past_key_values=C), [1, 2]),
        ((None, 3, "text", A), [1]),
        (None, []),
    ],
)
def test_selection(output: Any, sizes: list[int]) -> None:
    assert [tensor.numel() for tensor in select_outputs(output)] == sizes


def test_custom_selection_replaces_the_default() -> None:
    output = {"logits": A, "past_key_values": (B, C)}
    chosen = select_outputs(output, lambda out: {"cache": out["past_key_values"], "n": 3})
    assert [tensor.numel() for tensor in chosen] == [2, 3]
