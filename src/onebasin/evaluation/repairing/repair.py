"""Repair: every unit of a merged network brought to the statistics between those of its parents.

Jordan et al. (2022), "REPAIR: REnormalizing Permuted Activations for Interpolation Repair".
Averaged units vary less than those they are averages of; here they are rescaled.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from jaxtyping import Float64
from torch import Tensor, nn

from onebasin._checks import checks_arguments
from onebasin._dtypes import compute_dtype
from onebasin.errors import OneBasinError, check_choice
from onebasin.evaluation.moments import UnitMoments
from onebasin.evaluation.paths import normalize_weights
from onebasin.evaluation.repairing.sites import RepairSite, find_repair_sites
from onebasin.evaluation.statistics import fresh_statistics
from onebasin.graph.batches import mixed
from onebasin.graph.features import BatchContext, Features, check_finite
from onebasin.graph.graph import MultiForwardHook
from onebasin.graph.normalization import is_variance, layers_with_statistics

Folded = Literal["repair", "rescale"]
Method = Literal["reset", "repair", "rescale"]

CALL = "repair"

STILL = 1e-6
"""A unit whose deviation is this share of its parents' does not vary: it is left as it is."""


@dataclass(frozen=True)
class RepairResult:
    """A network with repaired statistics.

    Args:
        params: parameters and buffers, under the names of the network that was repaired.
        sites: what was repaired: layers and norms as `module.operator`, or as
            `module.operator of weight` where a module has several.
        skipped: what could not be, and why.
    """

    params: dict[str, Tensor]
    sites: tuple[str, ...]
    skipped: Mapping[str, str] = field(default_factory=dict)


@checks_arguments
def repair(
    model: nn.Module,
    params: Mapping[str, Tensor],
    ends: Sequence[Mapping[str, Tensor]],
    data: Iterable[Any],
    *,
    method: Method = "repair",
    weights: Sequence[int | float] | None = None,
    progress: Callable[[int], object] | None = None,
) -> RepairResult:
    r"""Give a merged network the statistics that its units should have, in one pass over data.

    With `repair`, every hidden unit gets the mean \(\sum_k w_k \mu_k\) and the standard
    deviation \(\sum_k w_k \sigma_k\) of the ends' units (Jordan et al. 2022, Eq. 3 and 4);
    with `rescale` only one factor, which brings its root mean square to that of the ends.
    Both are folded into weights and biases, or the scales of norms, where that is exact;
    networks without normalization are included. With `reset` the running statistics of
    BatchNorm layers are estimated on the data; nothing else changes.

    Ends and merged network run in step, in evaluation mode: BatchNorm layers use the running
    statistics that each has. On the way the merged network's units are repaired by what they
    and the ends' are on the batch, so that later units see repaired ones.

    Differs from the paper:
        - Any traced model: sites are nodes of the graph.
        - Beyond the ends, with negative weights, a deviation (or size) is never less than that
          of the end where it is least: the sum may fall below 0, which no unit can have.
        - A layer without a bias has only its deviations repaired.
        - A unit that does not vary is not blown up: it keeps its scale.

    Args:
        model: the architecture; not changed.
        params: of the merged network; not changed.
        ends: parameters and buffers of what was merged, aligned. Not used by `reset`.
        data: batches that can be read again; they should not be small, nor sorted: `Batches` are
            mixed. An iterator will do for `reset` alone.
        method: `reset`, `repair` or `rescale`.
        weights: with which the ends were merged; by default all the same.
        progress: called with the number of batches done.

    Returns:
        The repaired network. Repairing the mean of equal networks changes nothing.

    Raises:
        OneBasinError: when there is no data, features are not finite, or the model has
            nothing that can be repaired.
    """
    check_choice(CALL, "method", method, Method)
    if method == "reset":
        return _reset(model, params, data)
    if not ends:
        raise OneBasinError(f"{CALL}: pass the networks that were merged as ends")
    shares = normalize_weights(weights, len(ends), call=CALL)
    return Repairer(model, data, method=method).run(params, ends, shares, progress=progress)


class Repairer:
    """Repairs any number of networks on the same data; the model is traced once.

    Args:
        model: as for `repair`.
        data: as for `repair`; read once for every network.
        method: "repair" or "rescale".
        call: the public function that is running, for messages.

    Attributes:
        sites: what is repaired, by node.
        skipped: what cannot be, and why.

    Raises:
        OneBasinError: when there is no data or the model has nothing that can be repaired.
    """

    def __init__(
        self, model: nn.Module, data: Iterable[Any], *, method: Folded, call: str = CALL
    ) -> None:
        """Trace the model and find what can be repaired."""
        self.features = Features(model, mixed(data), call=call)
        self.method: Folded = method
        self.sites, self.skipped = find_repair_sites(self.features.graph)
        if not self.sites:
            reasons = "; ".join(f"{label!r}: {reason}" for label, reason in self.skipped.items())
            raise OneBasinError(
                f"{call}: the model has no hidden layer or norm whose parameters can be rescaled"
                + (f" ({reasons})" if reasons else "")
            )
        if method == "repair":
            biasless = (site.label for site in self.sites.values() if site.bias is None)
            self.skipped |= dict.fromkeys(biasless, "no bias: means stay")

    def run(
        self,
        params: Mapping[str, Tensor],
        ends: Sequence[Mapping[str, Tensor]],
        shares: Sequence[float],
        *,
        progress: Callable[[int], object] | None = None,
    ) -> RepairResult:
        """Repair a network.

        Args:
            params: as for `repair`.
            ends: as for `repair`.
            shares: of each end in the network; their sum is 1.
            progress: as for `repair`.

        Raises:
            OneBasinError: when features are not finite, or a running variance is below 0.
        """
        _check_variances(params, self.features.call)
        run = _Run(self.sites, shares, self.method, self.features.call)
        self.features.run([*ends, params], run.visit, progress=progress)
        repaired = dict(params)
        for name, site in self.sites.items():
            repaired |= site.fold(repaired, *run.change(name))
        return RepairResult(repaired, tuple(s.label for s in self.sites.values()), self.skipped)


def _check_variances(params: Mapping[str, Tensor], call: str) -> None:
    for name, tensor in params.items():
        if not is_variance(name) or not tensor.is_floating_point():
            continue
        if bool((tensor.to(compute_dtype(tensor.dtype)) < 0).any()):
            raise OneBasinError(
                f"{call}: tensor {name!r} of the merged network is below 0, which no variance is; "
                'use onebasin.merge, or estimate it from data first with method="reset"'
            )


def _reset(model: nn.Module, params: Mapping[str, Tensor], data: Iterable[Any]) -> RepairResult:
    fresh = fresh_statistics(model, params, data, call=CALL)
    return RepairResult(fresh, tuple(layers_with_statistics(model)))


class _Run:
    """One pass: what every site's units are, and what they should be.

    Args:
        sites: by node.
        shares: of the ends.
        method: what is repaired.
        call: the public function that is running, for messages.
    """

    def __init__(
        self, sites: Mapping[str, RepairSite], shares: Sequence[float], method: Folded, call: str
    ) -> None:
        self.sites, self.shares, self.call = sites, shares, call
        self.method: Folded = method
        self.moments: dict[str, list[UnitMoments]] = {}

    def visit(self, passage: BatchContext) -> MultiForwardHook:
        """Return what looks at the values of a batch."""

        def look(name: str, values: Sequence[Tensor]) -> Sequence[Tensor] | None:
            site = self.sites.get(name)
            if site is None:
                return None
            found = [UnitMoments.of(value, site.unit_dim, passage.weight) for value in values]
            if not all(each.is_finite for each in found):
                check_finite(values, passage.graph, name, self.call, last="the merged network")
            known = self.moments.get(name)
            self.moments[name] = (
                [x + y for x, y in zip(known, found, strict=True)] if known else found
            )
            scale, shift = self._change(site, found)
            return [*values[:-1], _changed(values[-1], scale, shift, site.unit_dim)]

        return look

    def change(self, name: str) -> tuple[Float64[Tensor, " u"], Float64[Tensor, " u"]]:
        """Return factor and summand for every unit of a site, from all of the data."""
        return self._change(self.sites[name], self.moments[name])

    def _change(
        self, site: RepairSite, moments: Sequence[UnitMoments]
    ) -> tuple[Float64[Tensor, " u"], Float64[Tensor, " u"]]:
        *ends, merged = moments
        if self.method == "rescale":
            scale = _ratio(self._spread([end.size for end in ends]), merged.size)
            return scale, torch.zeros_like(scale)
        scale = _ratio(self._spread([end.deviation for end in ends]), merged.deviation)
        shift = self._mean([end.mean for end in ends]) - scale * merged.mean
        return scale, shift if site.bias is not None else torch.zeros_like(shift)

    def _spread(self, values: Sequence[Float64[Tensor, " u"]]) -> Float64[Tensor, " u"]:
        """Return the mean of what is never negative."""
        mean = self._mean(values)
        if min(self.shares) >= 0:
            return mean
        return torch.maximum(mean, torch.stack(list(values)).amin(0))

    def _mean(self, values: Sequence[Float64[Tensor, " u"]]) -> Float64[Tensor, " u"]:
        pairs = zip(self.shares, values, strict=True)
        return torch.stack([share * value for share, value in pairs]).sum(0)


def _ratio(wanted: Float64[Tensor, " u"], found: Float64[Tensor, " u"]) -> Float64[Tensor, " u"]:
    varies = found > STILL * wanted
    return torch.where(varies, wanted / torch.where(varies, found, 1.0), 1.0)


def _changed(
    value: Tensor, scale: Float64[Tensor, " u"], shift: Float64[Tensor, " u"], unit_dim: int
) -> Tensor:
    shape = [1] * value.dim()
    shape[unit_dim] = -1
    return value * scale.to(value.dtype).view(shape) + shift.to(value.dtype).view(shape)
