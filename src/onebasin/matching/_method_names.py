"""Aliases of the matching methods, and error messages for unknown names."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from difflib import get_close_matches
from types import MappingProxyType

ALIASES: Mapping[str, str] = MappingProxyType(
    {
        "git-rebasin": "weights",
        "git-re-basin": "weights",
        "rebasin": "weights",
        "weight-matching": "weights",
        "weights-matching": "weights",
        "coordinate-descent": "weights",
        "activation-matching": "activations",
        "activation": "activations",
        "correlation": "activations",
        "features": "activations",
        "ste": "straight-through",
        "straight-through-estimator": "straight-through",
        "sinkhorn-rebasin": "sinkhorn",
        "sinkhorn-re-basin": "sinkhorn",
        "c2m3": "cycle-consistent",
        "merge-many": "many",
        "simulated-annealing": "annealing",
        "brute-force": "exhaustive",
    }
)
"""Names from papers and other tools, with the equivalent method."""

EXPLANATIONS: Mapping[str, str] = MappingProxyType(
    {
        "repair": "REPAIR corrects statistics after matching: use merge with "
        "repair='repair' or barrier with normalization='repair'",
        "reset": "resetting statistics is not matching: use merge with repair='reset' or "
        "barrier with normalization='reset'",
        "zipit": "ZipIt! merges units within one network and is not available; the nearest "
        "method is activations",
        "pleas": "PLeaS is partial matching with a least-squares fit and is not available; the "
        "nearest method is activations",
        "otfusion": "OT fusion is not available; the nearest method is activations",
        "fisher": "Fisher merging does not match units and is not available; pass weights= to "
        "merge",
        "ties": "TIES merges fine-tuned models without matching and is not available",
        "dare": "DARE merges fine-tuned models without matching and is not available",
        "none": "use align=False to leave the networks unaligned",
    }
)
"""Names from papers that are not matching methods of onebasin, with the alternative."""


def canonical_name(name: str) -> str:
    """Return the registered name of a method; a name without an alias is returned unchanged.

    Example:
        >>> canonical_name("Git_ReBasin"), canonical_name("weights"), canonical_name("other")
        ('weights', 'weights', 'other')
    """
    return ALIASES.get(_plain(name), name)


def unknown_name(name: str, known: Collection[str]) -> str:
    """Return the error message for an unregistered name.

    Args:
        name: the unknown name.
        known: the registered names.

    Example:
        >>> unknown_name("weigths", ["weights", "many"])
        "unknown method 'weigths'; did you mean weights? Known are: weights, many"
    """
    explained = EXPLANATIONS.get(_plain(name).rstrip("!"))
    if explained is not None:
        return f"{name!r} is not a matching method of onebasin: {explained}"
    candidates = {each: each for each in known} | {
        alias: target for alias, target in ALIASES.items() if target in known
    }
    close = get_close_matches(_plain(name), candidates, n=3, cutoff=0.6)
    nearest = " or ".join(dict.fromkeys(candidates[each] for each in close))
    hint = f"did you mean {nearest}? Known are: " if nearest else "known are: "
    return f"unknown method {name!r}; {hint}{', '.join(known)}"


def _plain(name: str) -> str:
    return name.lower().replace("_", "-").replace(" ", "-")
