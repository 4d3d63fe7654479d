"""Zhou et al., commutativity: connected networks may change their layers' inputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from onebasin_studies.papers.llfc import PAPER
from onebasin_studies.papers.llfc.claims import Condition
from onebasin_studies.papers.llfc.pairs import PAPER_CONFIG, SMALL, SMOKE, Config, measured
from onebasin_studies.runtime.study import Row, Study, Verdict, excluding_digits
from onebasin_studies.runtime.task import Task

CONDITION = Condition(
    name="commutativity",
    measure="distance",
    alpha=None,
    limit=0.1,
    times=5.0,
    what="own and exchanged inputs",
    first=1,
)
ALSO = ("activations", "commutativity")
"""Activation matching shrinks the other factor; the last shrinks the product of both."""


def tasks(config: Config) -> list[Task]:
    """Return commutativity and the barrier of every pair."""
    return measured(config, "commutativity")


@excluding_digits
def verdict(rows: Sequence[Row]) -> Verdict:
    """In every setting that can be judged, commutativity holds for connected pairs, not others.

    Layers count from the second on, as both networks have the same inputs. The distance, mean
    over pairs: of connected ones at most 0.1 on average over the layers, and that of pairs
    apart at least five times as large. A setting needs two connected pairs and two apart. Pairs
    moved by other matchers than weight matching are shown and not judged.
    """
    return CONDITION.judge(rows)


STUDY = Study(
    name="commutativity",
    paper=PAPER,
    item="Definition 4",
    claim="Between linearly connected networks every linear layer commutes: the weights of both, "
    "applied to the inputs of each other, add up to the same as applied to their own.",
    scales={
        "smoke": replace(SMOKE, also=ALSO),
        "small": replace(SMALL, also=ALSO),
        "paper": PAPER_CONFIG,
    },
    tasks=tasks,
    verdict=verdict,
    figures=CONDITION.figures,
    table=CONDITION.table,
)
