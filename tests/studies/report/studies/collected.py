"""An artificial study for tests of reports: figures, a wide table, long words, a failure."""

from dataclasses import dataclass, replace

from onebasin_studies import Picture, Study, Table, Verdict
from onebasin_studies.papers.collection import CollectedStudy
from onebasin_studies.runtime.drawing import describe_means, draw_means, panels
from onebasin_studies.runtime.statistics import summarize, values_of
from onebasin_studies.runtime.store import Failure

ROWS = [
    {"study": "width", "scale": "small", "width": width, "pair": pair, "barrier": pair / width}
    for width in (4, 16, 64)
    for pair in range(3)
]


@dataclass(frozen=True)
class Config:
    """Settings that are long to read."""

    widths: tuple[int, ...] = tuple(range(2, 200, 3))
    data: str = "an-unusually-long-name-of-a-dataset-without-any-place-to-break-it-at-all"


def verdict(rows):
    """The mean is
    below 1 & falls.

    Over all widths.
    """
    mean = sum(values_of(rows, "barrier")) / len(rows)
    return Verdict.of(mean < 1, f"Mean barrier {mean:.3f} < 1 & <b>falls</b>.")


def figures(rows):
    figure, (ax,) = panels()
    summaries = summarize(rows, "barrier", ["width"])
    draw_means(ax, summaries, "width", label="barrier")
    ax.set_xscale("log", base=2)
    ax.legend()
    alt = f'Barrier against width, "falling": {describe_means(summaries, "width")}.'
    return [Picture("width", figure, alt, "Mean & interval over 3 pairs.")]


def table(rows):
    header = [f"a column of number {n}" for n in range(12)]
    means = summarize(rows, "barrier", ["width"])
    return Table(
        header, [[mean, *(f"{n + 0.123456:.6f}" for n in range(11))] for mean in means], "Wide."
    )


STUDY = Study(
    name="width",
    paper="Somebody et al. 2022, A Title",
    item="Figure 2",
    claim="The barrier <i>falls</i> with the width.",
    scales={"smoke": Config(), "small": Config()},
    tasks=lambda config: [],
    verdict=verdict,
    figures=figures,
    table=table,
)
FAILURE = Failure("00", "measure(x=1)", "ValueError: <no>", "Traceback\n" + "  File " * 90)
FOUND = CollectedStudy(
    study=STUDY,
    scale="small",
    rows=ROWS,
    num_tasks=12,
    num_done=11,
    num_missing=1,
    failures=[FAILURE],
    seconds=4000.0,
    elapsed=1500.0,
    finished=0.0,
    versions={"python": ["3.11.7"], "torch": ["2.12.0", "2.13.0+cpu"]},
    machines=["small (4 cores)"],
    seeds=[0, 1, 2, 7, 9, 10],
)
EMPTY = replace(FOUND, rows=[], num_done=0, num_missing=3, failures=[], finished=None)
