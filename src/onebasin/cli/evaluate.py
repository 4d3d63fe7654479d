"""`onebasin evaluate`."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from onebasin.cli.option_groups import with_option_groups
from onebasin.cli.options.data import DataOptions
from onebasin.cli.options.evaluation import DataName, MaxTestExamples, TableFile
from onebasin.cli.options.networks import ArchAndOne, ArchitectureOptions
from onebasin.cli.options.run import RunOptions


@with_option_groups
def evaluate(
    *,
    networks: ArchAndOne,
    data: DataName,
    reading: DataOptions,
    split: Annotated[
        Literal["test", "train", "both"], typer.Option(help="Split of the data.")
    ] = "test",
    max_test_examples: MaxTestExamples = None,
    ensemble: Annotated[
        bool,
        typer.Option(
            "--ensemble", help="Also evaluate the ensemble: the mean of the probabilities."
        ),
    ] = False,
    save: TableFile = None,
    architecture: ArchitectureOptions,
    options: RunOptions,
) -> None:
    """Measure the loss and error of checkpoints on labeled data.

    The table includes a constant prediction (the class frequencies) for comparison. A note
    names networks that are not better than it. For text without labels, the loss is the
    next-token loss and the table has the perplexity.

    \b
    Examples:
      onebasin evaluate a.safetensors b.safetensors --data digits
      onebasin evaluate timm:resnet18 a.pt --data photos/ --normalize 0.5,0.25
      onebasin evaluate runs/*.safetensors --data mnist --ensemble --save table.csv
    """
    model, paths = architecture.networks("evaluate", networks, minimum=1)
    with options.open_console() as console:
        from onebasin import api

        result = api.evaluate(
            model,
            paths,
            data=reading.source(data, options.seed),
            split=split,
            max_test_examples=max_test_examples,
            ensemble=ensemble,
            save=save,
            **architecture.keywords,
            **options.keywords,
        )
        console.result("evaluate", result, paths, [save])
