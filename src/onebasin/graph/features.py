"""Features: one pass over data through the graphs of several networks in step.

Owns which graph runs a batch (one for each shape of batch), what the data may be, and the
clear line where a batch does not fit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from string import ascii_uppercase
from typing import Any

from torch import Tensor, nn

from onebasin._dtypes import all_finite
from onebasin.errors import OneBasinError
from onebasin.graph.batches import inputs_of, is_empty, rereadable
from onebasin.graph.graph import ForwardPreHook, Graph, MultiForwardHook, signature_of
from onebasin.symmetry._inference.state import doubled

Progress = Callable[[int], object]


@dataclass(frozen=True)
class BatchContext:
    """A batch that is about to be run.

    Args:
        number: of the batch, from 0.
        graph: that runs it; all graphs of a pass have the same nodes.
        weight: of its examples: a half where a lone example had to be doubled, else one.
    """

    number: int
    graph: Graph
    weight: float


class Features:
    """The features of networks of one architecture.

    Args:
        model: the architecture; any module that `torch.export` can take. Not changed.
        data: batches `(inputs, labels)` or inputs alone, as a DataLoader gives them; read as
            often as a method says. The first decides what the graph looks like; empty ones are
            passed over.
        call: the public function that is running, for messages.

    Attributes:
        graph: for the first batch.
        first: the inputs of the first batch, a lone example doubled.

    Raises:
        OneBasinError: when there is no data, it can be read only once, or the model cannot
            be traced on it.
    """

    def __init__(self, model: nn.Module, data: Iterable[Any], *, call: str = "features") -> None:
        """Make the graph for the first batch."""
        self.model, self.data, self.call = model, rereadable(data, call), call
        self._graphs: dict[Any, Graph] = {}
        first = next((batch for batch in data if not is_empty(batch)), None)
        if first is None:
            raise OneBasinError(f"{call}: the data has no batches; pass at least one")
        self.first = self._inputs(first)[0]
        self.graph = self._graph_of(self.first, 0)

    def run(
        self,
        params: Sequence[Mapping[str, Tensor]],
        visit: Callable[[BatchContext], MultiForwardHook],
        *,
        enter: Callable[[BatchContext], ForwardPreHook] | None = None,
        finish: Callable[[list[list[Tensor]], Any], object] | None = None,
        progress: Progress | None = None,
    ) -> int:
        """Run networks through all batches, once, in step.

        Args:
            params: for each network its parameters and buffers.
            visit: called for every batch; returns what is called with the name of every node
                and the networks' values (see `Graph.run_together`).
            enter: as `visit`, but what it returns is called before each node.
            finish: called after every batch with each network's outputs and the batch.
            progress: called with the number of batches done.

        Returns:
            The number of batches.

        Raises:
            OneBasinError: when the model refuses a batch, or gives another graph for it.
        """
        count = 0
        for count, batch in enumerate(self.data, start=1):
            if is_empty(batch):
                continue
            inputs, weight = self._inputs(batch)
            graph = self._graph_of(inputs, count - 1)
            passage = BatchContext(count - 1, graph, weight)
            entering = None if enter is None else enter(passage)
            outputs = graph.run_together(
                params, inputs, visit(passage), enter=entering, call=self.call
            )
            if finish is not None:
                finish(outputs, batch)
            if progress is not None:
                progress(count)
        return count

    def _inputs(self, batch: Any) -> tuple[Any, float]:
        """Return a batch's inputs, a lone example doubled, and the weight of an example."""
        inputs = inputs_of(batch)
        twice = doubled(inputs)
        return (inputs, 1.0) if twice is None else (twice, 0.5)

    def _graph_of(self, inputs: Any, number: int) -> Graph:
        shapes = signature_of(inputs)
        if shapes not in self._graphs:
            self._graphs[shapes] = self._make(inputs, number)
        return self._graphs[shapes]

    def _make(self, inputs: Any, number: int) -> Graph:
        try:
            graph = Graph(self.model, inputs)
        except OneBasinError as error:
            raise OneBasinError(
                f"{self.call}: the model does not run on batch {number} of the data, with inputs "
                f"of shapes {signature_of(inputs)}: {error}"
            ) from error
        if self._graphs and graph.nodes != self.graph.nodes:
            raise OneBasinError(
                f"{self.call}: batch {number}, with inputs of shapes {signature_of(inputs)}, takes "
                "another way through the model than the first one; pass batches of one shape"
            )
        return graph


def check_finite(
    values: Sequence[Tensor], graph: Graph, name: str, call: str, *, last: str | None = None
) -> None:
    """Check that the features of networks are numbers.

    Args:
        values: for each network, A first, its value of a node.
        graph: that the node is of.
        name: of the node.
        call: the public function that is running, for the message.
        last: what the last network is called, where it has no letter.

    Raises:
        OneBasinError: naming the network and the place in the model.
    """
    for number, value in enumerate(values):
        network = ascii_uppercase[number] if number < len(ascii_uppercase) else f"network {number}"
        if last is not None and number == len(values) - 1:
            network = last
        if not all_finite(value):
            raise OneBasinError(
                f"{call}: the features of {network} at {graph.place(name)} are not finite;"
                " check its weights and the data"
            )
