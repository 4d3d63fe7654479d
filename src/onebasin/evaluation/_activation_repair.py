"""Repair of activation statistics.

Jordan et al. (2022), "REPAIR: REnormalizing Permuted Activations for Interpolation Repair".
Averaged units vary less than those of the source networks. They are rescaled here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal

import torch
from jaxtyping import Float64
from torch import Tensor, nn

from onebasin._dtypes import compute_dtype
from onebasin.errors import ArgumentError
from onebasin.evaluation._moments import UnitMoments
from onebasin.evaluation._repair_result import RepairResult, check_found
from onebasin.evaluation._repair_sites import RepairSite, find_repair_sites
from onebasin.graph._normalization import is_variance
from onebasin.graph.batches import shuffled
from onebasin.graph.features import BatchContext, Features, check_finite
from onebasin.graph.graph import Graph, MultiForwardHook

Folded = Literal["repair", "rescale"]

MIN_STD_RATIO = 1e-6
"""Minimum ratio to the sources' standard deviation; units below it count as constant."""


class ActivationRepair:
    """Repairs any number of networks on the same data; the model is traced once.

    Args:
        model: as for `repair`.
        data: as for `repair`; read once for every network.
        method: "repair" or "rescale".
        graphs: as for `Features`.

    Attributes:
        sites: repaired sites by node.
        skipped: layers that cannot be repaired, with the reason.

    Raises:
        OneBasinError: the data are empty, or the model has no layer that can be repaired.
    """

    def __init__(
        self,
        model: nn.Module,
        data: Iterable[Any],
        *,
        method: Folded,
        graphs: dict[Any, Graph] | None = None,
    ) -> None:
        """Trace the model and find its sites."""
        self.features = Features(model, shuffled(data), graphs=graphs)
        self.method: Folded = method
        self.sites, self.skipped = find_repair_sites(self.features.graph)
        check_found(self.sites, self.skipped, "hidden layer or norm with parameters to rescale")
        if method == "repair":
            biasless = (site.label for site in self.sites.values() if site.bias is None)
            self.skipped |= dict.fromkeys(biasless, "no bias: means are not repaired")

    def run(
        self,
        params: Mapping[str, Tensor],
        sources: Sequence[Mapping[str, Tensor]],
        fractions: Sequence[float],
        *,
        progress: Callable[[int], object] | None = None,
    ) -> RepairResult:
        """Repair a network.

        Args:
            params: as for `repair`.
            sources: as for `repair`.
            fractions: weight of each source; their sum is 1.
            progress: as for `repair`.

        Raises:
            OneBasinError: features are not finite, or a running variance is negative.
        """
        _check_variances(params)
        run = _Run(self.sites, fractions, self.method)
        self.features.run([*sources, params], run.make_hook, progress=progress)
        repaired = dict(params)
        for name, site in self.sites.items():
            repaired |= site.fold(repaired, *run.change(name))
        return RepairResult(repaired, tuple(s.label for s in self.sites.values()), self.skipped)


def _check_variances(params: Mapping[str, Tensor]) -> None:
    for name, tensor in params.items():
        if not is_variance(name) or not tensor.is_floating_point():
            continue
        if bool((tensor.to(compute_dtype(tensor.dtype)) < 0).any()):
            raise ArgumentError(
                f"variance {name!r} of the merged network is negative; use "
                'onebasin.merge, or recompute it from data first with method="reset"'
            )


class _Run:
    """One pass: moments of every site's units and their repair.

    Args:
        sites: sites by node.
        fractions: weights of the sources.
        method: "repair" or "rescale".
    """

    def __init__(
        self, sites: Mapping[str, RepairSite], fractions: Sequence[float], method: Folded
    ) -> None:
        self.sites, self.fractions = sites, fractions
        self.method: Folded = method
        self.moments: dict[str, list[UnitMoments]] = {}

    def make_hook(self, context: BatchContext) -> MultiForwardHook:
        """Return the hook for the values of a batch."""

        def hook(name: str, values: Sequence[Tensor]) -> Sequence[Tensor] | None:
            site = self.sites.get(name)
            if site is None:
                return None
            moments = [UnitMoments.of(value, site.unit_dim, context.weight) for value in values]
            if not all(moment.is_finite for moment in moments):
                check_finite(values, context.graph, name, last="the merged network")
            known = self.moments.get(name)
            self.moments[name] = (
                [x + y for x, y in zip(known, moments, strict=True)] if known else moments
            )
            scale, shift = self._change(site, moments)
            return [*values[:-1], _changed(values[-1], scale, shift, site.unit_dim)]

        return hook

    def change(self, name: str) -> tuple[Float64[Tensor, " u"], Float64[Tensor, " u"]]:
        """Return scale and shift for every unit of a site, from all data."""
        return self._change(self.sites[name], self.moments[name])

    def _change(
        self, site: RepairSite, moments: Sequence[UnitMoments]
    ) -> tuple[Float64[Tensor, " u"], Float64[Tensor, " u"]]:
        *sources, merged = moments
        if self.method == "rescale":
            scale = _ratio(self._spread([source.rms for source in sources]), merged.rms)
            return scale, torch.zeros_like(scale)
        scale = _ratio(self._spread([source.std for source in sources]), merged.std)
        shift = self._mean([source.mean for source in sources]) - scale * merged.mean
        return scale, shift if site.bias is not None else torch.zeros_like(shift)

    def _spread(self, values: Sequence[Float64[Tensor, " u"]]) -> Float64[Tensor, " u"]:
        """Return the mean of non-negative values."""
        mean = self._mean(values)
        if min(self.fractions) >= 0:
            return mean
        return torch.maximum(mean, torch.stack(list(values)).amin(0))

    def _mean(self, values: Sequence[Float64[Tensor, " u"]]) -> Float64[Tensor, " u"]:
        pairs = zip(self.fractions, values, strict=True)
        return torch.stack([fraction * value for fraction, value in pairs]).sum(0)


def _ratio(target: Float64[Tensor, " u"], actual: Float64[Tensor, " u"]) -> Float64[Tensor, " u"]:
    varies = actual > MIN_STD_RATIO * target
    return torch.where(varies, target / torch.where(varies, actual, 1.0), 1.0)


def _changed(
    value: Tensor, scale: Float64[Tensor, " u"], shift: Float64[Tensor, " u"], unit_dim: int
) -> Tensor:
    shape = [1] * value.dim()
    shape[unit_dim] = -1
    return value * scale.to(value.dtype).view(shape) + shift.to(value.dtype).view(shape)
