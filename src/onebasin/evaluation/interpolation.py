"""Evaluation of a model along the line between two networks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, overload

from torch import Tensor, nn

from onebasin._checks import check_model, checks_arguments
from onebasin.errors import ArgumentError, check_choice, check_whole
from onebasin.evaluation._paths import Weights, same_point
from onebasin.evaluation._points import Evaluations, Params, Prepare, evaluate_points
from onebasin.evaluation._repair import repairer_for
from onebasin.evaluation.curves import Curve, LineNormalization
from onebasin.evaluation.evaluator import Evaluate, Evaluation
from onebasin.evaluation.statistics import fresh_statistics
from onebasin.graph._normalization import layers_with_statistics
from onebasin.graph.batches import as_reiterable


def preparation_for(
    model: nn.Module,
    normalization: LineNormalization,
    data: Iterable[Any] | None,
    *,
    argument: str = "data",
) -> tuple[Prepare | None, int]:
    """Return the function applied to points, or None, and the number of affected layers.

    Args:
        model: the architecture.
        normalization: as for `interpolate`, checked.
        data: as for `interpolate`.
        argument: name of the data argument, for messages.

    Raises:
        OneBasinError: required data are missing or can be read only once, or the model has no
            layer that can be repaired.
    """
    if normalization == "interpolated":
        return None, 0
    if data is None:
        raise ArgumentError(
            f'normalization="{normalization}" estimates statistics from data; pass '
            f"{argument}=, usually the training batches"
        )
    batches = as_reiterable(data)
    if normalization == "reset":
        num_layers = len(layers_with_statistics(model))
        return lambda params, *_: fresh_statistics(model, params, batches), num_layers
    repairer = repairer_for(model, batches, normalization)

    def repaired(
        params: Mapping[str, Tensor], networks: Sequence[Mapping[str, Tensor]], weights: Weights
    ) -> Mapping[str, Tensor]:
        inner = {i: weight for i, weight in weights.items() if weight}
        sources = [networks[i] for i in inner]
        return repairer.run(params, sources, list(inner.values())).params

    return repaired, len(repairer.sites)


@overload
def interpolate(
    model: nn.Module,
    params_a: Mapping[str, Tensor],
    params_b: Mapping[str, Tensor],
    evaluate: Evaluate,
    *,
    num_points: int = ...,
    normalization: LineNormalization = ...,
    data: Iterable[Any] | None = ...,
    progress: Callable[[int, int], None] | None = ...,
) -> Curve: ...
@overload
def interpolate(
    model: nn.Module,
    params_a: Mapping[str, Tensor],
    params_b: Mapping[str, Tensor],
    evaluate: Mapping[str, Evaluate],
    *,
    num_points: int = ...,
    normalization: LineNormalization = ...,
    data: Iterable[Any] | None = ...,
    progress: Callable[[int, int], None] | None = ...,
) -> dict[str, Curve]: ...
@checks_arguments
def interpolate(
    model: nn.Module,
    params_a: Mapping[str, Tensor],
    params_b: Mapping[str, Tensor],
    evaluate: Evaluate | Mapping[str, Evaluate],
    *,
    num_points: int = 25,
    normalization: LineNormalization = "interpolated",
    data: Iterable[Any] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Curve | dict[str, Curve]:
    r"""Evaluate a model along the line \(\alpha\theta_A + (1-\alpha)\theta_B\).

    **The curve runs from B at \(\alpha = 0\) to A at \(\alpha = 1\)**, as in Entezari et al.
    (2022), Eq. 1; \(\alpha\) is the weight of A. Git Re-Basin, REPAIR and `torch.lerp` count from A
    to B. The barrier is the same in both directions.

    The model is run in evaluation mode with the parameters of each point; it is not changed. The
    endpoints keep their own statistics for every normalization. If A and B are equal, the point
    is evaluated once.

    Args:
        model: the architecture; its own parameters are ignored.
        params_a: parameters and buffers of A (a state dict).
        params_b: parameters and buffers of B.
        evaluate: an `evaluator`, or any function of the model that returns its mean loss, a
            `(loss, error)` pair or an `Evaluation`. Also a mapping of such functions, for
            example by "train" and "test"; each point is then computed once for all of them.
        num_points: number of points, both endpoints included; at least 2.
        normalization: "interpolated" interpolates running statistics. "reset" recomputes them
            between the endpoints. "repair" and "rescale" set the statistics of all hidden units
            between those of the endpoints, also without normalization layers. "refit" recomputes
            the weights of all layers (see `repair`).
        data: batches for all except "interpolated", usually the training set.
        progress: called with the number of points done and their total.

    Returns:
        The curve; a curve for each name if `evaluate` is a mapping.

    Raises:
        OneBasinError: the parameters do not match the model or each other, the normalization
            needs data, or the model has no layer that can be repaired.

    Example:
        >>> model = nn.Linear(1, 1, bias=False)
        >>> a, b = {"weight": Tensor([[2.0]])}, {"weight": Tensor([[-1.0]])}
        >>> curve = interpolate(model, a, b, lambda m: 4 - m(Tensor([[1.0]])).item() ** 2)
        >>> curve.losses[0], curve.losses[-1]  # B, A
        (3.0, 0.0)
        >>> curve.barrier()
        2.25
    """
    line = line_of(model, num_points, normalization, data)
    evaluates = evaluates_by_name(evaluate)
    evaluations = line.evaluate(params_a, params_b, evaluates, progress=progress)
    curves = {name: line.curve([point[name] for point in evaluations]) for name in evaluates}
    return curves if isinstance(evaluate, Mapping) else curves[""]


def evaluates_by_name(evaluate: Evaluate | Mapping[str, Evaluate]) -> Mapping[str, Evaluate]:
    """Return evaluation functions by name; a single function has the name "".

    Args:
        evaluate: as for `interpolate`.

    Raises:
        OneBasinError: the mapping is empty.
    """
    if not isinstance(evaluate, Mapping):
        return {"": evaluate}
    if not evaluate:
        raise ArgumentError("evaluate is an empty mapping; pass at least one function")
    return evaluate


@dataclass(frozen=True)
class Line:
    """Points of lines between networks, and their normalization.

    Args:
        model: the architecture.
        alphas: weights of A, evenly spaced from exactly 0 to exactly 1.
        prepare: function applied to the parameters between the endpoints, or None.
        normalization: source of the statistics of their units.
        num_reset: number of layers whose statistics are reset or repaired.
    """

    model: nn.Module
    alphas: tuple[float, ...]
    prepare: Prepare | None
    normalization: LineNormalization
    num_reset: int

    def evaluate(
        self,
        params_a: Params,
        params_b: Params,
        evaluates: Mapping[str, Evaluate],
        *,
        inner: bool = False,
        progress: Callable[[int, int], None] | None = None,
    ) -> list[Evaluations]:
        """Return the evaluations at each alpha, in this order.

        Args:
            params_a: parameters and buffers of A.
            params_b: parameters and buffers of B.
            evaluates: evaluation functions by name.
            inner: whether to omit the endpoints.
            progress: called with the number of points done and their total.

        Raises:
            OneBasinError: as for `interpolate`.
        """
        alphas = self.alphas[1:-1] if inner else self.alphas
        # For equal networks, rounding must not change the point.
        is_point = same_point(params_a, params_b)
        points = [{0: 1.0} if is_point else {0: alpha, 1: 1 - alpha} for alpha in alphas]
        return evaluate_points(
            self.model,
            [params_a, params_b],
            points,
            evaluates,
            prepare=self.prepare,
            progress=progress,
        )

    def curve(self, evaluations: Sequence[Evaluation]) -> Curve:
        """Return the curve through evaluations, one for each alpha."""
        losses, errors = tuple(e.loss for e in evaluations), tuple(e.error for e in evaluations)
        return Curve(self.alphas, losses, errors, self.normalization, self.num_reset)


def line_of(
    model: nn.Module,
    num_points: int,
    normalization: LineNormalization,
    data: Iterable[Any] | None,
) -> Line:
    """Check the arguments of a line and return its points.

    Args:
        model: the architecture.
        num_points: as for `interpolate`.
        normalization: as for `interpolate`.
        data: as for `interpolate`.

    Raises:
        OneBasinError: an argument is invalid, or for the reasons of `preparation_for`.
    """
    check_model(model)
    num_points = check_whole("num_points", num_points, least=2)
    check_choice("normalization", normalization, LineNormalization)
    prepare, num_reset = preparation_for(model, normalization, data)
    alphas = tuple(i / (num_points - 1) for i in range(num_points))
    return Line(model, alphas, prepare, normalization, num_reset)
