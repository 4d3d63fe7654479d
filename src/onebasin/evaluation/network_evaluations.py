"""Evaluation of several networks and of their ensemble in one pass over the data."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import isnan, log
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from onebasin._checks import check_names, checks_arguments
from onebasin.data.data import Data
from onebasin.errors import ArgumentError, OneBasinError
from onebasin.evaluation._losses import Loss, Part, are_classes, measure_batch
from onebasin.evaluation.baselines import Baseline, ClassCounts
from onebasin.evaluation.evaluator import Evaluation, Evaluator, evaluator, evaluator_of, summed
from onebasin.evaluation.results import Result, axes_for
from onebasin.graph.batches import inputs_of, labels_of, output_of, run_model
from onebasin.graph.binding import FunctionalModel

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True)
class NetworkEvaluations(Result):
    """Loss and error of several networks on the same data; see `evaluate_networks`.

    Args:
        networks: the evaluations by name.
        baseline: the best constant prediction; None without class labels.
        per_token: whether every token has a label, which defines a perplexity.
        ensemble: the evaluation of the ensemble, or None.
    """

    networks: Mapping[str, Evaluation]
    baseline: Baseline | None = None
    per_token: bool = False
    ensemble: Evaluation | None = None

    def __getitem__(self, name: str) -> Evaluation:
        """Return the evaluation of a network."""
        return self.networks[name]

    def rows(self) -> list[dict[str, Any]]:
        """Return one row for each network, and a last one for the ensemble."""
        return [self._row(name, evaluation) for name, evaluation in self._entries()]

    def _entries(self) -> list[tuple[str, Evaluation]]:
        ensemble = [] if self.ensemble is None else [("ensemble", self.ensemble)]
        return [*self.networks.items(), *ensemble]

    def _row(self, name: str, evaluation: Evaluation) -> dict[str, Any]:
        numbers = {
            "loss": evaluation.loss,
            "error": evaluation.error,
            "accuracy": evaluation.accuracy,
        }
        if self.per_token:
            numbers["perplexity"] = evaluation.perplexity
        return {"name": name, **numbers, "examples": evaluation.num_examples}

    def plot(self, ax: Axes | None = None) -> Axes:
        """Plot one bar for each network and the ensemble: the error, or the loss without classes.

        Args:
            ax: axes to draw on; a new figure by default.

        Returns:
            The axes with the bars.
        """
        ax = axes_for(ax)
        names, evaluations = zip(*self._entries(), strict=True)
        quantity = "loss" if any(isnan(each.error) for each in evaluations) else "error"
        heights = [getattr(evaluation, quantity) for evaluation in evaluations]
        ax.bar(range(len(names)), heights, tick_label=names)
        if self.baseline is not None:
            ax.axhline(getattr(self.baseline, quantity), linestyle="--", color="gray")
        ax.set_ylabel(quantity)
        return ax


@checks_arguments
def evaluate_networks(
    model: nn.Module,
    networks: Mapping[str, Mapping[str, Tensor]],
    data: Any,
    *,
    ensemble: Sequence[str] = (),
    loss: Loss = "cross_entropy",
    batch_size: int = 1000,
    models: Mapping[str, nn.Module] | None = None,
    progress: Callable[[int], object] | None = None,
) -> NetworkEvaluations:
    r"""Evaluate several networks of one architecture, and their ensemble, in one pass over data.

    The output of the ensemble is the mean of the probabilities of its members,
    \(\frac1k\sum_i p_i\); with the loss "mse" it is the mean of their outputs.

    Args:
        model: the architecture; its own parameters are ignored.
        networks: parameters and buffers by name.
        data: `(inputs, labels)` tensors; or batches as `evaluator` takes them, such as a
            DataLoader; or an `Evaluator`; or a dataset, whose test split is used if it has one.
        ensemble: names of the members of the ensemble; no ensemble by default.
        loss: "cross_entropy", "mse" or a function of outputs and labels; see `evaluator`.
        batch_size: examples per batch, if `data` is a pair of tensors.
        models: modules of networks with other sizes than `model`, by name.
        progress: called with the number of batches done.

    Returns:
        The evaluations by name, and that of the ensemble as `ensemble`.

    Raises:
        OneBasinError: the parameters do not match the model, the data have no labels, `networks`
            is empty, `ensemble` has an unknown name, or an ensemble has a custom loss function.

    Example:
        >>> model = nn.Linear(2, 2, bias=False)
        >>> data = torch.eye(2), torch.tensor([0, 1])
        >>> evaluate_networks(model, {"A": {"weight": 3 * torch.eye(2)}}, data)["A"].error
        0.0
    """
    if not networks:
        raise ArgumentError("networks is empty; pass at least one network")
    check_names("ensemble", ensemble, networks)
    evaluate_model = _evaluator(data, loss, batch_size)
    if ensemble and callable(evaluate_model.loss):
        raise OneBasinError(
            'evaluate: an ensemble needs the loss "cross_entropy" or "mse" (got a function); pass '
            "one of these or ensemble=()"
        )
    models = models or {}
    bound = {
        name: FunctionalModel(models.get(name, model), params) for name, params in networks.items()
    }
    parts: dict[str, list[Part]] = {name: [] for name in bound}
    of_ensemble: list[Part] = []
    counts, num_classes, per_token = ClassCounts(), 0, False
    with torch.no_grad():
        for number, batch in enumerate(evaluate_model.batches):
            labels = labels_of(batch, number)
            outputs = {
                name: output_of(run_model(each, inputs_of(batch))) for name, each in bound.items()
            }
            for name, each in outputs.items():
                parts[name].append(measure_batch(each, labels.to(each.device), evaluate_model.loss))
            if ensemble:
                mean = mean_output([outputs[name] for name in ensemble], evaluate_model.loss)
                of_ensemble.append(measure_batch(mean, labels.to(mean.device), evaluate_model.loss))
            first = next(iter(outputs.values()))
            if evaluate_model.loss == "cross_entropy" and are_classes(first, labels):
                counts.add(labels)
                num_classes, per_token = first.shape[-1], labels.ndim > 1
            if progress is not None:
                progress(number + 1)
    return NetworkEvaluations(
        {name: summed(each) for name, each in parts.items()},
        counts.result(num_classes) if num_classes else None,
        per_token,
        summed(of_ensemble) if ensemble else None,
    )


def mean_output(outputs: Sequence[Tensor], loss: Loss) -> Tensor:
    """Return the output of an ensemble: log of the mean probabilities, or the mean for "mse".

    Args:
        outputs: of its members, `(n, ..., c)`.
        loss: "cross_entropy" or "mse".
    """
    stacked = torch.stack(
        [output if output.dtype == torch.float64 else output.float() for output in outputs]
    )
    if loss == "mse":
        return stacked.mean(0)
    return stacked.log_softmax(-1).logsumexp(0) - log(len(outputs))


def _evaluator(data: Any, loss: Loss, batch_size: int) -> Evaluator:
    if isinstance(data, Evaluator):
        return data
    if hasattr(data, "test_inputs"):
        data = data.test_inputs, data.test_labels
    elif isinstance(data, Data):
        return evaluator_of(data, "train" if data.test is None else "test")
    if isinstance(data, tuple) and len(data) == 2 and all(isinstance(e, Tensor) for e in data):
        return evaluator(*data, batch_size=batch_size, loss=loss)
    return evaluator(data, loss=loss)
