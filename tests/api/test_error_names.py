"""Errors have the name of the function that the user called, not of a function inside it."""

import pytest
import torch
from torch import nn

from onebasin import OneBasinError, api
from onebasin.errors import ArgumentError, check_whole, public


def _mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3))


MODEL, A, B = _mlp(), _mlp(), _mlp()
DATA = [(torch.randn(12, 4), torch.arange(12) % 3)]
FLOATS = [(torch.randn(12, 4), torch.randn(12, 3))]
SWEEPS = {"max_sweeps": -1}

CALLS = {
    "align": lambda: api.align(MODEL, A, B, data=DATA, max_sweeps=-1),
    "merge": lambda: api.merge(MODEL, [A, B], data=DATA, max_sweeps=-1),
    "barrier": lambda: api.barrier(MODEL, A, B, DATA, align=True, method_options=SWEEPS),
    "evaluate": lambda: api.evaluate(MODEL, A, FLOATS),
    "plane": lambda: api.plane(MODEL, [A, B, _mlp()], DATA, margin=-1.0),
    "compare_features": lambda: api.compare_features(MODEL, A, B, DATA, method_options=SWEEPS),
}


@pytest.mark.parametrize("name", CALLS)
def test_errors_of_inner_functions_name_the_called_function(name):
    with pytest.raises(OneBasinError, match=rf"^{name}: [^:]+;"):
        CALLS[name]()


def test_functions_are_named_again_after_an_error():
    @public
    def inner(size):
        return check_whole("size", size, least=1)

    @public
    def outer(size):
        try:
            return inner(size)
        except ArgumentError:
            return inner(size + 1)

    assert outer(0) == 1
    for function in (outer, inner):
        with pytest.raises(OneBasinError, match=rf"^{function.__name__}: size is "):
            function(-1)
