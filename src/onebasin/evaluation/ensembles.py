"""Ensembles: networks alone, their outputs averaged, and their weights averaged, side by side.

Owns the comparison of what several networks make of the same data, calibration included, in
one pass over it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from onebasin._checks import check_model, checks_arguments, described
from onebasin.errors import OneBasinError
from onebasin.evaluation.evaluation import Evaluator
from onebasin.evaluation.paths import point_at
from onebasin.evaluation.results import Result, axes_for
from onebasin.evaluation.tallies import Candidate, averages_of, classes_of, tallies_of
from onebasin.graph.batches import inputs_of, labels_of, output_of, run_model
from onebasin.graph.binding import FunctionalModel

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True)
class Comparison(Result):
    """Networks and ensembles of them on the same data; made by `compare_ensembles`.

    Args:
        candidates: members first.
    """

    candidates: tuple[Candidate, ...]

    def __getitem__(self, name: str) -> Candidate:
        """Return the candidate of a name."""
        for candidate in self.candidates:
            if candidate.name == name:
                return candidate
        known = ", ".join(candidate.name for candidate in self.candidates)
        raise OneBasinError(f"comparison: there is no candidate {name!r}; there are: {known}")

    def rows(self) -> list[dict[str, Any]]:
        """Return one row for each candidate."""
        return [
            {
                "name": each.name,
                "kind": each.kind,
                "networks": each.num_networks,
                "loss": each.loss,
                "accuracy": 1 - each.error,
                "error": each.error,
                "ece": each.calibration.expected_error,
                "mce": each.calibration.largest_error,
                "examples": each.calibration.num_examples,
            }
            for each in self.candidates
        ]

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw loss against calibration error, one point for each candidate.

        Args:
            ax: where to draw; a new figure without it.

        Returns:
            The axes with the points.
        """
        ax = axes_for(ax)
        for each in self.candidates:
            ece = each.calibration.expected_error
            ax.plot([each.loss], [ece], "." if each.kind == "member" else "D", label=each.name)
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

    With \(p_i\) the probabilities and \(z_i\) the logits of member i, "probabilities" answers
    \(\frac1n\sum_i p_i\), "logits" \(\mathrm{softmax}(\frac1n\sum_i z_i)\), and "weights" is the
    network with the parameters \(\frac1n\sum_i \theta_i\); align the networks first. All are
    measured in one pass over the data, and only sums are kept.

    Args:
        model: the architecture; its own parameters do not matter.
        networks: by name the parameters and buffers of the members, at least two.
        evaluate: from `evaluator`, with labels that are classes and the loss "cross_entropy".
        others: by name further networks to compare, such as the mean of aligned members, or
            the mean of one run's checkpoints from `average_checkpoints`.
        prepare: what is done to the mean of the weights, such as `reset_statistics`.
        num_bins: bins of the calibration.

    Returns:
        The candidates: members, "probabilities", "logits", "weights", others.

    Raises:
        OneBasinError: when there are fewer than two members, two candidates have one name, the
            data has no classes, or as for `FunctionalModel`.
    """
    check_model("compare_ensembles", model)
    others = {} if others is None else others
    _check(networks, others, evaluate)
    members = list(networks.values())
    mean = point_at(members, {i: 1 / len(members) for i in range(len(members))})
    mean = mean if prepare is None else prepare(mean)
    run = [FunctionalModel(model, params) for params in (*members, mean, *others.values())]
    tallies = tallies_of(list(networks), list(others), num_bins)
    num_members = len(members)
    with torch.no_grad():
        for number, batch in enumerate(evaluate.batches):
            labels = labels_of(batch, number, "compare_ensembles")
            outputs = [output_of(run_model(each, inputs_of(batch))) for each in run]
            logits, classes = classes_of(outputs, labels)
            averages = averages_of(logits[:num_members])
            alone = logits.log_softmax(-1)
            every = [*alone[:num_members], *averages, *alone[num_members:]]
            for tally, log_probabilities in zip(tallies, every, strict=True):
                tally.add(log_probabilities, classes)
    return Comparison(tuple(tally.result() for tally in tallies))


def _check(networks: Mapping[str, Any], others: Mapping[str, Any], evaluate: Evaluator) -> None:
    if len(networks) < 2:
        raise OneBasinError(f"compare_ensembles: {len(networks)} networks given; give at least two")
    if not isinstance(evaluate, Evaluator):
        raise OneBasinError(
            f"compare_ensembles: evaluate is {described(evaluate)}; pass an evaluator of the data"
        )
    if evaluate.loss != "cross_entropy":
        raise OneBasinError(
            f"compare_ensembles: the loss is {evaluate.loss!r}, but averages of probabilities have "
            "only a cross-entropy; pass an evaluator with that"
        )
    names = [*networks, "probabilities", "logits", "weights", *others]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise OneBasinError(
            f"compare_ensembles: two candidates are called {twice!r}; give each its own name"
        )
