"""Merged networks that are larger than each of their sources."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import isfinite
from typing import Any

from torch import Tensor

from onebasin._text import counted
from onebasin.api._architectures import AnyArchitecture, NamedArchitecture
from onebasin.api._job import Job
from onebasin.api._repairs import Repair
from onebasin.api._widths import changed_arguments, width_arguments
from onebasin.checkpoints import Architecture
from onebasin.errors import ArgumentError
from onebasin.evaluation._repair import OutputKind
from onebasin.merging.enlarging import Enlarged, merge_enlarged
from onebasin.symmetry import Symmetry


@dataclass(frozen=True)
class Size:
    """The size of the merged network.

    Args:
        value: the size as a multiple of that of one network.
        keeps_all: whether it is the number of networks, so that all units are kept.
    """

    value: int | float
    keeps_all: bool

    @classmethod
    def of(
        cls, value: Any, num_networks: int, *, data: Any, align: bool, repair: str
    ) -> Size | None:
        """Return the size that the user chose, or None for that of one network.

        Raises:
            OneBasinError: the size is not between 1 and the number of networks, or it does not go
                together with the other arguments.
        """
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not (is_number and isfinite(value) and 1 <= value <= num_networks):
            raise ArgumentError(
                f"size={value!r} is not a number from 1 to {num_networks}, the number of networks; "
                "choose such as size=1.2"
            )
        if value == 1:
            return None
        keeps_all = value == num_networks
        if not align:
            raise ArgumentError("size= needs aligned networks; remove align=False, or use size=1")
        if data is None and not keeps_all:
            raise ArgumentError(
                f"size={value!r} selects units by their features on data; pass data="
            )
        if repair not in ("auto", "refit"):
            raise ArgumentError(
                f"size={value!r} refits all layers (got repair={repair!r}); remove repair="
            )
        return cls(value, keeps_all)

    def run(
        self,
        job: Job,
        architecture: Architecture,
        sources: Sequence[Mapping[str, Tensor]],
        weights: Sequence[float],
        symmetry: Symmetry,
        repair: Repair | None,
    ) -> SizedNetwork:
        """Return the enlarged network.

        Args:
            job: the networks, as the user gave them.
            architecture: the built architecture.
            sources: the aligned networks.
            weights: weights of the networks.
            symmetry: symmetry of the architecture.
            repair: the refit; None without data.

        Raises:
            OneBasinError: the model cannot be enlarged, or a configuration file cannot express it.
        """
        widths = width_arguments(job.architecture, symmetry, job.reporter)
        is_folder = job.architecture.spec.startswith("hf:")
        if is_folder and not widths:
            raise ArgumentError(
                f"size={self.value!r} needs an entry of config.json that is the number of units of "
                "a group, and there is none; use size=1"
            )
        batches: Any = [(architecture.example_kwargs or architecture.example_args, None)]
        outputs: OutputKind = "values"
        if repair is not None:
            batches, outputs = repair.data.batches(), repair.outputs
        used = [number for number, weight in enumerate(weights) if weight]
        with job.reporter.counting(f"merging at size {self.value:g}", batches) as progress:
            enlarged = merge_enlarged(
                architecture.module,
                [dict(sources[number]) for number in used],
                symmetry,
                batches,
                size=self.value,
                weights=[weights[number] for number in used],
                equal=[each.groups for each in widths] or None,
                outputs=outputs,
                progress=progress,
            )
        if repair is not None and repair.tune_norms and enlarged.repaired is not None:
            params = repair.tuned(
                enlarged.module,
                enlarged.params,
                sources,
                weights,
                source_model=architecture.module,
            )
            enlarged = replace(enlarged, params=params)
        changed = changed_arguments(widths, enlarged.num_separate, len(used))
        if is_folder and changed is None:
            raise ArgumentError(
                f"size={self.value!r} keeps units that config.json cannot express; choose a "
                "smaller size, such as 1.2"
            )
        self._note_merged(enlarged, job)
        return SizedNetwork(enlarged, changed, job.architecture)

    def _note_merged(self, enlarged: Enlarged, job: Job) -> None:
        """Note that no units are separate, or that some groups cannot have separate units."""
        if not any(enlarged.num_separate.values()):
            job.reporter.note(
                f"size={self.value!r} is too small to keep a unit of every network; "
                "choose a larger size"
            )
        if enlarged.fixed:
            name, reason = next(iter(enlarged.fixed.items()))
            job.reporter.note(
                f"the units of {counted(len(enlarged.fixed), 'group')} are all merged "
                f"({name!r}: {reason})"
            )


@dataclass(frozen=True)
class SizedNetwork:
    """An enlarged network, and what builds it.

    Args:
        enlarged: the network.
        arguments: changed arguments of the architecture; None if no arguments build it.
        architecture: architecture of the sources, as the user gave it.
    """

    enlarged: Enlarged
    arguments: Mapping[str, int] | None
    architecture: AnyArchitecture

    @property
    def params(self) -> Mapping[str, Tensor]:
        """Parameters and buffers."""
        return self.enlarged.params

    @property
    def metadata(self) -> dict[str, str]:
        """The record of the enlarged architecture, for output files; empty if none builds it."""
        if self.arguments is None or not isinstance(self.architecture, NamedArchitecture):
            return {}
        arguments = {**self.architecture.arguments, **self.arguments}
        return replace(self.architecture, arguments=arguments).metadata

    def to_text(self) -> str:
        """Return a summary as one line."""
        text = self.enlarged.to_text()
        if self.arguments is None:
            return f"{text}; build it with onebasin.resize"
        changed = " ".join(f"{name}={value}" for name, value in self.arguments.items())
        return f"{text}; build it with {changed}" if changed else text

    def to_json(self) -> dict[str, Any]:
        """Return a summary as plain JSON values."""
        arguments = None if self.arguments is None else dict(self.arguments)
        return {**self.enlarged.to_json(), "arch_args": arguments}
