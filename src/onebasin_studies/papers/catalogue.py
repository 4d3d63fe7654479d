"""The studies by name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from importlib import import_module
from types import MappingProxyType

from onebasin.errors import OneBasinError
from onebasin_studies.runtime.study import SCALES, Study

STUDIES: Mapping[str, str] = MappingProxyType(
    {
        "width": "entezari.width",
        "depth": "entezari.depth",
        "difficulty": "entezari.difficulty",
        "real-vs-model": "entezari.real_vs_model",
        "annealing": "entezari.annealing",
        "annealing-cost": "entezari.annealing_cost",
        "functional-difference": "entezari.functional_difference",
        "label-noise": "entezari.label_noise",
        "small-networks": "entezari.small_networks",
        "ensembles": "entezari.ensembles",
        "theorem": "entezari.theorem",
        "matchers": "git_rebasin.matchers",
        "epochs": "git_rebasin.epochs",
        "width-matched": "git_rebasin.width_matched",
        "split-data": "git_rebasin.split_data",
        "merge-many": "git_rebasin.merge_many",
        "symmetries": "git_rebasin.symmetries",
        "counterexample": "git_rebasin.counterexample",
        "plane": "git_rebasin.plane",
        "llfc": "llfc.llfc",
        "additivity": "llfc.additivity",
        "commutativity": "llfc.commutativity",
        "lemma": "llfc.lemma",
        "spawning": "llfc.spawning",
    }
)
"""The module in `onebasin_studies.papers` that defines `STUDY`, by the name of the study."""


def find_study(name: str) -> Study:
    """Return a study by name.

    Raises:
        OneBasinError: if the name is unknown; the message suggests a similar name or lists all
            names.

    Example:
        >>> find_study("symmetries").item
        'Table 1'
    """
    if name not in STUDIES:
        close = get_close_matches(name, STUDIES, n=1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        raise OneBasinError(f"study: unknown study {name!r}; {hint}known are {', '.join(STUDIES)}")
    study = import_module(f"onebasin_studies.papers.{STUDIES[name]}").STUDY
    assert isinstance(study, Study) and study.name == name
    return study


def find_studies(names: Iterable[str], scale: str) -> dict[str, Study]:
    """Return the studies with these names; "all" selects every study.

    Raises:
        OneBasinError: if a name or the scale is unknown, or `names` is empty.
    """
    if scale not in SCALES:
        raise OneBasinError(f"study: unknown scale {scale!r}; known are {', '.join(SCALES)}")
    asked = list(names)
    named = [name for name in dict.fromkeys(asked) if name != "all"]
    wanted = named if "all" not in asked else [*STUDIES, *(n for n in named if n not in STUDIES)]
    if not wanted:
        raise OneBasinError(f"study: name a study, or all; known are {', '.join(STUDIES)}")
    studies = {name: find_study(name) for name in wanted}
    for study in studies.values():
        study.config(scale)
    return studies
