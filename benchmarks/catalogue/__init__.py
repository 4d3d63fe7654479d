"""Models for tests of the symmetry inference, built without the internet.

The catalogue selects the models, their tiny configurations and their inputs. `entries()` lists
them. A library is imported only when its entries are listed or built.
"""

from __future__ import annotations

from .entry import Entry
from .timm_models import timm_entries
from .torchvision_models import load_torchvision, torchvision_entries
from .transformers_entries import transformers_entries

LIBRARIES = {
    "torchvision": torchvision_entries,
    "timm": timm_entries,
    "transformers": transformers_entries,
}

__all__ = ["LIBRARIES", "Entry", "entries", "load_torchvision"]


def entries(library: str | None = None) -> list[Entry]:
    """The catalogue's entries, of one library or of all of them.

    Raises:
        KeyError: if `library` is none of `LIBRARIES`.
    """
    chosen = LIBRARIES if library is None else {library: LIBRARIES[library]}
    return [entry for load in chosen.values() for entry in load()]
