"""Zhou et al., Definition 4: commutativity of linear layers between connected networks."""

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
    what="the sums with own and with exchanged inputs",
    first=1,
)
ALSO = ("activations", "commutativity")
"""Further matchers: activation matching shrinks the other factor, the last one shrinks the product.
"""


def tasks(config: Config) -> list[Task]:
    """Return commutativity and the barrier of every pair."""
    return measured(config, "commutativity")


@excluding_digits
def verdict(rows: Sequence[Row]) -> Verdict:
    """Commutativity holds for connected pairs and not for independent pairs, in every evaluable
    setting.

    Layers count from the second on, because both networks have the same inputs. The distance of
    connected pairs, averaged over pairs and layers, is at most 0.1. The distance of independent
    pairs is at least five times as large. A setting needs two connected and two independent pairs.
    Pairs aligned by other methods than weight matching are shown only.
    """
    return CONDITION.judge(rows)


STUDY = Study(
    name="commutativity",
    paper=PAPER,
    item="Definition 4",
    claim="For linearly connected networks, every linear layer commutes: "
    "W_A H_A + W_B H_B = W_A H_B + W_B H_A for the weights W and the inputs H of A and B.",
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
