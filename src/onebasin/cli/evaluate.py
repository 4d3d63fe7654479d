"""`onebasin evaluate`: loss and error of checkpoints on data."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from onebasin.cli.blocks import (
    ArchitectureOptions,
    DataOptions,
    RunOptions,
    refuse_given,
    with_blocks,
)
from onebasin.cli.measuring import DataName, TableFile
from onebasin.cli.options import ArchAndOne, NumTest
from onebasin.cli.report_names import ensemble_name, names_of

if TYPE_CHECKING:
    from onebasin.cli.console import Console
    from onebasin.cli.evaluation_reports import EvaluationReport, SplitReport
    from onebasin.cli.measuring import DataChoice
    from onebasin.cli.pairs import Networks
    from onebasin.cli.request import Request
    from onebasin.training.datasets.data import Data, SplitName


@with_blocks
def evaluate(
    *,
    networks: ArchAndOne,
    data: DataName,
    reading: DataOptions,
    split: Annotated[
        Literal["test", "train", "both"], typer.Option(help="Split of the data.")
    ] = "test",
    num_test: NumTest = None,
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
    splits = ("train", "test") if split == "both" else (split,)
    request = architecture.request("evaluate", networks, options.seed, minimum=1)
    if split == "train":
        refuse_given("evaluate", {"--num-test": num_test}, "with --split train")
    if len(request.paths) == 1:
        refuse_given("evaluate", {"--ensemble": ensemble}, "with one checkpoint")
    with options.open_console() as console:
        run_evaluate(
            request,
            reading.choice(data, options.seed, splits),
            num_test=num_test,
            ensemble=ensemble,
            save=save,
            console=console,
        )


def run_evaluate(
    request: Request,
    data_choice: DataChoice,
    *,
    num_test: int | None,
    ensemble: bool,
    save: Path | None,
    console: Console,
) -> None:
    """Evaluate networks on data, and print and write the results.

    Args:
        request: the networks.
        data_choice: the data and their splits.
        num_test: number of test examples, or None for all.
        ensemble: whether to evaluate the ensemble of all.
        save: file of the table, or None.
        console: where the result is printed.
    """
    from onebasin.cli.evaluation_reports import EvaluationReport
    from onebasin.cli.evaluations import with_num_test
    from onebasin.cli.outputs import input_files
    from onebasin.measuring.results import save_rows

    names = _names(request)
    _check_save(save, input_files(request, data_choice))
    request, data = request.load(data_choice, call="evaluate")
    if "train" not in data_choice.available(data):
        refuse_given("evaluate", {"--num-train": data_choice.num_train}, "with --split test")
    data = with_num_test(data, num_test)
    with request.open(call="evaluate", console=console) as networks:
        data = _fitted(networks, data)
        data_choice.note_splits(data, console)
        report = EvaluationReport(
            data.name,
            [
                _measure(networks, names, data, split, ensemble, console)
                for split in data_choice.available(data)
            ],
        )
    report.note_weaknesses(names, console)
    if save is not None:
        save_rows(report.rows(), save)
    text = [report.to_text(), *([f"wrote {save}"] if save else [])]
    console.result(_result(request, data, report), "\n".join(text))


def _names(request: Request) -> list[str]:
    """Return the names of the networks, which include the keys if each network has its own."""
    has_keys = 1 < len(request.keys) == len(request.paths)
    return names_of(request.paths, "evaluate", keys=request.keys if has_keys else ())


def _check_save(save: Path | None, inputs: tuple[Path, ...]) -> None:
    from onebasin.cli.measuring import MeasuringChoice

    MeasuringChoice(save=save).check_outputs(inputs)


def _fitted(networks: Networks, data: Data) -> Data:
    from onebasin.cli.data import laid_out

    return laid_out(networks.architecture, data, call="evaluate")


def _measure(
    networks: Networks,
    names: list[str],
    data: Data,
    split: SplitName,
    ensemble: bool,
    console: Console,
) -> SplitReport:
    """Return the evaluations on a split, one network in memory at a time without an ensemble."""
    from onebasin.cli.evaluation_reports import SplitReport
    from onebasin.cli.evaluations import progress_of
    from onebasin.measuring.network_evaluations import evaluate_networks

    model = networks.architecture.module
    params = dict(zip(names, networks.params_list, strict=True))
    parts = [params] if ensemble else [{name: each} for name, each in params.items()]
    found: dict[str, Any] = {}
    baseline, per_token = None, False
    batches = data.evaluator(split)
    for part in parts:
        title = f"evaluating {', '.join(part)}, {split}"
        with progress_of(console, title, batches.batches) as show:
            members = names if ensemble else ()
            evaluations = evaluate_networks(model, part, batches, ensemble=members, progress=show)
        found |= evaluations.networks
        if evaluations.ensemble is not None:
            found[ensemble_name(names)] = evaluations.ensemble
        baseline, per_token = evaluations.baseline, evaluations.per_token
    return SplitReport(split, found, baseline, per_token)


def _result(request: Request, data: Data, report: EvaluationReport) -> dict[str, Any]:
    return {
        "command": "evaluate",
        "inputs": list(map(str, request.paths)),
        "data": data.to_json(),
        "splits": report.to_json(),
    }
