"""Training on named data: networks, histories and learning curves in a folder."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from onebasin._text import columns
from onebasin.api import DataSource
from onebasin.api._data import fitted, inputs_text
from onebasin.checkpoints import ArchitectureRecord, atomic_path, build_architecture
from onebasin.checkpoints._arguments import parse_arguments
from onebasin.data._conversion import to_dataset
from onebasin.data._fitting import fit_data
from onebasin.data.augmentation import Augmentation
from onebasin.data.data import Data
from onebasin.errors import OneBasinError, OneBasinWarning
from onebasin.evaluation.curve_figures import ALIGNED, NAIVE
from onebasin.evaluation.plotting import SETTINGS, save_figure
from onebasin_studies.training import GroupProgress, train
from onebasin_studies.training.folder import CURVES, HISTORY
from onebasin_studies.training.trained import Metric, TrainedNetwork

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

METRICS: tuple[Metric, ...] = ("loss", "error")

REMEDY = "another --arch-arg"


@dataclass(frozen=True)
class TrainingReport:
    """The result of `run_training`.

    Args:
        networks: the trained networks, in the order of the seeds.
        architecture: ARCH.
        data: name of the data.
        folder: output folder.
    """

    networks: Sequence[TrainedNetwork]
    architecture: str
    data: str
    folder: Path

    @property
    def all_diverged(self) -> bool:
        """Whether all networks diverged."""
        return all(network.status == "diverged" for network in self.networks)

    def summary(self) -> str:
        """Return the text that `onebasin train` prints."""
        header = ("seed", "epochs", "loss", "error", "test loss", "test error", "")
        rows = [header, *map(_row, self.networks)]
        first = self.networks[0]
        reason = f"trained by engine {first.engine}: {first.reason}"
        return f"{columns(rows)}\n{reason}\nwrote {self.folder}"

    def to_json(self) -> dict[str, Any]:
        """Return the result as plain JSON values."""
        return {
            "command": "train",
            "architecture": self.architecture,
            "data": self.data,
            "engine": self.networks[0].engine,
            "reason": self.networks[0].reason,
            "output": str(self.folder),
            "networks": [self._network_to_json(network) for network in self.networks],
        }

    def _network_to_json(self, network: TrainedNetwork) -> dict[str, Any]:
        last = network.rows()[-1] if network.history else {"seed": network.seed, "epoch": 0}
        return {
            "file": str(self.folder / f"seed-{network.seed}.safetensors"),
            "status": network.status,
            **last,
            "seconds": network.seconds,
        }


def run_training(
    arch: str,
    source: DataSource,
    folder: Path,
    *,
    seeds: Iterable[int],
    arch_args: Iterable[str] | None = None,
    augment: bool = False,
    evaluate: bool = True,
    on_epoch_end: Callable[[GroupProgress], None] | None = None,
    **options: Any,
) -> TrainingReport:
    """Train networks and write them, their history and learning curves into a folder.

    Args:
        arch: ARCH.
        source: training data.
        folder: output folder.
        seeds: random seed of each network.
        arch_args: `KEY=VALUE` texts.
        augment: whether to augment images.
        evaluate: whether to evaluate the networks on the test split after every epoch.
        on_epoch_end: a callback for each group after each epoch.
        **options: further arguments of `onebasin_studies.training.train`.

    Raises:
        OneBasinError: the architecture, the data or an option is invalid.
    """
    given, module, record = _prepare(arch, source, arch_args)
    if given.test is None:
        warnings.warn(
            f"{given.name} has no test split; networks are not evaluated",
            OneBasinWarning,
            stacklevel=2,
        )
    data = to_dataset(given)
    networks = train(
        module,
        data,
        seeds=seeds,
        augment=Augmentation() if augment else None,
        evaluate=evaluate and given.test is not None,
        checkpoints=folder,
        metadata=record.to_metadata(),
        on_epoch_end=on_epoch_end,
        **options,
    )
    _write_history(networks, folder)
    _draw_curves(networks, folder)
    return TrainingReport(networks, arch, data.name, folder)


def _prepare(
    arch: str, source: DataSource, arch_args: Iterable[str] | None
) -> tuple[Data, nn.Module, ArchitectureRecord]:
    """Return the data, the module that takes them, and the record of its architecture."""
    parsed = parse_arguments(arch_args)
    sizes, data = fitted(arch, source.load(arch))
    arguments: Mapping[str, Any] = {**sizes, **parsed}
    inputs = None if arch.startswith("hf:") else inputs_text(data)
    module = build_architecture(arch, arch_args=arguments, input_spec=inputs).module
    data = fit_data(module, data, name=arch, needs_loss=True, remedy=REMEDY)
    # The module may take another input shape than the stored one, such as images.
    inputs = inputs_text(data) if inputs else None
    shapes = (inputs,) if inputs else ()
    return data, module, ArchitectureRecord(arch, arguments, shapes, data.name, data.normalization)


def _write_history(networks: Sequence[TrainedNetwork], folder: Path) -> None:
    lines = [json.dumps(row) + "\n" for network in networks for row in network.rows()]
    with atomic_path(folder / HISTORY) as temporary:
        temporary.write_text("".join(lines), encoding="utf-8")


def _draw_curves(networks: Sequence[TrainedNetwork], folder: Path) -> None:
    """Draw the learning curves; without any, delete an older figure."""
    path = folder / CURVES
    if has_curves(networks):
        save_figure(learning_curves(networks), path)
    else:
        path.unlink(missing_ok=True)


def _row(network: TrainedNetwork) -> tuple[str, ...]:
    if not network.history:
        return (str(network.seed), "0", "", "", "", "", network.status)
    last = network.history[-1]
    numbers = (last.loss, last.error, last.test_loss, last.test_error)
    texts = ["" if number is None else f"{number:.4f}" for number in numbers]
    return (str(network.seed), str(last.epoch), *texts, network.status)


def has_curves(networks: Sequence[TrainedNetwork]) -> bool:
    """Return whether any epoch has a finite loss.

    Args:
        networks: the result of `onebasin_studies.training.train`.
    """
    return any(isfinite(loss) for network in networks for loss in network.losses)


def learning_curves(networks: Sequence[TrainedNetwork]) -> Figure:
    """Return a figure of learning curves: training solid, test dashed.

    Args:
        networks: the result of `onebasin_studies.training.train`.

    Returns:
        A figure that is not registered with pyplot, with one panel for the loss and one for the
        error.

    Raises:
        OneBasinError: if no epoch has a finite loss; see `has_curves`.
    """
    if not has_curves(networks):
        raise OneBasinError(
            "learning_curves: no network has an epoch with a finite loss; train for some, at a "
            "lower learning rate"
        )
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(SETTINGS):
        figure = Figure(figsize=(4.6 * len(METRICS), 3.5), layout="constrained")
        panels = figure.subplots(1, len(METRICS), squeeze=False)[0]
        for ax, metric in zip(panels, METRICS, strict=True):
            _draw(ax, networks, metric)
    return figure


def _draw(ax: Axes, networks: Sequence[TrainedNetwork], metric: Metric) -> None:
    # Transparency keeps many overlapping lines readable.
    opacity = max(0.15, min(1.0, 4 / max(1, len(networks))))
    style: dict[str, Any] = {"linewidth": 1.4, "alpha": opacity}
    kinds = (("", "training", ALIGNED), ("test_", "test", NAIVE))
    for prefix, label, color in kinds:
        is_named = False
        for network in networks:
            points = _points(network, f"{prefix}{metric}")
            if not points:
                continue
            epochs, values = zip(*points, strict=True)
            mark = {"marker": "o", "markersize": 3} if len(points) == 1 else {}
            ax.plot(epochs, values, color=color, label=None if is_named else label, **style, **mark)
            is_named = True
    ax.set_title("Loss" if metric == "loss" else "Error")
    ax.set_xlabel("epoch")
    ax.spines["left"].set_visible(False)
    _scale(ax, metric, networks)
    if ax.lines:
        legend = ax.legend(frameon=False, fontsize=9, handlelength=1.8)
        for line in legend.get_lines():
            line.set_alpha(1)


def _points(network: TrainedNetwork, name: str) -> list[tuple[int, float]]:
    values = [(row.epoch, getattr(row, name)) for row in network.history]
    return [(epoch, value) for epoch, value in values if value is not None]


def _scale(ax: Axes, metric: Metric, networks: Sequence[TrainedNetwork]) -> None:
    """Set a logarithmic scale for losses, and a percent scale from 0 for errors."""
    from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

    ax.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
    if metric == "error":
        ax.set_ylim(bottom=0)
        ax.yaxis.set_major_formatter(lambda value, _: f"{100 * value:g}%")
    elif any(loss > 0 for network in networks for loss in network.losses):
        ax.set_yscale("log")
        ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        ax.yaxis.set_minor_locator(NullLocator())
        ax.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
