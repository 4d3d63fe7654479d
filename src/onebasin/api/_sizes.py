"""Merged networks that are larger than each of their sources."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

from torch import Tensor

from onebasin._text import counted
from onebasin.api._data import laid_out
from onebasin.api._reporter import Reporter
from onebasin.checkpoints import Architecture
from onebasin.data.data import Data
from onebasin.errors import ArgumentError
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
        architecture: Architecture,
        sources: Sequence[Mapping[str, Tensor]],
        weights: Sequence[float],
        symmetry: Symmetry,
        data: Data | None,
        reporter: Reporter,
    ) -> Enlarged:
        """Return the enlarged network.

        Args:
            architecture: architecture of all networks.
            sources: the aligned networks.
            weights: weights of the networks.
            symmetry: symmetry of the architecture.
            data: data whose training split is used; None if all units are kept.
            reporter: shows progress and notes.
        """
        batches: Any = [architecture.example_kwargs or architecture.example_args]
        if data is not None:
            batches = laid_out(architecture, data, has_classes=False).batches()
        with reporter.counting(f"merging at size {self.value:g}", batches) as progress:
            enlarged = merge_enlarged(
                architecture.module,
                [dict(source) for source in sources],
                symmetry,
                batches,
                size=self.value,
                weights=weights,
                progress=progress,
            )
        if enlarged.fixed:
            name, reason = next(iter(enlarged.fixed.items()))
            reporter.note(
                f"the units of {counted(len(enlarged.fixed), 'group')} are all merged "
                f"({name!r}: {reason})"
            )
        return enlarged
