"""Lemma: LLFC at the output bounds the error on the path by twice the ends' errors."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from onebasin._checks import checks_arguments
from onebasin.errors import OneBasinError
from onebasin.evaluation.curves import LineNormalization
from onebasin.evaluation.features.comparison import COSINE, compare, mixed
from onebasin.evaluation.features.moments import Sums
from onebasin.evaluation.features.survey import (
    ALPHAS,
    Batch,
    Measure,
    Progress,
    Survey,
    run_measure,
)
from onebasin.evaluation.features.table import FeatureTable
from onebasin.evaluation.losses import are_classes, check_classes, flat_classes
from onebasin.evaluation.results import axes_for
from onebasin.graph.batches import IGNORED

if TYPE_CHECKING:
    from matplotlib.axes import Axes

OUTPUT = "output"
ERROR, MIXED_ERROR, DISAGREEMENT = "error", "error of the mix", "disagreement"


@dataclass(frozen=True)
class Lemma(FeatureTable):
    r"""The lemma on a path; made by `check_lemma`.

    Its measures are `error`, `error of the mix`, `disagreement` and `1-cos` of the outputs.

    Args:
        records: as rows.
        normalization: where the path's running statistics come from.
    """

    @property
    def epsilon(self) -> float:
        r"""The larger error of the two ends, \(\varepsilon\)."""
        return max(self.at(OUTPUT, ERROR, end).mean for end in (0.0, 1.0))

    @property
    def bound(self) -> float:
        r"""What the lemma promises: an error on the path of at most \(2\varepsilon\)."""
        return 2 * self.epsilon

    @property
    def path_error(self) -> float:
        """The largest error on the path between the ends."""
        return max(self.at(OUTPUT, ERROR, alpha).mean for alpha in self.alphas if 0 < alpha < 1)

    @property
    def holds(self) -> bool:
        """Whether the error on the path keeps within the bound."""
        return self.path_error <= self.bound

    def assured(self, alpha: float) -> float:
        """Return what the error at an alpha cannot exceed, however far LLFC is from holding.

        The mixed outputs are wrong only where an end is, and the path's only where the mix's
        are or the two disagree: error of A + error of B + disagreement.
        """
        ends = sum(self.at(OUTPUT, ERROR, end).mean for end in (0.0, 1.0))
        return ends + self.at(OUTPUT, DISAGREEMENT, alpha).mean

    def plot(self, ax: Axes | None = None, *, alpha: float | None = None, **style: Any) -> Axes:
        """Draw the errors along the path, and the bound."""
        del alpha
        ax = axes_for(ax)
        for measure in (ERROR, MIXED_ERROR):
            found = sorted((r.alpha or 0.0, r.mean) for r in self.records if r.measure == measure)
            shares, errors = zip(*found, strict=True)
            ax.plot(shares, errors, **{"marker": "o", "label": measure, **style})
        ax.axhline(self.bound, linestyle="--", color="gray", label="2ε")
        ax.set_xlabel("α (0 is B, 1 is A)")
        ax.set_ylabel("error")
        ax.legend(frameon=False)
        return ax


@checks_arguments
def check_lemma(
    model: nn.Module,
    params_a: Mapping[str, Tensor],
    params_b: Mapping[str, Tensor],
    data: Iterable[Any],
    *,
    alphas: Sequence[float] = ALPHAS,
    normalization: LineNormalization = "interpolated",
    statistics: Iterable[Any] | None = None,
    progress: Progress | None = None,
) -> Lemma:
    r"""Check that LLFC at the output keeps the path's error low (Zhou et al. 2023, Lemma 1).

    Where the outputs satisfy LLFC and both ends have an error of at most \(\varepsilon\),
    every network on the path has one of at most \(2\varepsilon\). Rows, at every alpha:

    - `error`: share of wrong answers; at alpha 0 of B, at alpha 1 of A.
    - `error of the mix`: of \(\alpha f(\theta_A) + (1-\alpha) f(\theta_B)\), which LLFC would
      make the path's.
    - `disagreement`: share of examples that the path puts in another class than the mix, so
      how often LLFC fails where it counts.
    - `1-cos`: between the path's outputs and the mix.

    Args:
        model: any module that `torch.export` can take; its first counted output is logits.
        params_a: parameters and buffers of A.
        params_b: those of B.
        data: batches `(inputs, labels)`; labels of -100 do not count.
        alphas: shares of A, between 0 and 1.
        normalization: as for `measure_llfc`; the errors of A and B are those of the networks
            as they were trained.
        statistics: as for `measure_llfc`.
        progress: called with the number of batches done.

    Raises:
        OneBasinError: when parameters, data, labels or alphas do not fit.
    """
    measure = LemmaMeasure()
    run_measure(
        measure,
        model,
        (params_a, params_b),
        data,
        call="lemma",
        alphas=alphas,
        normalization=normalization,
        statistics=statistics,
        progress=progress,
    )
    return measure.result()


class LemmaMeasure(Measure):
    """What `check_lemma` adds up, for a survey of several measures."""

    def begin(self, survey: Survey) -> None:
        """Take the alphas."""
        self.path = survey.path
        self.sums = Sums()

    def finish(self, batch: Batch, outputs: Sequence[Tensor], given: Any) -> None:
        """Count the wrong answers of all networks."""
        outputs = [each[: batch.num] for each in outputs]
        labels = labels_of(given, "lemma").to(outputs[0].device)
        if not are_classes(outputs[0], labels):
            raise OneBasinError(
                f"lemma: outputs are {tuple(outputs[0].shape)} and labels {tuple(labels.shape)} "
                f"{labels.dtype}; there must be one integer label for each row of classes"
            )
        logits, (classes, *_) = zip(*(flat_classes(each, labels) for each in outputs), strict=True)
        check_classes("lemma", classes, outputs[0].shape[-1])
        counts = classes != IGNORED
        classes = classes[counts]
        a, b, *points = (each[counts] for each in logits)
        self._add(ERROR, 1.0, a.argmax(1) != classes)
        self._add(ERROR, 0.0, b.argmax(1) != classes)
        for alpha, x in zip(self.path.alphas, points, strict=True):
            y = mixed(a, b, alpha)
            self._add(ERROR, alpha, x.argmax(1) != classes)
            self._add(MIXED_ERROR, alpha, y.argmax(1) != classes)
            self._add(DISAGREEMENT, alpha, x.argmax(1) != y.argmax(1))
            self._add(COSINE, alpha, compare(x, y)[COSINE])

    def _add(self, measure: str, alpha: float, values: Tensor) -> None:
        self.sums.add((OUTPUT, alpha, measure), values)

    def result(self) -> Lemma:
        """Return what was measured.

        Raises:
            OneBasinError: when no label counts.
        """
        records = self.sums.records([OUTPUT])
        if not any(record.n for record in records):
            raise OneBasinError(
                f"lemma: no label counts, all are {IGNORED}; pass data with classes"
            )
        return Lemma(records, self.path.normalization)


def labels_of(given: Any, call: str) -> Tensor:
    """Return the labels of a batch `(inputs, labels)`.

    Raises:
        OneBasinError: when it has none.
    """
    if not isinstance(given, tuple | list) or len(given) < 2:
        raise OneBasinError(f"{call}: a batch has no labels; pass batches (inputs, labels)")
    return torch.as_tensor(given[1])
