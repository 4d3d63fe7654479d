"""Features of several networks: one pass over data, node by node.

Creates one graph for each shape of batches, and reports batches that do not fit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from string import ascii_uppercase
from typing import Any

from torch import Tensor, nn

from onebasin._dtypes import all_finite
from onebasin.errors import ArgumentError, OneBasinError
from onebasin.graph.batches import as_reiterable, inputs_of, is_empty
from onebasin.graph.graph import ForwardPreHook, Graph, MultiForwardHook, signature_of
from onebasin.symmetry._inference.constants import doubled

Progress = Callable[[int], object]


@dataclass(frozen=True)
class BatchContext:
    """A batch before it is run.

    Args:
        number: index of the batch, from 0.
        graph: graph that runs the batch; all graphs of a pass have the same nodes.
        weight: weight of its examples: 0.5 if a single example was doubled, otherwise 1.
    """

    number: int
    graph: Graph
    weight: float


class Features:
    """The features of networks of one architecture.

    Args:
        model: the architecture; any module that `torch.export` supports. It does not change.
        data: batches `(inputs, labels)` or inputs alone, as a DataLoader gives them; read
            repeatedly. The first batch determines the graph; empty batches are skipped.
        graphs: graphs of the model by the shapes of batches, which new ones are added to. Several
            objects for one model can share them.

    Attributes:
        graph: graph for the first batch.
        graphs: graphs by the shapes of batches.
        first: inputs of the first batch; a single example is doubled.

    Raises:
        OneBasinError: there are no data, they can be read only once, or the model cannot be
            traced on them.
    """

    def __init__(
        self, model: nn.Module, data: Iterable[Any], *, graphs: dict[Any, Graph] | None = None
    ) -> None:
        """Create the graph for the first batch."""
        self.model, self.data = model, as_reiterable(data)
        self.graphs = {} if graphs is None else graphs
        first = next((batch for batch in data if not is_empty(batch)), None)
        if first is None:
            raise ArgumentError("the data has no batches; pass at least one")
        self.first = self._inputs(first)[0]
        self.graph = self.graph_of(self.first, 0)

    def run(
        self,
        params: Sequence[Mapping[str, Tensor]],
        make_hook: Callable[[BatchContext], MultiForwardHook],
        *,
        make_pre_hook: Callable[[BatchContext], ForwardPreHook] | None = None,
        finish: Callable[[BatchContext, list[list[Tensor]], Any], object] | None = None,
        progress: Progress | None = None,
    ) -> int:
        """Run networks on all batches, node by node.

        Args:
            params: parameters and buffers of each network.
            make_hook: function of a batch that returns a function of the name of every node and the
                values of the networks; see `Graph.run_lockstep`.
            make_pre_hook: as `make_hook`, but the returned function is called before each node.
            finish: function of the context, the outputs of each network, and the batch; called
                after every batch.
            progress: function of the number of finished batches.

        Returns:
            The number of batches.

        Raises:
            OneBasinError: the model cannot be run on a batch, or has another graph for it.
        """
        count = 0
        for context, inputs, batch in self.batches():
            count = context.number + 1
            pre_hook = None if make_pre_hook is None else make_pre_hook(context)
            outputs = context.graph.run_lockstep(
                params, inputs, make_hook(context), pre_hook=pre_hook
            )
            if finish is not None:
                finish(context, outputs, batch)
            if progress is not None:
                progress(count)
        return count

    def batches(self) -> Iterator[tuple[BatchContext, Any, Any]]:
        """Yield the context, the inputs and the batch of all batches that are not empty.

        Raises:
            OneBasinError: the model cannot be run on a batch, or has another graph for it.
        """
        for number, batch in enumerate(self.data):
            if not is_empty(batch):
                inputs, weight = self._inputs(batch)
                yield BatchContext(number, self.graph_of(inputs, number), weight), inputs, batch

    def graph_of(self, inputs: Any, number: int) -> Graph:
        """Return the graph for a batch.

        Args:
            inputs: inputs of the batch; a single example is doubled.
            number: index of the batch, for messages.

        Raises:
            OneBasinError: the model cannot be run on the batch, or has another graph for it.
        """
        shapes = signature_of(inputs)
        if shapes not in self.graphs:
            self.graphs[shapes] = self._make(inputs, number)
        return self.graphs[shapes]

    def _inputs(self, batch: Any) -> tuple[Any, float]:
        """Return the inputs of a batch, a single example doubled, and the example weight."""
        inputs = inputs_of(batch)
        twice = doubled(inputs)
        return (inputs, 1.0) if twice is None else (twice, 0.5)

    def _make(self, inputs: Any, number: int) -> Graph:
        try:
            graph = Graph(self.model, inputs)
        except OneBasinError as error:
            raise ArgumentError(
                f"the model does not run on batch {number} of the data, with inputs "
                f"of shapes {signature_of(inputs)}: {error}"
            ) from error
        if any(graph.nodes != other.nodes for other in self.graphs.values()):
            raise ArgumentError(
                f"batch {number}, with inputs of shapes {signature_of(inputs)}, takes "
                "another way through the model than the first one; pass batches of one shape"
            )
        return graph


def check_finite(
    values: Sequence[Tensor], graph: Graph, name: str, *, last: str | None = None
) -> None:
    """Check that the features of networks are finite.

    Args:
        values: value of a node for each network, A first.
        graph: graph of the node.
        name: name of the node.
        last: name of the last network, or None for a letter.

    Raises:
        OneBasinError: a value is not finite; the message has the network and the node.
    """
    for number, value in enumerate(values):
        network = ascii_uppercase[number] if number < len(ascii_uppercase) else f"network {number}"
        if last is not None and number == len(values) - 1:
            network = last
        if not all_finite(value):
            raise ArgumentError(
                f"the features of {network} at {graph.describe_node(name)} are not finite;"
                " check its weights and the data"
            )
