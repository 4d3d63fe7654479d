"""Unit axes of the two sides of a layer.

A matrix over the positions of a side (rows of A, columns of permuted B) becomes similarities of
a tree's units: the sum over all common positions of two units.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from onebasin.errors import ArgumentError
from onebasin.graph.features import Features
from onebasin.matching._coordinate_descent.trees import Indices, Key, Tree, View, views_of
from onebasin.matching._features.inputs import InputMoments, gather_inputs
from onebasin.matching._features.layers import Layer, find_layers, layer_axes_symmetry
from onebasin.symmetry._apply import IndexApplier
from onebasin.symmetry.symmetry import Symmetry


class LayerAxes:
    """The sides of some layers.

    Args:
        symmetry: symmetry of the model.
        layers: layers of its graph.
    """

    def __init__(self, symmetry: Symmetry, layers: Sequence[Layer]) -> None:
        self.symmetry = layer_axes_symmetry(symmetry, layers)

    def groups_of(self, side: str) -> frozenset[str]:
        """Return the groups on a side."""
        blocks = self.symmetry.blocks[side]
        return frozenset(n for b in blocks for n in b.groups if n in self.symmetry.groups)

    def sources(self, side: str, indices: Indices) -> Int[Tensor, " p"]:
        """Return the old position of every position of permuted B."""
        positions = torch.arange(self.symmetry.layouts[side][0].size)
        return IndexApplier(self.symmetry, indices).apply_to_tensor(side, positions)

    def add(
        self,
        sums: dict[Key, Tensor],
        tree: Tree,
        side: str,
        matrix: Float[Tensor, "p p"],
        indices: Indices,
    ) -> None:
        """Add a matrix over a side's positions to the similarities of a tree.

        Args:
            sums: similarities of the tree, `(outer, own, own)`; columns are units of unpermuted B.
            tree: the tree.
            side: name of the side.
            matrix: matrix with positions of A as rows and positions of permuted B as columns.
            indices: indices that permute B.
        """
        for block in self.symmetry.blocks[side]:
            for view in views_of(self.symmetry, tree, side, block):
                if view.key not in sums:
                    sums[view.key] = _zeros(view.key, tree, matrix)
                self._add_view(sums[view.key], tree, view, matrix, indices)

    def _add_view(
        self,
        total: Float[Tensor, "o n n"],
        tree: Tree,
        view: View,
        matrix: Float[Tensor, "p p"],
        indices: Indices,
    ) -> None:
        num_outer, size = total.shape[:2]
        places = view.arrange(torch.arange(len(matrix))).reshape(num_outer, -1, size)
        own = view.key.axes(tree).old_positions(indices).view(num_outer, 1, size) % size
        columns = own.expand_as(total)
        for row in places.unbind(1):
            values = matrix[row[:, :, None], row[:, None, :]]
            total.scatter_add_(2, columns, values.to(total.dtype))


@dataclass(eq=False)
class LayerPair:
    """One layer of A and of B, and the groups of its sides.

    Args:
        layer: the layer.
        params_a, params_b: parameters of A and of unpermuted B.
        moments: moments of its input, the row of ones included.
        axes: axes of all layers.
    """

    layer: Layer
    params_a: Mapping[str, Tensor]
    params_b: Mapping[str, Tensor]
    moments: InputMoments
    axes: LayerAxes

    def __post_init__(self) -> None:
        """Find the groups of both sides."""
        self.out, self.inner = f"{self.layer.node}:out", f"{self.layer.node}:in"
        self.output_groups, self.input_groups = map(self.axes.groups_of, (self.out, self.inner))


AnyLayer = TypeVar("AnyLayer", bound=LayerPair)


def gather_layers(
    kind: type[AnyLayer],
    symmetry: Symmetry,
    features: Features,
    params: Sequence[Mapping[str, Tensor]],
) -> list[AnyLayer]:
    """Return the layers of both networks, after one pass over the data.

    Args:
        kind: class of the layers.
        symmetry: symmetry of the architecture.
        features: features of the model on the data.
        params: parameters of A and of B.

    Raises:
        OneBasinError: the model has no layer, features are not finite, or the model fails on a
            batch.
    """
    layers = find_layers(features.graph, symmetry)
    if not layers:
        raise ArgumentError(
            "the model has no supported linear or convolutional layer; match by weights"
        )
    moments = gather_inputs(features, params, layers)
    (params_a, params_b), axes = params, LayerAxes(symmetry, layers)
    return [kind(layer, params_a, params_b, moments[layer.node], axes) for layer in layers]


def _zeros(key: Key, tree: Tree, matrix: Float[Tensor, "p p"]) -> Float[Tensor, "o n n"]:
    num_outer, size = key.num_outer(tree), key.num_own(tree)
    return torch.zeros(num_outer, size, size, dtype=matrix.dtype)
