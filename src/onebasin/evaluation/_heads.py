"""Last layers of the sources, fit on the body of a merged network."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from onebasin.errors import ArgumentError
from onebasin.evaluation._refit.last_layer import last_layer
from onebasin.evaluation._refit.refit import LayerRefit
from onebasin.evaluation._repair import OutputKind, run_repair
from onebasin.graph._nodes import origins
from onebasin.symmetry._inference.nodes import named_arguments


class HeadFit:
    """Fits a last layer for each source on the body of a merged network.

    Args:
        model: the architecture; not changed.
        data: batches that can be read again; labels are ignored.

    Attributes:
        label: displayed name of the last layer.

    Raises:
        OneBasinError: the data are empty, or the model does not end in a layer with an unshared
            weight.
    """

    def __init__(self, model: nn.Module, data: Iterable[Any]) -> None:
        """Trace the model and find its last layer."""
        refit = LayerRefit(model, data)
        layer = last_layer(refit)
        if layer is None:
            raise ArgumentError(
                "heads='own' needs a model that ends in a linear layer or a convolution, whose "
                "weight no other layer uses (the last layer that can be refit is "
                f"{refit.layers[-1].label!r}); use heads='shared'"
            )
        self._refit, self.label = refit.of_layer(layer), layer.label
        graph = refit.features.graph
        node, names = graph.calls[layer.node], graph.traced.exported.tensors
        given = named_arguments(node, node.args, dict(node.kwargs))
        used = [given[name] for name in (layer.weight, layer.bias) if name is not None]
        self._tensors = [names[each.name] for value in used for each in origins(value)]

    def fit(
        self,
        params: Mapping[str, Tensor],
        sources: Sequence[Mapping[str, Tensor]],
        outputs: OutputKind,
    ) -> tuple[dict[str, Tensor], ...]:
        """Return the merged network with a last layer for each source.

        Each last layer is refit to the outputs of its source, with a ridge to the last layer of
        the source. The data are read once for each source, and once more for logits.

        Args:
            params: parameters and buffers of the merged network.
            sources: parameters and buffers of the aligned source networks.
            outputs: as for `repair`.

        Returns:
            Complete networks; they share the tensors of the body.
        """
        heads = []
        for source in sources:
            start = {**params, **{name: source[name] for name in self._tensors}}
            found = run_repair(self._refit, start, [source], [1.0], outputs).params
            heads.append({**params, **{name: found[name] for name in self._tensors}})
        return tuple(heads)
