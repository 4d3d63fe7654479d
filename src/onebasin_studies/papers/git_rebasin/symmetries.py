"""Git Re-Basin, Table 1: the number of equivalent networks under permutations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from onebasin.networks.catalogue import build_network
from onebasin.symmetry import infer_symmetry, verify
from onebasin_studies.papers.git_rebasin import PAPER
from onebasin_studies.runtime.drawing import panels
from onebasin_studies.runtime.study import Picture, Row, Study, Table, Verdict
from onebasin_studies.runtime.task import Result, Task

NETWORKS: Mapping[str, Mapping[str, Any]] = {
    "MLP 784-512-512-512-10": {"name": "mlp", "in_features": 784},
    "VGG16": {"name": "vgg16", "hidden": 4096},
    "ResNet50": {"name": "resnet50"},
}
PUBLISHED = {"MLP 784-512-512-512-10": 3498, "VGG16": 35160, "ResNet50": 55109}
TOLERANCE = 0.001


@dataclass(frozen=True)
class Config:
    """The networks, and whether to verify their symmetry in float64."""

    networks: tuple[str, ...] = tuple(NETWORKS)
    verifies: bool = True
    seed: int = 0


def count_symmetries(*, network: Mapping[str, Any], verifies: bool, seed: int) -> Result:
    """Infer the symmetry of a network; compute the log10 of its order.

    Args:
        network: name and arguments of a built-in network.
        verifies: whether to verify the symmetry on the network in float64.
        seed: random seed of the verification.
    """
    arguments = {key: value for key, value in network.items() if key != "name"}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module: Any = build_network(network["name"], **arguments).eval()
        inputs = (torch.randn(2, *module.input_shape),)
    symmetry = infer_symmetry(module, inputs)
    verification = verify(symmetry, module, inputs, seed=seed) if verifies else None
    row = {
        "groups": len(symmetry.groups),
        "units": sum(group.size for group in symmetry.groups.values()),
        "log10_order": symmetry.log10_order,
        "failed_groups": None if verification is None else len(verification.failed_groups),
        "max_error": None if verification is None else verification.max_error,
    }
    return Result([row])


def tasks(config: Config) -> list[Task]:
    """Return one task per network."""
    options = {"verifies": config.verifies, "seed": config.seed}
    return [
        Task.of(count_symmetries, network=NETWORKS[name], **options).with_labels(
            network=name, published=PUBLISHED[name]
        )
        for name in config.networks
    ]


def verdict(rows: Sequence[Row]) -> Verdict:
    """Every published logarithm is within 0.1 % of the logarithm of the inferred order.

    If the symmetry was verified on the network, no group failed: a failed group is not a symmetry.
    """
    if len(rows) < len(NETWORKS):
        return Verdict.inconclusive(f"{len(rows)} of {len(NETWORKS)} networks were counted.")
    listing = [f"{r['network']} {r['log10_order']:.2f} ({r['published']})" for r in rows]
    wrong = [row["network"] for row in rows if _deviation(row) > TOLERANCE]
    text = f"log10 of the inferred order (published): {'; '.join(listing)}."
    failed = [row["network"] for row in rows if row["failed_groups"]]
    if failed:
        return Verdict.of(False, f"{text} Groups that failed verification: {', '.join(failed)}.")
    if not wrong:
        return Verdict.of(True, f"{text} All agree within 0.1 %.")
    return Verdict.of(
        False,
        f"{text} Off by more than 0.1 %: {', '.join(wrong)}. Published numbers are floored layer "
        "by layer, and that of ResNet50 counts the outputs of all blocks as free; blocks that add "
        "to one residual stream must move together.",
    )


def _deviation(row: Row) -> float:
    return abs(row["log10_order"] / row["published"] - 1)


def figures(rows: Sequence[Row]) -> list[Picture]:
    """Draw inferred and published logarithms side by side."""
    figure, (ax,) = panels(height=2.6)
    positions = range(len(rows))
    series = [("inferred", "log10_order", -0.2), ("published", "published", 0.2)]
    for label, column, shift in series:
        ax.barh([p + shift for p in positions], [row[column] for row in rows], 0.36, label=label)
    ax.set_yticks(list(positions), [row["network"].partition(" ")[0] for row in rows])
    ax.invert_yaxis()
    ax.grid(axis="x")
    ax.grid(visible=False, axis="y")
    ax.set_xlabel("log10 of the number of equivalent networks")
    ax.legend(frameon=False)
    listing = (
        f"{r['network']}: {r['log10_order']:.0f} inferred, {r['published']} published" for r in rows
    )
    alt = f"Bars of the log10 of each network's symmetry. {'; '.join(listing)}."
    return [Picture("orders", figure, alt, "Equivalent copies of one network.")]


def table(rows: Sequence[Row]) -> Table:
    """Return Table 1, with the number of groups and the verification error."""
    header = ("network", "groups", "units", "log10, inferred", "published", "verification error")
    body = [
        (
            row["network"],
            row["groups"],
            row["units"],
            f"{row['log10_order']:.2f}",
            row["published"],
            "not run" if row["max_error"] is None else f"{row['max_error']:.0e}",
        )
        for row in rows
    ]
    return Table(header, body, "Verification error: largest change of the outputs, in float64.")


STUDY = Study(
    name="symmetries",
    paper=PAPER,
    item="Table 1",
    claim="An MLP, a VGG16 and a ResNet50 have 10^3498, 10^35160 and 10^55109 equivalent copies.",
    scales={"smoke": Config(verifies=False), "small": Config(), "paper": Config()},
    tasks=tasks,
    verdict=verdict,
    figures=figures,
    table=table,
)
