"""A network whose parameters were repaired or refit after merging."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from torch import Tensor

from onebasin.errors import ArgumentError


@dataclass(frozen=True)
class RepairResult:
    """A repaired network.

    Args:
        params: parameters and buffers, under the names of the merged network.
        sites: repaired layers and norms as `module.operator`, or as
            `module.operator of weight` if a module has several.
        skipped: layers that were not repaired, with the reason.
        ridges: ridge of each refit layer, as a fraction of the variance of its inputs; infinite
            if a refit did not improve it. Empty for other methods.
    """

    params: dict[str, Tensor]
    sites: tuple[str, ...]
    skipped: Mapping[str, str] = field(default_factory=dict)
    ridges: Mapping[str, float] = field(default_factory=dict)


def check_found(sites: Collection[object], skipped: Mapping[str, str], missing: str) -> None:
    """Check that a model has layers to repair.

    Args:
        sites: the layers.
        skipped: reasons why others cannot be repaired, by label.
        missing: what the model has none of, for the message.

    Raises:
        OneBasinError: there are none; the message has the reasons.
    """
    if not sites:
        reasons = "; ".join(f"{label!r}: {reason}" for label, reason in skipped.items())
        raise ArgumentError(f"the model has no {missing}" + (f" ({reasons})" if reasons else ""))
