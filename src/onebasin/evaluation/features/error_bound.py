"""Bound of the error on the path if LLFC holds at the output (Zhou et al. 2023, Lemma 1)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from onebasin._checks import checks_arguments
from onebasin.errors import ArgumentError
from onebasin.evaluation._losses import are_classes, check_classes, flat_classes
from onebasin.evaluation.curves import LineNormalization
from onebasin.evaluation.features._comparison import COSINE, compare, lerp
from onebasin.evaluation.features._probe import (
    ALPHAS,
    Batch,
    FeatureMetric,
    Progress,
    run_metric,
)
from onebasin.evaluation.features.table import FeatureTable
from onebasin.evaluation.results import axes_for
from onebasin.graph.batches import IGNORE_INDEX, labels_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

OUTPUT = "output"
ERROR, MIXED_ERROR, DISAGREEMENT = "error", "error of the mix", "disagreement"


@dataclass(frozen=True)
class ErrorBound(FeatureTable):
    """The errors on a path and their bound; see `check_error_bound`.

    Its measures are `error`, `error of the mix`, `disagreement` and `1-cos` of the outputs.

    Args:
        records: the rows.
        normalization: source of the path's running statistics.
    """

    @property
    def epsilon(self) -> float:
        r"""The larger error of the two endpoints, \(\varepsilon\)."""
        return max(self.at(OUTPUT, ERROR, end).mean for end in (0.0, 1.0))

    @property
    def bound(self) -> float:
        r"""The bound of the lemma on the error of the path, \(2\varepsilon\)."""
        return 2 * self.epsilon

    @property
    def path_error(self) -> float:
        """The maximum error on the path between the endpoints."""
        return max(self.at(OUTPUT, ERROR, alpha).mean for alpha in self.alphas if 0 < alpha < 1)

    @property
    def bound_satisfied(self) -> bool:
        """Whether the error on the path is within the bound."""
        return self.path_error <= self.bound

    def unconditional_bound(self, alpha: float) -> float:
        """Return an upper bound of the error at an alpha that holds without LLFC.

        It is the sum of the error of A, the error of B and the disagreement. If the mixed outputs
        are wrong, an endpoint is wrong. If the path is wrong, the mixed outputs are wrong or the
        two disagree.
        """
        ends = sum(self.at(OUTPUT, ERROR, end).mean for end in (0.0, 1.0))
        return ends + self.at(OUTPUT, DISAGREEMENT, alpha).mean

    def plot(self, ax: Axes | None = None, **style: Any) -> Axes:
        """Plot the errors along the path, and the bound."""
        ax = axes_for(ax)
        for measure in (ERROR, MIXED_ERROR):
            points = sorted((r.alpha or 0.0, r.mean) for r in self.records if r.measure == measure)
            alphas, errors = zip(*points, strict=True)
            ax.plot(alphas, errors, **{"marker": "o", "label": measure, **style})
        ax.axhline(self.bound, linestyle="--", color="gray", label="2ε")
        ax.set_xlabel("α (0 is B, 1 is A)")
        ax.set_ylabel("error")
        ax.legend(frameon=False)
        return ax


@checks_arguments
def check_error_bound(
    model: nn.Module,
    params_a: Mapping[str, Tensor],
    params_b: Mapping[str, Tensor],
    data: Iterable[Any],
    *,
    alphas: Sequence[float] = ALPHAS,
    normalization: LineNormalization = "interpolated",
    statistics: Iterable[Any] | None = None,
    progress: Progress | None = None,
) -> ErrorBound:
    r"""Check the bound of LLFC on the path's error (Zhou et al. 2023, Lemma 1).

    If the outputs satisfy LLFC and both endpoints have an error of at most \(\varepsilon\), every
    network on the path has an error of at most \(2\varepsilon\). Rows, at every alpha:

    - `error`: fraction of wrong answers; alpha 0 is B, alpha 1 is A.
    - `error of the mix`: error of \(\alpha f(\theta_A) + (1-\alpha) f(\theta_B)\), which equals the
      path's if LLFC holds.
    - `disagreement`: fraction of examples with different classes on the path and in the mix.
    - `1-cos`: between the path's outputs and the mix.

    Args:
        model: any module that `torch.export` supports; its first output must be logits.
        params_a: parameters and buffers of A.
        params_b: parameters and buffers of B.
        data: batches `(inputs, labels)`; labels of -100 are ignored.
        alphas: weights of A, between 0 and 1.
        normalization: as for `measure_llfc`; A and B keep their own statistics.
        statistics: as for `measure_llfc`.
        progress: called with the number of batches done.

    Raises:
        OneBasinError: parameters, data, labels or alphas are invalid.
    """
    measure = ErrorBoundMetric()
    run_metric(
        measure,
        model,
        (params_a, params_b),
        data,
        alphas=alphas,
        normalization=normalization,
        statistics=statistics,
        progress=progress,
    )
    return measure.result()


class ErrorBoundMetric(FeatureMetric):
    """Metric of `check_error_bound`."""

    def end_batch(self, batch: Batch, outputs: Sequence[Tensor], given: Any) -> None:
        """Count the wrong answers of all networks."""
        outputs = [output[: batch.num] for output in outputs]
        labels = labels_of(given, batch.number).to(outputs[0].device)
        if not are_classes(outputs[0], labels):
            raise ArgumentError(
                f"outputs are {tuple(outputs[0].shape)} and labels "
                f"{tuple(labels.shape)} {labels.dtype}; pass one integer label for "
                "each row of outputs"
            )
        logits, (classes, *_) = zip(*(flat_classes(each, labels) for each in outputs), strict=True)
        check_classes(classes, outputs[0].shape[-1])
        counts = classes != IGNORE_INDEX
        classes = classes[counts]
        a, b, *points = (logit[counts] for logit in logits)
        self._add(ERROR, 1.0, a.argmax(1) != classes)
        self._add(ERROR, 0.0, b.argmax(1) != classes)
        for alpha, x in zip(self.probe.path.alphas, points, strict=True):
            y = lerp(a, b, alpha)
            self._add(ERROR, alpha, x.argmax(1) != classes)
            self._add(MIXED_ERROR, alpha, y.argmax(1) != classes)
            self._add(DISAGREEMENT, alpha, x.argmax(1) != y.argmax(1))
            self._add(COSINE, alpha, compare(x, y)[COSINE])

    def _add(self, measure: str, alpha: float, values: Tensor) -> None:
        self.sums.add((OUTPUT, alpha, measure), values)

    def result(self) -> ErrorBound:
        """Return the result.

        Raises:
            OneBasinError: all labels are ignored.
        """
        records = self.sums.records([OUTPUT])
        if not any(record.n for record in records):
            raise ArgumentError(
                f"all labels are ignored (got {IGNORE_INDEX}); pass data with classes"
            )
        return ErrorBound(records, self.probe.path.normalization)
