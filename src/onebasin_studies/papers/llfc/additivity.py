"""Zhou et al., Definition 3: weak additivity of ReLUs between connected networks."""

from __future__ import annotations

from collections.abc import Sequence

from onebasin_studies.papers.llfc import PAPER
from onebasin_studies.papers.llfc.claims import Condition
from onebasin_studies.papers.llfc.pairs import PAPER_CONFIG, SMALL, SMOKE, Config, measured
from onebasin_studies.runtime.study import Row, Study, Verdict, excluding_digits
from onebasin_studies.runtime.task import Task

CONDITION = Condition(
    name="weak additivity",
    measure="distance",
    alpha=0.5,
    limit=0.1,
    times=2.0,
    what="σ of the interpolated inputs and interpolated outputs of σ",
)


def tasks(config: Config) -> list[Task]:
    """Return additivity and the barrier of every pair."""
    return measured(config, "additivity")


@excluding_digits
def verdict(rows: Sequence[Row]) -> Verdict:
    """Additivity holds for connected pairs and not for independent pairs, in every evaluable
    setting.

    At alpha 1/2, the distance of connected pairs, averaged over pairs and ReLUs, is at most 0.1.
    The distance of independent pairs is at least twice as large. A setting needs two connected and
    two independent pairs.
    """
    return CONDITION.judge(rows)


STUDY = Study(
    name="additivity",
    paper=PAPER,
    item="Definition 3",
    claim="For linearly connected networks, every ReLU is weakly additive: applied to the "
    "interpolated inputs, it returns the interpolated outputs.",
    scales={"smoke": SMOKE, "small": SMALL, "paper": PAPER_CONFIG},
    tasks=tasks,
    verdict=verdict,
    figures=CONDITION.figures,
    table=CONDITION.table,
)
