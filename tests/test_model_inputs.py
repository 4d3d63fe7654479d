"""Example inputs in the form of a batch, for every kind of forward signature."""

from __future__ import annotations

from typing import Any

import pytest
from torch import nn

from onebasin._checks import model_inputs
from onebasin.errors import OneBasinError


class Named(nn.Module):
    def forward(self, h: Any, scale: float = 1.0) -> Any: ...


class AnyName(nn.Module):
    def forward(self, h: Any, **options: Any) -> Any: ...


class AnyNameAndLabels(nn.Module):
    def forward(self, h: Any, labels: Any = None, **options: Any) -> Any: ...


class Positional(nn.Module):
    def forward(self, *inputs: Any) -> Any: ...


class PositionalOnly(nn.Module):
    def forward(self, batch: Any, /) -> Any: ...


BATCH = {"h": 1, "labels": 2}


@pytest.mark.parametrize(
    ("model", "batch", "kwargs", "expected"),
    [
        (Named(), BATCH, {"scale": 2.0}, ((), {"h": 1, "scale": 2.0})),
        (Named(), {}, {"h": 1}, ((), {"h": 1})),
        (AnyName(), {**BATCH, "mask": 3}, {}, ((), {"h": 1, "mask": 3})),
        (AnyNameAndLabels(), BATCH, {}, ((), BATCH)),
        (Positional(), BATCH, {}, ((BATCH,), {})),
        (PositionalOnly(), BATCH, {}, ((BATCH,), {})),
    ],
)
def test_batches_become_inputs(
    model: nn.Module, batch: dict[str, Any], kwargs: dict[str, Any], expected: Any
) -> None:
    assert model_inputs(model, batch, kwargs) == expected


def test_misspelled_keyword_inputs_are_refused() -> None:
    with pytest.raises(OneBasinError, match="Named takes no input 'sclae'; it takes h, scale"):
        model_inputs(Named(), {"h": 1}, {"sclae": 2.0})
