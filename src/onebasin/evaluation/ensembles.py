"""Networks compared with the averages of their outputs and of their weights.

All are evaluated in one pass over the data, calibration included.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from onebasin._checks import check_model, checks_arguments, described
from onebasin._text import counted
from onebasin.errors import ArgumentError, OneBasinError
from onebasin.evaluation._metrics import EnsembleEntry, accumulators_for, averages_of, classes_of
from onebasin.evaluation._paths import point_at
from onebasin.evaluation.evaluator import Evaluator
from onebasin.evaluation.results import Result, axes_for
from onebasin.graph.batches import inputs_of, labels_of, output_of, run_model
from onebasin.graph.binding import FunctionalModel

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True)
class Comparison(Result):
    """Networks and their ensembles on the same data; see `compare_ensembles`.

    Args:
        candidates: the entries, members first.
    """

    candidates: tuple[EnsembleEntry, ...]

    def __getitem__(self, name: str) -> EnsembleEntry:
        """Return an entry by name."""
        for candidate in self.candidates:
            if candidate.name == name:
                return candidate
        known = ", ".join(candidate.name for candidate in self.candidates)
        raise OneBasinError(f"comparison: unknown candidate {name!r}; known are: {known}")

    def rows(self) -> list[dict[str, Any]]:
        """Return one row for each entry."""
        return [
            {
                "name": candidate.name,
                "kind": candidate.kind,
                "networks": candidate.num_networks,
                "loss": candidate.loss,
                "accuracy": 1 - candidate.error,
                "error": candidate.error,
                "ece": candidate.calibration.ece,
                "mce": candidate.calibration.mce,
                "examples": candidate.calibration.num_examples,
            }
            for candidate in self.candidates
        ]

    def plot(self, ax: Axes | None = None) -> Axes:
        """Plot loss against calibration error, with one point for each entry.

        Args:
            ax: axes to draw on; a new figure by default.

        Returns:
            The axes with the points.
        """
        ax = axes_for(ax)
        for candidate in self.candidates:
            ece = candidate.calibration.ece
            ax.plot(
                [candidate.loss],
                [ece],
                "." if candidate.kind == "member" else "D",
                label=candidate.name,
            )
        ax.set_xlabel("loss")
        ax.set_ylabel("expected calibration error")
        ax.legend(frameon=False, fontsize=8)
        return ax


@checks_arguments
def compare_ensembles(
    model: nn.Module,
    networks: Mapping[str, Mapping[str, Tensor]],
    evaluate: Evaluator,
    *,
    others: Mapping[str, Mapping[str, Tensor]] | None = None,
    prepare: Callable[[Mapping[str, Tensor]], Mapping[str, Tensor]] | None = None,
    num_bins: int = 15,
) -> Comparison:
    r"""Compare networks with the averages of their outputs and of their weights.

    With \(p_i\) the probabilities and \(z_i\) the logits of member i, "probabilities" is
    \(\frac1n\sum_i p_i\), "logits" is \(\mathrm{softmax}(\frac1n\sum_i z_i)\), and "weights" is the
    network with the parameters \(\frac1n\sum_i \theta_i\). Align the networks first. All are
    evaluated in one pass over the data; only sums are stored.

    Args:
        model: the architecture; its own parameters are ignored.
        networks: parameters and buffers of two or more members by name.
        evaluate: an `evaluator` with class labels and the loss "cross_entropy".
        others: further networks by name, such as the mean of aligned members, or the mean of one
            run's checkpoints from `average_checkpoints`.
        prepare: function applied to the mean of the weights, such as `reset_statistics`.
        num_bins: number of bins of the calibration.

    Returns:
        The entries: members, "probabilities", "logits", "weights", others.

    Raises:
        OneBasinError: there are fewer than two members, two entries have one name, the data have
            no classes, or for the reasons of `FunctionalModel`.
    """
    check_model(model)
    others = {} if others is None else others
    _check(networks, others, evaluate)
    members = list(networks.values())
    mean = point_at(members, {i: 1 / len(members) for i in range(len(members))})
    mean = mean if prepare is None else prepare(mean)
    run = [FunctionalModel(model, params) for params in (*members, mean, *others.values())]
    accumulators = accumulators_for(list(networks), list(others), num_bins)
    num_members = len(members)
    with torch.no_grad():
        for number, batch in enumerate(evaluate.batches):
            labels = labels_of(batch, number)
            outputs = [output_of(run_model(each, inputs_of(batch))) for each in run]
            logits, classes = classes_of(outputs, labels)
            averages = averages_of(logits[:num_members])
            own = logits.log_softmax(-1)
            entries = [*own[:num_members], *averages, *own[num_members:]]
            for accumulator, log_probabilities in zip(accumulators, entries, strict=True):
                accumulator.add(log_probabilities, classes)
    return Comparison(tuple(accumulator.result() for accumulator in accumulators))


def _check(networks: Mapping[str, Any], others: Mapping[str, Any], evaluate: Evaluator) -> None:
    if len(networks) < 2:
        raise ArgumentError(f"{counted(len(networks), 'network')} given; pass at least two")
    if not isinstance(evaluate, Evaluator):
        raise ArgumentError(f"evaluate is {described(evaluate)}; pass an evaluator of the data")
    if evaluate.loss != "cross_entropy":
        raise ArgumentError(
            f"the loss must be 'cross_entropy' (got {evaluate.loss!r}); pass an "
            "evaluator with that loss"
        )
    names = [*networks, "probabilities", "logits", "weights", *others]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ArgumentError(f"two candidates have the name {twice!r}; use unique names")
