"""Repair sites: nodes whose units can be scaled and shifted by their own parameters.

These are linear layers, convolutions, and norms with learned scales.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace

from jaxtyping import Float64
from torch import Tensor

from onebasin._dtypes import round_to
from onebasin.graph.graph import FeatureNode, Graph
from onebasin.symmetry.layouts import Units, leaves
from onebasin.symmetry.symmetry import Symmetry

LAYERS = {
    "linear": ("weight", "bias"),
    "addmm": ("bias", "weight"),
    "conv1d": ("weight", "bias"),
    "conv2d": ("weight", "bias"),
    "conv3d": ("weight", "bias"),
}
"""Order of the parameters for each operator that multiplies by a weight."""

NORMS = ("batch_norm", "layer_norm", "group_norm", "instance_norm")
"""Operators whose first two parameters, if present, scale and shift each unit."""


@dataclass(frozen=True)
class RepairSite:
    """A node whose output can be scaled and shifted.

    Args:
        node: name of the node.
        label: displayed name; sites of one module and operator include the weight's name.
        weight: name of the parameter that scales the units.
        bias: name of the parameter that shifts them, or None.
        unit_dim: dimension of the units in the output.
        weight_dim: dimension of the units in the weight.
        beta: factor of the bias.
    """

    node: str
    label: str
    weight: str
    bias: str | None
    unit_dim: int
    weight_dim: int
    beta: float = 1.0

    def fold(
        self,
        params: Mapping[str, Tensor],
        scale: Float64[Tensor, " u"],
        shift: Float64[Tensor, " u"],
    ) -> dict[str, Tensor]:
        """Return the changed parameters.

        Args:
            params: parameters of the network.
            scale, shift: one number for each unit.
        """
        weight = params[self.weight]
        shape = [1] * weight.dim()
        shape[self.weight_dim] = -1
        scale, shift = scale.to(weight.device), shift.to(weight.device)
        changed = {self.weight: _rounded(self.weight, weight.double() * scale.view(shape), weight)}
        if self.bias is not None:
            bias = params[self.bias]
            repaired = bias.double() * scale + shift / self.beta
            changed[self.bias] = _rounded(self.bias, repaired, bias)
        return changed


def _rounded(name: str, repaired: Tensor, own: Tensor) -> Tensor:
    return round_to(f"tensor {name!r}", repaired, own.dtype)


def find_repair_sites(graph: Graph) -> tuple[dict[str, RepairSite], dict[str, str]]:
    """Return the sites by node, and the reasons for skipped nodes by label.

    Args:
        graph: the traced model.

    Returns:
        Sites of hidden units only: outputs of the model are not repaired. If only a norm reads a
        layer, the norm is the site.
    """
    uses = Counter(name for node in graph.nodes.values() for name in node.parameters)
    shared = {name for names in graph.symmetry.tied for name in names}
    sites: dict[str, RepairSite] = {}
    skipped: dict[str, str] = {}
    for name, site in _candidates(graph).items():
        tensors = [name for name in (site.weight, site.bias) if name is not None]
        if any(uses[name] > 1 or name in shared for name in tensors):
            skipped[site.label] = "its parameters are used more than once"
        else:
            sites[name] = site
    return sites, skipped


def _candidates(graph: Graph) -> dict[str, RepairSite]:
    """Return sites by node, including those with shared parameters."""
    candidates = ((node.name, _site(node, graph)) for node in graph.nodes.values())
    sites = {
        name: site
        for name, site in candidates
        if site is not None and not _is_read_by_norms(graph, graph.nodes[name])
    }
    weights: dict[str, set[str]] = {}
    for site in sites.values():
        weights.setdefault(site.label, set()).add(site.weight)
    return {
        name: site
        if len(weights[site.label]) == 1
        else replace(site, label=f"{site.label} of {site.weight}")
        for name, site in sites.items()
    }


def _site(node: FeatureNode, graph: Graph) -> RepairSite | None:
    symmetry = graph.symmetry
    if len(node.sources) != 1:  # weight or bias is computed from a parameter
        return None
    order = ("weight", "bias") if node.operator in NORMS else LAYERS.get(node.operator, ())
    parameters = dict(zip(order, node.parameters, strict=False))
    weight, bias = parameters.get("weight", ""), parameters.get("bias")
    if not set(parameters.values()).issubset(symmetry.layouts) or not weight:
        return None
    layouts = symmetry.layouts[weight]
    if weight in symmetry.buffers or (node.operator in NORMS and len(layouts) != 1):
        return None
    weight_dim, beta = 0, 1.0
    if node.operator == "addmm":
        call = graph.calls[node.name]
        # bias + features @ weight, with a constant non-zero factor of the bias.
        weight_dim, beta = 1, call.kwargs.get("beta", 1)
        is_layer = call.args[1] is graph.calls[node.sources[0]]
        if not is_layer or not isinstance(beta, int | float) or not beta:
            return None
    if not any(isinstance(leaf, Units) for leaf in leaves(layouts[weight_dim])):
        return None
    unit_dim = _unit_dim(node.operator, len(layouts))
    return RepairSite(node.name, node.label, weight, bias, unit_dim, weight_dim, float(beta))


def _unit_dim(operator: str, weight_dims: int) -> int:
    """Return the dimension of the units; a single image has no batch dimension."""
    if operator in ("linear", "addmm", "layer_norm"):
        return -1
    return 1 if operator in NORMS else 1 - weight_dims


def _is_read_by_norms(graph: Graph, node: FeatureNode) -> bool:
    """Return whether all readers of a layer are norms with learned scales."""
    readers = [graph.nodes[reader] for reader in graph.readers[node.name]]
    return bool(readers) and all(
        reader.operator in ("batch_norm", "instance_norm") and _has_scale(reader, graph.symmetry)
        for reader in readers
    )


def _has_scale(norm: FeatureNode, symmetry: Symmetry) -> bool:
    """Return whether a norm has a learned scale, not only running statistics."""
    return any(name not in symmetry.buffers for name in norm.parameters)
