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
from onebasin.evaluation._repair import Method, repair
from onebasin.evaluation._repair_result import RepairResult
from onebasin.graph._normalization import layers_with_statistics
from onebasin.merging.averages import LazyAverage

RepairName = Literal["auto", "none", "reset", "repair", "rescale", "refit"]


@dataclass(frozen=True)
class Repair:
    """A repair, and the data for it.

    Args:
        method: method of `onebasin.merging.repair`; None for the default.
        data: data whose training split is used.
    """

    method: Method | None
    data: Data

    @classmethod
    def of(cls, name: str, data: Data | None) -> Repair | None:
        """Return the repair that the user chose; the default one needs data.

        Raises:
            OneBasinError: the name is unknown, or a repair is chosen without data.
        """
        if name not in get_args(RepairName):
            known = ", ".join(map(repr, get_args(RepairName)))
            raise ArgumentError(f"repair={name!r} is unknown; choose {known}")
        if name == "none" or (name == "auto" and data is None):
            return None
        if data is None:
            raise ArgumentError(
                f"repair={name!r} runs the networks on data; pass data=, such as data='digits'"
            )
        method: Any = None if name == "auto" else name
        return cls(method, data)

    def fitted(self, architecture: Architecture) -> Repair:
        """Return the repair with its method, and data in a form that the architecture takes.

        In benchmarks/matchers.py `reset` was best for networks with running statistics, and
        `repair` for all others.

        Raises:
            OneBasinError: statistics are to be reset but there are none, or the architecture
                cannot be run on the data.
        """
        method = self._method_for(architecture.module)
        data = laid_out(architecture, self.data, has_classes=False)
        return replace(self, method=method, data=data)

    def _method_for(self, module: nn.Module) -> Method:
        has_statistics = bool(layers_with_statistics(module))
        if self.method == "reset" and not has_statistics:
            raise ArgumentError(
                "repair='reset' recomputes running statistics, and this architecture has "
                "none; choose repair='refit' or repair='repair'"
            )
        return self.method or ("reset" if has_statistics else "repair")

    def run(
        self,
        architecture: Architecture,
        sources: Sequence[Mapping[str, Tensor]],
        weights: Sequence[float],
        reporter: Reporter,
    ) -> RepairResult:
        """Return the repaired average of networks; each tensor of the networks is read once.

        Args:
            architecture: architecture of all networks.
            sources: the aligned networks.
            weights: weights of the average.
            reporter: shows progress and notes.
        """
        assert self.method is not None, "call `fitted` first"
        # A reset runs the average only, so the networks need not be in memory.
        held = [] if self.method == "reset" else [dict(source) for source in sources]
        batches = self.data.batches()
        with reporter.counting(f"repairing by {self.method}", batches) as progress:
            repaired = repair(
                architecture.module,
                dict(LazyAverage(held or sources, weights)),
                held,
                batches,
                method=self.method,
                weights=weights,
                progress=progress,
            )
        for site, reason in repaired.skipped.items():
            reporter.note(f"{self.method}: {site}: {reason}")
        return repaired

    def to_json(self, repaired: RepairResult) -> dict[str, Any]:
        """Return a summary of the repair as plain JSON values."""
        return {
            "method": self.method,
            "data": self.data.name,
            "normalize": self.data.normalization,
            "examples": self.data.num_examples(),
            "sites": list(repaired.sites),
            "skipped": dict(repaired.skipped),
        }

    def to_text(self, repaired: RepairResult) -> str:
        """Return a summary of the repair as one line."""
        return f"{self.method}: {counted(len(repaired.sites), 'layer')} on {self.data.name}"
