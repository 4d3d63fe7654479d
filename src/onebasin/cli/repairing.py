"""Repairing: what `--repair` asks for, done to a merged network before it is written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Sized
from dataclasses import dataclass, replace
from typing import Any, Literal

from torch import Tensor, nn

from onebasin.checkpoints import Architecture
from onebasin.checkpoints.messages import counted
from onebasin.cli.console import Console
from onebasin.cli.data import laid_out
from onebasin.errors import OneBasinError
from onebasin.forward.normalization import layers_with_statistics
from onebasin.measuring.repairing import Repaired, repair
from onebasin.merging.averages import Mean
from onebasin.training.datasets.data import Data

RepairName = Literal["none", "reset", "repair", "rescale"]


@dataclass(frozen=True)
class Repair:
    """A repair that is to be done, and the data for it.

    Args:
        method: of `onebasin.measuring.repairing.repair`; None for the one that suits the network.
        data: its training set is run through the networks.
    """

    method: Literal["reset", "repair", "rescale"] | None
    data: Data

    @classmethod
    def of(cls, name: RepairName | None, data: Data | None) -> Repair | None:
        """Return what the user asked for; one that suits where there is data and nothing was said.

        Raises:
            OneBasinError: when a repair is asked for and there is no data.
        """
        if name == "none" or (name is None and data is None):
            return None
        if data is None:
            raise OneBasinError(
                f"merge: --repair {name} runs the networks on data; name it with --data, such as "
                "--data digits"
            )
        return cls(name, data)

    def suited(self, module: nn.Module) -> Repair:
        """Return the same with a method.

        Of benchmarks/matchers.py `reset` did best for networks with running statistics, and
        `repair` for those without.

        Raises:
            OneBasinError: when statistics are to be reset and there are none.
        """
        has_statistics = bool(layers_with_statistics(module))
        if self.method == "reset" and not has_statistics:
            raise OneBasinError(
                "merge: --repair reset sets running statistics, and this architecture has none; "
                "choose --repair repair or rescale"
            )
        if self.method is not None:
            return self
        return replace(self, method="reset" if has_statistics else "repair")

    def laid_out(self, architecture: Architecture) -> Repair:
        """Return the same with data as the architecture takes them; labels are of no use.

        Raises:
            OneBasinError: when the architecture cannot be run on them.
        """
        data = laid_out(architecture, self.data, call="merge", has_classes=False)
        return replace(self, data=data)

    def run(
        self,
        architecture: Architecture,
        ends: Sequence[Mapping[str, Tensor]],
        weights: Sequence[float],
        console: Console,
    ) -> Repaired:
        """Return the mean of networks, repaired; each of their tensors is read once.

        Args:
            architecture: of all.
            ends: what to average, aligned.
            weights: of the mean.
            console: where progress and notes are shown.
        """
        assert self.method is not None, "see `suited`"
        # Resetting looks at the mean alone, so that the ends need not be in memory.
        held = [] if self.method == "reset" else [dict(end) for end in ends]
        batches = self.data.batches()
        total = len(batches) if isinstance(batches, Sized) else 0
        with console.progress(f"repairing by {self.method}") as progress:
            show = None if progress is None else lambda done: progress(done, total)
            found = repair(
                architecture.module,
                dict(Mean(held or ends, weights)),
                held,
                batches,
                method=self.method,
                weights=weights,
                progress=show,
            )
        for site, reason in found.skipped.items():
            console.note(f"{self.method}: {site}: {reason}")
        return found

    def to_json(self, found: Repaired) -> dict[str, Any]:
        """Return what was done as plain JSON values.

        Args:
            found: what `run` returned.
        """
        return {
            "method": self.method,
            "data": self.data.name,
            "normalize": self.data.normalization,
            "examples": self.data.num_examples(),
            "sites": list(found.sites),
            "skipped": dict(found.skipped),
        }

    def to_text(self, found: Repaired) -> str:
        """Return what was done as a line for people.

        Args:
            found: what `run` returned.
        """
        return f"{self.method}: {counted(len(found.sites), 'layer')} on {self.data.name}"
