"""`onebasin train`: many networks of one architecture trained at once, a file for each."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from onebasin._text import columns
from onebasin.cli.console import open_console
from onebasin.cli.option_groups import with_option_groups
from onebasin.cli.options.data import TrainingDataOptions
from onebasin.cli.options.networks import Arch, ArchArgs
from onebasin.cli.options.run import Json, Quiet
from onebasin.errors import OneBasinError
from onebasin_studies.cli.seeds import numbers_of

if TYPE_CHECKING:
    from onebasin.api import DataSource
    from onebasin.cli.console import Console
    from onebasin.data.dataset import Dataset
    from onebasin_studies.training import GroupProgress, TrainedNetwork


ALL_DIVERGED = 3
FIT_REMEDY = "another --arch-arg"


@with_option_groups
def train(
    *,
    arch: Arch,
    data: Annotated[
        str,
        typer.Option(
            metavar="DATA",
            help="Data to train on: a name such as digits, a file or folder, or "
            "package.module:callable.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path,
        typer.Option("--output", "-o", metavar="DIR", help="Output folder.", show_default=False),
    ],
    seeds: Annotated[
        str, typer.Option(metavar="SEEDS", help="Random seeds, such as 1..20 or 1,2,5.")
    ] = "0",
    reading: TrainingDataOptions,
    arch_arg: ArchArgs = None,
    epochs: Annotated[int | None, typer.Option(help="Maximum number of epochs.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Examples per step.")] = None,
    optimizer: Annotated[
        Literal["adam", "adamw", "sgd"] | None, typer.Option(help="Optimizer; default: adam.")
    ] = None,
    lr: Annotated[float | None, typer.Option(help="Peak learning rate.")] = None,
    schedule: Annotated[
        Literal["constant", "cosine", "steps"] | None,
        typer.Option(help="Learning rate schedule; default: constant."),
    ] = None,
    milestones: Annotated[
        str | None,
        typer.Option(
            metavar="EPOCHS",
            help="Epochs at which --schedule steps lowers the learning rate: 80,120.",
        ),
    ] = None,
    warmup: Annotated[
        float | None, typer.Option(metavar="EPOCHS", help="Epochs of linear learning rate warmup.")
    ] = None,
    momentum: Annotated[float | None, typer.Option(help="Momentum of sgd.")] = None,
    weight_decay: Annotated[
        float | None, typer.Option(help="Weight decay, for any optimizer.")
    ] = None,
    stop_loss: Annotated[
        str | None,
        typer.Option(
            metavar="LOSS", help="Stop a network below this training loss, such as 0.01, or none."
        ),
    ] = None,
    spawn: Annotated[
        int | None,
        typer.Option(
            metavar="EPOCH",
            help="Train one shared network until this epoch, then train all seeds from it.",
        ),
    ] = None,
    augment: Annotated[
        bool, typer.Option("--augment", help="Randomly crop, flip and rotate images.")
    ] = False,
    test: Annotated[
        bool, typer.Option("--test/--no-test", help="Evaluate on test data after every epoch.")
    ] = True,
    keep_epochs: Annotated[
        str | None,
        typer.Option(
            metavar="EPOCHS", help="Also keep the networks of these epochs: 1,5,10 or all."
        ),
    ] = None,
    device: Annotated[str | None, typer.Option(help="Device, such as cuda; default: CPU.")] = None,
    restart: Annotated[
        bool, typer.Option("--restart", help="Replace the networks in DIR instead of resuming.")
    ] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> int:
    """Train networks from several seeds at once.

    A built-in ARCH gets input and output sizes that fit the data. Writes one file for each
    network (seed-1.safetensors, ...), history.jsonl with one line per epoch and network, and
    curves.png. The files record ARCH and its arguments. Run the same command again to resume an
    interrupted run. Exits with 3 if all networks diverged.

    \b
    Examples:
      onebasin train mlp --data mnist --seeds 1..20 -o runs/mlp
      onebasin train mlp --data digits --seeds 0,1 -o runs --arch-arg width=64 --epochs 20
      onebasin train resnet20 --data cifar10 --seeds 1..4 -o runs/resnet --optimizer sgd \\
        --lr 0.1 --momentum 0.9 --schedule cosine --warmup 1 --augment
    """
    recipe = {
        "epochs": epochs,
        "batch_size": batch_size,
        "optimizer": optimizer,
        "learning_rate": lr,
        "schedule": schedule,
        "milestones": None if milestones is None else _milestones(milestones),
        "warmup_epochs": warmup,
        "momentum": momentum,
        "weight_decay": weight_decay,
    }
    given: dict[str, Any] = {name: value for name, value in recipe.items() if value is not None}
    if stop_loss is not None:
        given["stop_loss"] = _stop_loss(stop_loss)
    choice = TrainingChoice(
        numbers_of(seeds, "--seeds"), given, spawn, augment, test, _kept(keep_epochs), device
    )
    with open_console(as_json, quiet) as console:
        chosen = reading.source(data, 0)
        return run_train(arch, arch_arg, chosen, out, choice, restarts=restart, console=console)


@dataclass(frozen=True)
class TrainingChoice:
    """What the user said about training.

    Args:
        seeds: of the networks.
        recipe: values of the recipe that were given.
        spawn_epoch: how long one network is trained from which the others go on, or None.
        augments: whether images are changed at random.
        tests: whether networks are tested after every epoch.
        keep_epochs: after which networks are kept.
        device: where to train, or None.
    """

    seeds: Sequence[int]
    recipe: dict[str, Any]
    spawn_epoch: int | None = None
    augments: bool = False
    tests: bool = True
    keep_epochs: Sequence[int] | Literal["all"] = ()
    device: str | None = None


def run_train(
    arch: str,
    arch_args: Sequence[str] | None,
    data_choice: DataSource,
    folder: Path,
    choice: TrainingChoice,
    *,
    restarts: bool,
    console: Console,
) -> int:
    """Train networks, and write them, their history and a picture into a folder.

    Args:
        arch: ARCH.
        arch_args: `KEY=VALUE` texts.
        data_choice: what to train on.
        folder: where everything goes.
        choice: how to train.
        restarts: whether to replace what is in the folder.
        console: where the result is printed.

    Returns:
        The exit code: 3 when all networks diverged.
    """
    from onebasin.api._data import fitted, inputs_text
    from onebasin.checkpoints import ArchitectureRecord, build_architecture
    from onebasin.checkpoints.arguments import parse_arguments
    from onebasin.data.augmentation import Augmentation
    from onebasin.data.conversion import to_dataset
    from onebasin.data.fitting import fit_data
    from onebasin_studies.training import train

    arguments = parse_arguments(arch_args)
    sizes, given = fitted(arch, data_choice.load(arch))
    inputs = None if arch.startswith("hf:") else inputs_text(given)
    arguments = {**sizes, **arguments}
    module = build_architecture(arch, arch_args=arguments, input_spec=inputs).module
    given = fit_data(module, given, call="train", name=arch, needs_loss=True, remedy=FIT_REMEDY)
    # The module may take another layout than the stored one, such as images instead of rows.
    inputs = inputs_text(given) if inputs else None
    data = to_dataset(given)
    if given.test is None:
        console.note(f"{data.name} has no test split; networks are not tested")
    shapes = (inputs,) if inputs else ()
    record = ArchitectureRecord(arch, arguments, shapes, data.name, given.normalization)
    with _bars(console) as watch:
        networks = train(
            module,
            data,
            seeds=choice.seeds,
            spawn_epoch=choice.spawn_epoch,
            augment=Augmentation() if choice.augments else None,
            tests=choice.tests and given.test is not None,
            checkpoints=folder,
            metadata=record.to_metadata(),
            keep_epochs=choice.keep_epochs,
            resume=not restarts,
            device=choice.device,
            watch=watch,
            **choice.recipe,
        )
    _write_history(networks, folder)
    _draw_curves(networks, folder)
    console.print(_data(networks, data, arch, folder), _text(networks, folder))
    if any(network.status != "diverged" for network in networks):
        return 0
    console.error(
        f"train: {_all(networks)} diverged (non-finite loss); lower --lr or pass --warmup, and use "
        "--restart for the same folder"
    )
    return ALL_DIVERGED


@contextlib.contextmanager
def _bars(console: Console) -> Iterator[Callable[[GroupProgress], None] | None]:
    """Show a progress bar for each group of networks, where somebody looks."""
    if console.quiet or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console as RichConsole
    from rich.progress import (
        BarColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    parts = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total} epochs  {task.fields[loss]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("left"),
    )
    bars: dict[int, Any] = {}
    with Progress(*parts, console=RichConsole(file=sys.stderr)) as progress:

        def watch(found: GroupProgress) -> None:
            if found.group not in bars:
                title = "trunk" if found.group < 0 else _span(found.seeds)
                bars[found.group] = progress.add_task(title, total=found.epochs, loss="")
            # Before the first epoch has ended there is no loss.
            loss = f"loss {found.loss:.4f}" if found.epoch else "first epoch"
            progress.update(bars[found.group], completed=found.epoch, loss=loss)

        yield watch


def _span(seeds: Sequence[int]) -> str:
    return f"seed {seeds[0]}" if len(seeds) == 1 else f"seeds {seeds[0]} to {seeds[-1]}"


def _write_history(networks: Sequence[TrainedNetwork], folder: Path) -> None:
    from onebasin.checkpoints import atomic_path
    from onebasin_studies.training.folder import HISTORY

    lines = [json.dumps(row) + "\n" for network in networks for row in network.rows()]
    with atomic_path(folder / HISTORY) as temporary:
        temporary.write_text("".join(lines), encoding="utf-8")


def _draw_curves(networks: Sequence[TrainedNetwork], folder: Path) -> None:
    """Draw the learning curves; where there is nothing to draw, leave no older picture either."""
    from onebasin.evaluation.plotting import save_figure
    from onebasin_studies.report.learning_curves import has_curves, learning_curves
    from onebasin_studies.training.folder import CURVES

    path = folder / CURVES
    if has_curves(networks):
        save_figure(learning_curves(networks), path)
    else:
        path.unlink(missing_ok=True)


def _all(networks: Sequence[TrainedNetwork]) -> str:
    return "the network" if len(networks) == 1 else f"all {len(networks)} networks"


def _milestones(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError as error:
        raise OneBasinError(
            f"--milestones: invalid epochs {text!r}; expected e.g. 80,120"
        ) from error


def _stop_loss(text: str) -> float | None:
    try:
        return None if text.lower() == "none" else float(text)
    except ValueError as error:
        raise OneBasinError(
            f"--stop-loss: invalid loss {text!r}; expected e.g. 0.01, or none"
        ) from error


def _kept(text: str | None) -> Sequence[int] | Literal["all"]:
    if text is None:
        return ()
    return "all" if text == "all" else numbers_of(text, "--keep-epochs")


def _data(
    networks: Sequence[TrainedNetwork], data: Dataset, arch: str, folder: Path
) -> dict[str, Any]:
    return {
        "command": "train",
        "architecture": arch,
        "data": data.name,
        "engine": networks[0].engine,
        "reason": networks[0].reason,
        "output": str(folder),
        "networks": [
            {
                "file": str(folder / f"seed-{network.seed}.safetensors"),
                "status": network.status,
                **(network.rows()[-1] if network.history else {"seed": network.seed, "epoch": 0}),
                "seconds": network.seconds,
            }
            for network in networks
        ],
    }


def _text(networks: Sequence[TrainedNetwork], folder: Path) -> str:
    header = ("seed", "epochs", "loss", "error", "test loss", "test error", "")
    rows: list[tuple[str, ...]] = [header]
    for network in networks:
        if not network.history:
            rows.append((str(network.seed), "0", "", "", "", "", network.status))
            continue
        last = network.history[-1]
        numbers = (last.loss, last.error, last.test_loss, last.test_error)
        shown = ["" if number is None else f"{number:.4f}" for number in numbers]
        rows.append((str(network.seed), str(last.epoch), *shown, network.status))
    engine, reason = networks[0].engine, networks[0].reason
    return f"{columns(rows)}\ntrained by engine {engine}: {reason}\nwrote {folder}"
