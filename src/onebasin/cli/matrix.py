"""The matrix of `onebasin barrier`: the barriers between all pairs of three or more networks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from typing import TYPE_CHECKING, Any

from onebasin.cli.console import columns
from onebasin.cli.report_names import names_of

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.figure import Figure
    from torch import Tensor

    from onebasin.cli.console import Console
    from onebasin.cli.evaluation_reports import EvaluationReport
    from onebasin.cli.measuring import DataChoice, MeasuringChoice
    from onebasin.cli.request import Opened, Request
    from onebasin.cli.symmetries import Found
    from onebasin.measuring.evaluation import Evaluator
    from onebasin.measuring.matrices import PairBarriers
    from onebasin.symmetry import Permutation

# By "naive" or "aligned", then by split.
Matrices = dict[str, dict[str, "PairBarriers"]]
SHOWN_WHOLE = 8


def run_matrix(
    request: Request, data_choice: DataChoice, *, measuring: MeasuringChoice, console: Console
) -> None:
    """Measure the barriers between all pairs on a dataset, and print them.

    Args:
        request: which networks, and how to match a pair.
        data_choice: what to measure on.
        measuring: how to measure.
        console: where the result is printed.
    """
    from onebasin.cli.evaluations import report_of_pairs
    from onebasin.cli.outputs import input_files
    from onebasin.cli.request import open_with_data

    names = names_of(request.paths, "barrier")
    measuring.check_outputs(input_files(request, data_choice))
    opening = open_with_data(
        request,
        data_choice,
        normalization=measuring.normalization,
        call="barrier",
        console=console,
    )
    with opening as opened:
        networks, data = opened.networks, opened.data
        evaluators = data_choice.evaluators(data)
        matrices = _measure(opened, request, names, evaluators, measuring, console)
        pairs = {
            state: {split: barriers.curves for split, barriers in splits.items()}
            for state, splits in matrices.items()
        }
        report = report_of_pairs(pairs, names, evaluators, data)
    report.note_weaknesses(names, console)
    if networks.twins is not None:
        console.note("{} and {} hold the same tensors".format(*(c.path for c in networks.twins)))
    _write(matrices, measuring)
    method = opened.matcher.name if request.aligns else None
    result = {
        "command": "barrier",
        "inputs": list(map(str, request.paths)),
        "data": data.name,
        "normalize": data.normalization,
        "checkpoints": names,
        "method": method,
        **_data(matrices, measuring),
        "evaluation": report.to_json(),
    }
    console.result(result, _text(matrices, method, report, measuring))


def _measure(
    opened: Opened,
    request: Request,
    names: Sequence[str],
    evaluators: Mapping[str, Evaluator],
    measuring: MeasuringChoice,
    console: Console,
) -> Matrices:
    """Return the barriers between all pairs, unaligned and, if the request aligns, aligned."""
    from onebasin.cli.symmetries import find_symmetry
    from onebasin.measuring.pairs import measure_pairs_splits

    networks = opened.networks
    moves: dict[str, Callable[[int, int], Mapping[str, Tensor]] | None] = {"naive": None}
    if request.aligns:
        verified = find_symmetry(
            networks.architecture, request.symmetry, console, states=networks.params_list
        )
        moves["aligned"] = _aligned(opened, verified, console)
    matrices: Matrices = {}
    for state, move in moves.items():
        with console.progress(f"measuring {state} pairs") as progress:
            matrices[state] = measure_pairs_splits(
                networks.architecture.module,
                networks.params_list,
                evaluators,
                names=names,
                move=move,
                num_points=measuring.num_points,
                normalization=measuring.normalization,
                data=opened.data.batches(),
                progress=progress,
            )
    return matrices


def _aligned(
    opened: Opened, found: Found, console: Console
) -> Callable[[int, int], Mapping[str, Tensor]]:
    """Match every pair; return a function that aligns the second network of a pair."""
    from onebasin.cli.methods import permutation_of

    params_list, matcher = opened.networks.params_list, opened.matcher
    pairs = list(combinations(range(len(params_list)), 2))
    permutations: dict[tuple[int, int], Permutation] = {}
    num_open = 0
    with console.progress(f"matching pairs by {matcher.name}") as progress:
        for i, j in pairs:
            both = [params_list[i], params_list[j]]
            matching = matcher.run(found.symmetry, both, opened.networks.architecture)
            permutations[i, j] = permutation_of(matching)
            num_open += matcher.method.settles and not matching.converged
            if progress is not None:
                progress(len(permutations), len(pairs))
    if num_open:
        console.note(f"{num_open} of {len(pairs)} matchings did not converge")
    return lambda i, j: permutations[i, j].apply(params_list[j])


def _write(found: Matrices, measuring: MeasuringChoice) -> None:
    from onebasin.measuring.pictures import save_figure
    from onebasin.measuring.results import save_rows

    if measuring.plot is not None:
        save_figure(_figure(found, measuring), measuring.plot)
    if measuring.save is not None:
        rows = [
            {"state": state, "split": split, **row}
            for state, splits in found.items()
            for split, barriers in splits.items()
            for row in barriers.rows()
        ]
        save_rows(rows, measuring.save)


def _figure(found: Matrices, measuring: MeasuringChoice) -> Figure:
    """Draw a panel for each state and split, all on one scale."""
    import matplotlib
    import numpy as np
    from matplotlib.figure import Figure

    from onebasin.measuring.pictures import SETTINGS

    num_splits = len(next(iter(found.values())))
    every = [
        each.matrix("loss", measuring.chord) for row in found.values() for each in row.values()
    ]
    finite = np.stack(every)[np.isfinite(every)]
    highest = float(finite.max()) or None
    with matplotlib.rc_context(SETTINGS):
        figure = Figure(figsize=(4.6 * num_splits, 3.8 * len(found)), layout="constrained")
        panels = figure.subplots(len(found), num_splits, squeeze=False)
        for row, (state, splits) in zip(panels, found.items(), strict=True):
            for ax, (split, barriers) in zip(row, splits.items(), strict=True):
                barriers.plot(ax, chord=measuring.chord, highest=highest)
                ax.set_title(f"{state}, {split}")
    return figure


def _data(found: Matrices, measuring: MeasuringChoice) -> dict[str, Any]:
    def matrices(kind: str) -> dict[str, Any]:
        return {
            state: {
                split: {
                    quantity: _plain(getattr(barriers, kind)(quantity, measuring.chord))
                    for quantity in barriers.quantities
                }
                for split, barriers in splits.items()
            }
            for state, splits in found.items()
        }

    return {
        "barrier": matrices("matrix"),
        "indirect": matrices("indirect"),
        "chord": measuring.chord,
        "normalization": measuring.normalization,
    }


def _plain(matrix: np.ndarray) -> list[list[float | str | None]]:
    from onebasin.measuring.results import plain_number

    return [[plain_number(value) for value in row] for row in matrix.tolist()]


def _text(
    found: Matrices, method: str | None, report: EvaluationReport, measuring: MeasuringChoice
) -> str:
    parts = [f"each pair aligned by {method}"] if method else []
    parts += [measuring.to_text(), columns(_summary(found, measuring)), "", report.to_text()]
    for state, splits in found.items():
        for split, barriers in splits.items():
            if len(barriers.names) <= SHOWN_WHOLE:
                matrix = barriers.matrix("loss", measuring.chord)
                rows = [(f"{state}, {split}", *barriers.names)]
                rows += [
                    (name, *(f"{value:.4f}" for value in row))
                    for name, row in zip(barriers.names, matrix, strict=True)
                ]
                parts.append(f"\n{columns(rows)}")
    parts += [f"wrote {path}" for path in (measuring.plot, measuring.save) if path]
    return "\n".join(parts)


def _summary(found: Matrices, measuring: MeasuringChoice) -> list[tuple[str, ...]]:
    """Return a table with the mean and the highest barrier, and the mean of the indirect ones."""
    import numpy as np

    rows = [("barrier", *(f"{state} {what}" for state in found for what in ("mean", "max", "via")))]
    for split, first in next(iter(found.values())).items():
        upper = np.triu_indices(len(first.names), 1)
        for quantity in first.quantities:
            cells = []
            for splits in found.values():
                direct = splits[split].matrix(quantity, measuring.chord)[upper]
                around = splits[split].indirect(quantity, measuring.chord)[upper]
                cells += [direct.mean(), direct.max(), around.mean()]
            form = "{:.4f}" if quantity == "loss" else "{:.2%}"
            rows.append((f"{quantity}, {split}", *(form.format(cell) for cell in cells)))
    return rows
