"""The result of `merge`."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from onebasin._text import counted
from onebasin.api._alignment import Matched, matched_to_json
from onebasin.api._heads import head_files
from onebasin.api._repairs import Repair
from onebasin.api._sizes import SizedNetwork
from onebasin.api.reports import Report
from onebasin.api.results import ComputedNetwork, NetworkResult, load_params
from onebasin.checkpoints import check_writable
from onebasin.errors import ArgumentError, check_whole, public
from onebasin.evaluation._repair_result import RepairResult
from onebasin.matching import ManyMatching, Matching
from onebasin.merging._resizing import resize
from onebasin.symmetry import Permutation, Symmetry, Verification
from onebasin.symmetry.transformation import Transformation


@dataclass(frozen=True)
class Average:
    """An average of networks, and its computation.

    Args:
        params: its parameters and buffers.
        weights: weights of the networks.
        matched: the matching, or None if the networks were not aligned.
        repair: the repair, or None.
        repaired: the result of the repair, or None.
        sized: the network that is larger than its sources, or None.
        heads: the network with the last layer of each source; empty if they share one.
    """

    params: Mapping[str, Tensor]
    weights: Sequence[float]
    matched: Matched | None
    repair: Repair | None
    repaired: RepairResult | None
    sized: SizedNetwork | None = None
    heads: Sequence[Mapping[str, Tensor]] = ()


@dataclass(frozen=True, repr=False)
class Merged(NetworkResult):
    """A merged network; returned by `merge`.

    Args:
        network: the merged network.
        evaluation: loss and error of all networks, of the unaligned average, the result and the
            ensemble; None without data.
    """

    network: ComputedNetwork
    _average: Average
    evaluation: Report | None = None

    @property
    def weights(self) -> tuple[float, ...]:
        """The weights of the networks, with a sum of 1."""
        return tuple(self._average.weights)

    @property
    def permutations(self) -> tuple[Permutation, ...]:
        """The permutation of each network but the first; empty without alignment."""
        return tuple(each.permutation for each in self.transformations)

    @property
    def transformations(self) -> tuple[Transformation, ...]:
        """The transformation of each network but the first; empty without alignment."""
        matched = self._average.matched
        return () if matched is None else matched.from_others

    @property
    def symmetry(self) -> Symmetry | None:
        """The symmetry of the architecture, without groups that failed verification."""
        matched = self._average.matched
        return None if matched is None else matched.verified.symmetry

    @property
    def verification(self) -> Verification | None:
        """The verification of the symmetry, or None if it was skipped."""
        matched = self._average.matched
        return None if matched is None else matched.verified.verification

    @property
    def matching(self) -> Matching | ManyMatching | None:
        """The search: its objective over steps and whether it converged."""
        matched = self._average.matched
        return None if matched is None else matched.matching

    @property
    def repair(self) -> str | None:
        """The name of the repair: "reset", "repair", "rescale" or "refit"; None without one."""
        return None if self._average.repair is None else self._average.repair.method

    @property
    def num_separate(self) -> Mapping[str, int]:
        """For each group the number of units that are kept separate; empty at size 1."""
        sized = self._average.sized
        return {} if sized is None else sized.enlarged.num_separate

    @property
    def arch_args(self) -> Mapping[str, Any] | None:
        """The changed arguments that build an enlarged named architecture, such as `width`.

        None at size 1, for modules, and if no arguments build it; then use `onebasin.resize`.
        """
        sized = self._average.sized
        return None if sized is None else sized.arguments

    @property
    def heads(self) -> tuple[Mapping[str, Tensor], ...]:
        """With `heads="own"`, the complete network with the last layer of each source.

        The first one is `state_dict`. All have the same body.
        """
        own = self._average.heads
        return (self.state_dict, *own[1:]) if own else ()

    @property
    def head_files(self) -> tuple[Path, ...]:
        """The written files of all `heads` but the first."""
        return tuple(head_files(self.output, len(self._average.heads)))

    @public
    def load_into(self, module: nn.Module, *, head: int = 0) -> nn.Module:
        """Copy the network into a module of the same architecture, and return the module.

        With `size=` above 1 the module is not changed. The returned module is a copy with the sizes
        of the network; see `onebasin.resize`.

        Args:
            module: the module.
            head: with `heads="own"`, index of the source whose last layer is used.

        Raises:
            OneBasinError: the tensors do not fit the module, or `head` is not a valid index.
        """
        number = max(1, len(self._average.heads))
        if check_whole("head", head, least=0) >= number:
            raise ArgumentError(
                f"head={head!r} is not an index of {counted(number, 'head')}; use 0 to {number - 1}"
            )
        if self._average.sized is not None:
            return resize(module, self.state_dict)
        return load_params(self.heads[head] if head else self.state_dict, module)

    @public
    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the network as the command does: names and dtypes as in the input file.

        With `heads="own"`, further files such as `merged-head-2.pt` hold the other `heads`.

        Args:
            path: a `.safetensors` or `.pt` file, or a folder. An existing checkpoint file is
                replaced; inputs, other files and folders with files are not.

        Raises:
            OneBasinError: a path cannot be written, or must not be replaced.
        """
        further = head_files(path, len(self._average.heads))
        for file in further:
            check_writable(file)
        super().save(path)
        for file, head in zip(further, self.heads[1:], strict=True):
            self.network.write(file, head)

    def summary(self) -> str:
        """Return the text that `onebasin merge` prints."""
        average = self._average
        parts = [average.matched.to_text() if average.matched else "averaged without aligning"]
        if average.sized is not None:
            parts.append(average.sized.to_text())
        if average.repair and average.repaired:
            parts.append(average.repair.to_text(average.repaired))
        if average.heads:
            parts.append(f"{len(average.heads)} last layers, one for each network")
        return "\n".join([*parts, *([self.evaluation.to_text()] if self.evaluation else [])])

    def to_json(self) -> dict[str, Any]:
        """Return the result as plain JSON values."""
        average = self._average
        repair, repaired = average.repair, average.repaired
        return {
            **self.files_to_json(),
            "heads": list(map(str, self.head_files)),
            "weights": list(average.weights),
            **matched_to_json(average.matched),
            "repair": repair.to_json(repaired) if repair and repaired else None,
            "size": None if average.sized is None else average.sized.to_json(),
            "evaluation": None if self.evaluation is None else self.evaluation.to_json(),
        }
