"""The repair of a merged network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

from torch import Tensor, nn

from onebasin._text import counted
from onebasin.api._data import laid_out
from onebasin.api._reporter import Reporter
from onebasin.checkpoints import Architecture
from onebasin.data.data import Data
from onebasin.errors import ArgumentError
from onebasin.evaluation._norm_tuning import tune_norms
from onebasin.evaluation._repair import Method, OutputKind, repair
from onebasin.evaluation._repair_choice import RepairChoice, repair_best
from onebasin.evaluation._repair_result import RepairResult
from onebasin.graph._normalization import layers_with_statistics
from onebasin.merging.averages import LazyAverage

RepairName = Literal["auto", "none", "reset", "repair", "rescale", "refit"]


@dataclass(frozen=True)
class Repair:
    """A repair, and the data for it.

    Args:
        method: method of `onebasin.merging.repair`; None to choose it on held-out data.
        data: data whose training split is used.
        tune_norms: whether gains and biases are trained at the end.
        choice: the choice, or None if the user chose.
    """

    method: Method | None
    data: Data
    tune_norms: bool = False
    choice: RepairChoice | None = None

    @classmethod
    def of(cls, name: str, data: Data | None, *, tune_norms: bool = False) -> Repair | None:
        """Return the repair that the user chose; the default one needs data.

        Raises:
            OneBasinError: the name is unknown, or a repair is chosen without data.
        """
        if name not in get_args(RepairName):
            known = ", ".join(map(repr, get_args(RepairName)))
            raise ArgumentError(f"repair={name!r} is unknown; choose {known}")
        if tune_norms and (data is None or name == "none"):
            raise ArgumentError(
                "tune_norms=True trains on data at the end of a repair; pass data=, and no "
                "repair='none'"
            )
        if name == "none" or (name == "auto" and data is None):
            return None
        if data is None:
            raise ArgumentError(
                f"repair={name!r} runs the networks on data; pass data=, such as data='digits'"
            )
        method: Any = None if name == "auto" else name
        return cls(method, data, tune_norms)

    def fitted(self, architecture: Architecture) -> Repair:
        """Return the repair with data in a form that the architecture takes.

        Raises:
            OneBasinError: statistics are to be reset but there are none, or the architecture
                cannot be run on the data.
        """
        if self.method == "reset" and not layers_with_statistics(architecture.module):
            raise ArgumentError(
                "repair='reset' recomputes running statistics, and this architecture has "
                "none; choose repair='refit' or repair='repair'"
            )
        return replace(self, data=laid_out(architecture, self.data, has_classes=False))

    def run(
        self,
        architecture: Architecture,
        sources: Sequence[Mapping[str, Tensor]],
        weights: Sequence[float],
        reporter: Reporter,
    ) -> tuple[Repair, RepairResult]:
        """Return the repair with its method, and the repaired average of networks.

        Each tensor of the networks is read once.

        Args:
            architecture: architecture of all networks.
            sources: the aligned networks.
            weights: weights of the average.
            reporter: shows progress and notes.
        """
        # A reset runs the average only, so the networks need not be in memory.
        is_reset = self.method == "reset" and not self.tune_norms
        held = [] if is_reset else [dict(source) for source in sources]
        batches, module = self.data.batches(), architecture.module
        mean = dict(LazyAverage(held or sources, weights))
        title = "choosing a repair" if self.method is None else f"repairing by {self.method}"
        with reporter.counting(title, batches) as progress:
            options: Any = {"weights": weights, "outputs": self.outputs, "progress": progress}
            if self.method is None:
                repaired, choice = repair_best(module, mean, held, batches, **options)
                chosen = replace(self, method=choice.method, choice=choice)
            else:
                repaired = repair(module, mean, held, batches, method=self.method, **options)
                chosen = self
        if self.tune_norms:
            repaired = replace(repaired, params=self.tuned(module, repaired.params, held, weights))
        for site, reason in repaired.skipped.items():
            reporter.note(f"{chosen.method}: {site}: {reason}")
        return chosen, repaired

    @property
    def outputs(self) -> OutputKind:
        """The kind of the outputs of the networks: logits of classes, or other values."""
        return "logits" if self.data.task == "classification" else "values"

    def tuned(
        self,
        module: nn.Module,
        params: Mapping[str, Tensor],
        sources: Sequence[Mapping[str, Tensor]],
        weights: Sequence[float],
        *,
        source_model: nn.Module | None = None,
    ) -> dict[str, Tensor]:
        """Return a merged network with trained gains and biases; see `tune_norms`."""
        return tune_norms(
            module,
            params,
            sources,
            self.data.batches(),
            weights=weights,
            source_model=source_model,
        )

    def to_json(self, repaired: RepairResult) -> dict[str, Any]:
        """Return a summary of the repair as plain JSON values."""
        return {
            "method": self.method,
            "tune_norms": self.tune_norms,
            "distances": None if self.choice is None else dict(self.choice.distances),
            "data": self.data.name,
            "normalize": self.data.normalization,
            "examples": self.data.num_examples(),
            "sites": list(repaired.sites),
            "skipped": dict(repaired.skipped),
        }

    def to_text(self, repaired: RepairResult) -> str:
        """Return a summary of the repair as one line."""
        text = f"{self.method}: {counted(len(repaired.sites), 'layer')} on {self.data.name}"
        text += ", gains and biases trained" if self.tune_norms else ""
        if self.choice is None or not self.choice.distances:
            return text
        distances = ", ".join(f"{name} {d:.3g}" for name, d in self.choice.distances.items())
        return f"{text} (held-out distance from the mean output: {distances})"
