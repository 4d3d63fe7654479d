"""Graphs shared between calls: most of the time of a small test goes into exporting a model."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from torch import nn

from onebasin.graph import graph
from onebasin.graph.graph import signature_of


@contextmanager
def graphs_made_once() -> Iterator[None]:
    """Make the graph of a model for inputs of some shapes once, while the block runs."""
    made: dict[Any, Any] = {}
    trace_graph = graph.trace_graph

    def trace_once(model: nn.Module, args: Any, kwargs: Any) -> Any:
        key = id(model), signature_of(args), signature_of(kwargs)
        if key not in made:
            # The model is kept, so that its id stays its own.
            made[key] = model, trace_graph(model, args, kwargs)
        return made[key][1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(graph, "trace_graph", trace_once)
        yield
