"""Git Re-Basin, Table 3: five networks merged into one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from onebasin_studies.papers.git_rebasin import PAPER
from onebasin_studies.papers.git_rebasin.settings import (
    DIGITS_MLP,
    MNIST_MLP,
    MNIST_MLP_SMALL,
    Setting,
)
from onebasin_studies.runtime.drawing import panels
from onebasin_studies.runtime.statistics import grouped, select, summarize, values_of
from onebasin_studies.runtime.study import Picture, Row, Study, Table, Verdict, excluding_digits
from onebasin_studies.runtime.task import Task
from onebasin_studies.tasks.merging import compare_networks, merge_networks

SPLITS = ("train", "test")
MERGED, ENSEMBLE, UNMATCHED = "merged", "probabilities", "weights"
WORDS = {MERGED: "merged", ENSEMBLE: "ensemble", UNMATCHED: "merged unmatched"}
LEAST_MEMBERS = 5
LOST_ACCURACY = 0.01
PUBLISHED = (
    "Published: test loss .111 to .153, merged .0727; accuracy .9854 to .9871, merged .9831."
)


@dataclass(frozen=True)
class Config:
    """Sets of networks to merge.

    Args:
        setting: setting of the networks.
        num_members: number of networks of a set.
        num_sets: number of disjoint sets.
    """

    setting: Setting
    num_members: int = 5
    num_sets: int = 1


def tasks(config: Config) -> list[Task]:
    """Return a comparison of the members with the merged network per set and split."""
    setting, targets = config.setting, []
    networks = setting.networks(range(config.num_members * config.num_sets))
    for number in range(config.num_sets):
        start = number * config.num_members
        members = networks[start : start + config.num_members]
        merged = Task.of(merge_networks, **setting.matching, members=members, method="many")
        for split in SPLITS:
            comparison = Task.of(
                compare_networks,
                **setting.matching,
                members=members,
                names=[f"input {i}" for i in range(1, config.num_members + 1)],
                others=[merged],
                other_names=[MERGED],
                split=split,
            )
            targets.append(comparison.with_labels(set=number, data=setting.data_name))
    return targets


def _candidates(rows: Sequence[Row]) -> list[Row]:
    return select(rows, row="candidate")


@excluding_digits
def verdict(rows: Sequence[Row]) -> Verdict:
    """In every set the merged test loss is below that of all inputs.

    The merged test accuracy is at most one percentage point below the mean of the inputs. A set has
    at least five networks.
    """
    parts, holds = [], True
    for (number,), part in grouped(select(_candidates(rows), split="test"), "set").items():
        inputs, (merged,) = select(part, kind="member"), select(part, name=MERGED)
        if len(inputs) < LEAST_MEMBERS:
            return Verdict.inconclusive("Fewer than five networks were merged.")
        losses, accuracy = values_of(inputs, "loss"), values_of(inputs, "accuracy")
        lost = sum(accuracy) / len(accuracy) - merged["accuracy"]
        holds &= merged["loss"] < min(losses) and lost <= LOST_ACCURACY
        parts.append(
            f"set {number + 1}, {len(inputs)} inputs: loss {min(losses):.4f} to {max(losses):.4f}, "
            f"merged {merged['loss']:.4f}; accuracy {min(accuracy):.4f} to {max(accuracy):.4f}, "
            f"merged {merged['accuracy']:.4f}"
        )
    if not parts:
        return Verdict.inconclusive("No networks were merged.")
    return Verdict.of(holds, f"On the test set, {'; '.join(parts)}. {PUBLISHED}")


def figures(rows: Sequence[Row]) -> list[Picture]:
    """Draw the test loss against the accuracy: inputs, merged networks, ensembles."""
    figure, (ax,) = panels()
    test = select(_candidates(rows), split="test")
    series: dict[str, list[Row]] = {
        "inputs": select(test, kind="member"),
        "merged": select(test, name=MERGED),
        "ensemble": select(test, name=ENSEMBLE),
    }
    for (label, part), marker in zip(series.items(), "oDs", strict=True):
        ax.plot(values_of(part, "loss"), values_of(part, "accuracy"), marker, label=label)
    ax.set_xlabel("test loss")
    ax.set_ylabel("test accuracy")
    ax.legend(frameon=False)
    listing = "; ".join(
        f"{label}: loss {_range(part, 'loss')}, accuracy {_range(part, 'accuracy')}"
        for label, part in series.items()
        if part
    )
    alt = f"Test accuracy against test loss, a point per network. {listing or 'Nothing measured'}."
    caption = (
        "Better is to the left for loss, and up for accuracy. An ensemble runs all input networks."
    )
    return [Picture("merged", figure, alt, caption)]


def _range(rows: Sequence[Row], column: str) -> str:
    values = values_of(rows, column)
    return f"{min(values):.4f} to {max(values):.4f}"


def table(rows: Sequence[Row]) -> Table:
    """Return Table 3: loss, accuracy and calibration of the inputs and their combinations."""
    header = ("set", "network", "train loss", "train acc.", "test loss", "test acc.", "test ECE")
    columns = [(s, c) for s in SPLITS for c in ("loss", "accuracy")] + [("test", "ece")]
    body: list[tuple[Any, ...]] = []
    for (number, kind, name), part in grouped(_candidates(rows), "set", "kind", "name").items():
        if kind == "logits":
            continue
        means = [summarize(select(part, split=split), column) for split, column in columns]
        cells = (f"{s[0].mean:.4f}" if s else "" for s in means)
        body.append((number + 1, WORDS.get(name, name), *cells))
    return Table(header, body, PUBLISHED)


STUDY = Study(
    name="merge-many",
    paper=PAPER,
    item="Table 3",
    claim="Five MLPs trained on MNIST merge into one with a lower test loss than each of them, at "
    "nearly the same accuracy.",
    scales={
        "smoke": Config(DIGITS_MLP),
        "small": Config(MNIST_MLP_SMALL, num_sets=2),
        "paper": Config(MNIST_MLP),
    },
    tasks=tasks,
    verdict=verdict,
    figures=figures,
    table=table,
)
