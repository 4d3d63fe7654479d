"""Repair of merged networks: new statistics, or layers that are refit."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, Protocol, runtime_checkable

from torch import Tensor, nn

from onebasin._checks import checks_arguments
from onebasin.errors import ArgumentError, check_choice
from onebasin.evaluation._activation_repair import ActivationRepair
from onebasin.evaluation._norm_tuning import tune_norms as train_norms
from onebasin.evaluation._paths import normalize_weights
from onebasin.evaluation._refit.last_layer import fit_last_layer
from onebasin.evaluation._refit.refit import LayerRefit
from onebasin.evaluation._repair_result import RepairResult
from onebasin.evaluation.statistics import fresh_statistics
from onebasin.graph._normalization import layers_with_statistics
from onebasin.graph.graph import Graph

Method = Literal["reset", "repair", "rescale", "refit"]
OutputKind = Literal["values", "logits"]


@checks_arguments
def repair(
    model: nn.Module,
    params: Mapping[str, Tensor],
    sources: Sequence[Mapping[str, Tensor]],
    data: Iterable[Any],
    *,
    method: Method = "repair",
    weights: Sequence[int | float] | None = None,
    outputs: OutputKind = "values",
    tune_norms: bool = False,
    progress: Callable[[int], object] | None = None,
) -> RepairResult:
    r"""Repair a merged network by unlabeled data.

    With `repair`, every hidden unit gets the mean \(\sum_k w_k \mu_k\) and the standard
    deviation \(\sum_k w_k \sigma_k\) of the sources' units (Jordan et al. 2022, Eq. 3 and 4).
    With `rescale`, one factor matches the root mean square. Both are folded exactly into weights
    and biases, or into the scales of norms; networks without normalization are supported. With
    `reset`, only the running statistics of BatchNorm layers are recomputed.

    For these methods, the sources and the merged network run in lockstep, in evaluation mode.
    BatchNorm layers use their own running statistics. The merged network's units are repaired
    during the pass, so later units have repaired inputs.

    With `refit`, the weights themselves are recomputed without labels or gradients. Layer by layer,
    \(W\) minimizes \(\sum_x |W z - \sum_k w_k t_k|^2 + s|W - \bar W|^2\). Here \(z\) is the input
    of the layer in the refit network, \(t_k\) the output of source k, and \(\bar W\) the
    average (Nasery et al. 2025, Sec. 4, with inputs of the merged network). The ridge \(s\) is
    chosen on one fifth of the batches. A BatchNorm is refit with the layer before it, to targets
    that are rescaled to the mean standard deviation of each unit in the sources (Jordan et al.
    2022, Eq. 4). A layer that is only read by a residual sum is fit to the sum. If the outputs are
    `logits`, a linear last layer is then fit to the softmax of their mean by cross-entropy, with
    a ridge to the least-squares solution. It is kept if it is better on held-out batches.

    Differs from the paper:
        - Supports any traced model: sites are nodes of the graph.
        - With negative weights, the standard deviation (or root mean square) is at least the
          smallest one of the sources, since the weighted sum may be negative.
        - A layer without a bias keeps its means.
        - A constant unit keeps its scale.
        - `refit` solves normal equations where PLeaS trains each layer by Adam, and PLeaS uses the
          mean of the sources' inputs.

    Args:
        model: the architecture; not changed.
        params: parameters and buffers of the merged network; not changed.
        sources: parameters and buffers of the aligned source networks. `reset` ignores them.
        data: large batches in random order that can be read again; `Batches` are shuffled.
            `reset` also accepts an iterator.
        method: `reset`, `repair`, `rescale` or `refit`.
        weights: weights of the sources in the merged network; equal by default.
        outputs: `logits` if the outputs are logits of classes, otherwise `values`. Used by `refit`.
        tune_norms: whether to train gains and biases (all parameters with one dimension) at the
            end, by Adam against the mean outputs of the sources. The epoch that is best on a
            held-out fifth of the batches is kept.
        progress: called with the number of batches done.

    Returns:
        The repaired network. Repairing the mean of equal networks changes nothing.

    Raises:
        OneBasinError: the data are empty, features are not finite, or the model has no layer
            that can be repaired.
    """
    check_choice("method", method, Method)
    check_choice("outputs", outputs, OutputKind)
    if not sources and (method != "reset" or tune_norms):
        raise ArgumentError("sources is empty; pass the networks that were merged")
    if method == "reset":
        fresh = fresh_statistics(model, params, data)
        result = RepairResult(fresh, tuple(layers_with_statistics(model)))
    else:
        fractions = normalize_weights(weights, len(sources))
        repairer = repairer_for(model, data, method)
        result = run_repair(repairer, params, sources, fractions, outputs, progress=progress)
    if not tune_norms:
        return result
    tuned = train_norms(model, result.params, sources, data, weights=weights)
    return replace(result, params=tuned)


def run_repair(
    repairer: Repairer,
    params: Mapping[str, Tensor],
    sources: Sequence[Mapping[str, Tensor]],
    fractions: Sequence[float],
    outputs: OutputKind,
    *,
    progress: Callable[[int], object] | None = None,
) -> RepairResult:
    """Repair a network; a refit also fits the last layer if the outputs are logits."""
    result = repairer.run(params, sources, fractions, progress=progress)
    if outputs == "logits" and isinstance(repairer, LayerRefit):
        return fit_last_layer(repairer, result, sources, fractions)
    return result


@runtime_checkable
class Repairer(Protocol):
    """Repairs any number of networks on the same data; the model is traced once."""

    @property
    def sites(self) -> Any:
        """The layers that are repaired."""
        ...

    def run(
        self,
        params: Mapping[str, Tensor],
        sources: Sequence[Mapping[str, Tensor]],
        fractions: Sequence[float],
        *,
        progress: Callable[[int], object] | None = None,
    ) -> RepairResult:
        """Repair a network; see `repair`."""
        ...


def repairer_for(
    model: nn.Module,
    data: Iterable[Any],
    method: Literal["repair", "rescale", "refit"],
    *,
    graphs: dict[Any, Graph] | None = None,
) -> Repairer:
    """Return the object that repairs networks by a method.

    Args:
        model: as for `repair`.
        data: as for `repair`.
        method: any method but "reset".
        graphs: as for `Features`.

    Raises:
        OneBasinError: the data are empty, or the model has no layer that can be repaired.
    """
    if method == "refit":
        return LayerRefit(model, data, graphs=graphs)
    return ActivationRepair(model, data, method=method, graphs=graphs)
