"""`onebasin train`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import typer

from onebasin.cli.console import open_console
from onebasin.cli.option_groups import with_option_groups
from onebasin.cli.options.data import TrainingDataOptions
from onebasin.cli.options.networks import Arch, ArchArgs
from onebasin.cli.options.run import Json, Quiet
from onebasin_studies.cli.progress import training_progress
from onebasin_studies.cli.recipe_options import RecipeOptions, numbers_of

ALL_DIVERGED = 3


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
    recipe: RecipeOptions,
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
    save_epochs: Annotated[
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
    seed_list, kept = numbers_of(seeds, "--seeds"), _saved_epochs(save_epochs)
    options = recipe.keywords()
    with open_console(as_json, quiet) as console, training_progress(console) as on_epoch_end:
        from onebasin_studies.report.training import run_training

        report = run_training(
            arch,
            reading.source(data, 0),
            out,
            arch_args=arch_arg,
            seeds=seed_list,
            spawn_epoch=spawn,
            augment=augment,
            evaluate=test,
            save_epochs=kept,
            device=device,
            resume=not restart,
            on_epoch_end=on_epoch_end,
            **options,
        )
    console.print(report.to_json(), report.summary())
    if not report.all_diverged:
        return 0
    number = len(report.networks)
    console.error(
        f"train: {'the network' if number == 1 else f'all {number} networks'} diverged (non-finite "
        "loss); lower --lr or pass --warmup, and use --restart for the same folder"
    )
    return ALL_DIVERGED


def _saved_epochs(text: str | None) -> Sequence[int] | Literal["all"]:
    if text is None:
        return ()
    return "all" if text == "all" else numbers_of(text, "--save-epochs")
