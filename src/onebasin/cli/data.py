"""Data of `--data`, fitted to and checked on the architecture before any long work."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from onebasin.checkpoints import Architecture
from onebasin.cli.console import Console
from onebasin.errors import OneBasinError
from onebasin.measuring.statistics_check import LARGE_DIFFERENCE, reset_difference
from onebasin.networks import NETWORKS
from onebasin.training.datasets.data import Data
from onebasin.training.fitting import fit_data

LEAST_CHECKED, CHECKED = 50, 2000
"""How many examples the normalization is checked on."""


def fitted(arch: str, data: Data) -> tuple[dict[str, Any], Data]:
    """Return the sizes with which a built-in architecture takes data, and the data for it.

    Flat data become images where the architecture takes images. For any other architecture
    there are no sizes, and the data are returned unchanged.

    Args:
        arch: ARCH.
        data: the examples.

    Raises:
        OneBasinError: when the architecture cannot take such data.
    """
    if arch not in NETWORKS:
        return {}, data
    sizes, first = None, None
    for layout in data.layouts():
        shape = layout.input_shape
        try:
            if shape is None:
                raise OneBasinError(
                    f"data: {data.name} gives several tensors for each example; {arch} takes one"
                )
            sizes, data = NETWORKS[arch].fit(shape), layout
            break
        except OneBasinError as error:
            first = first or error
    if sizes is None:
        assert first is not None
        raise first
    classes = {} if data.num_classes is None else {"num_classes": data.num_classes}
    return {**sizes, **classes}, data


def inputs_text(data: Data) -> str | None:
    """Return `--input` for two examples, such as 2x1x28x28; None for several tensors.

    Args:
        data: laid out as the architecture takes it.
    """
    shape = data.input_shape
    if shape is None:
        return None
    text = "x".join(map(str, (2, *shape)))
    return text if data.example_inputs(1).is_floating_point() else f"{text}:int64<2"


def laid_out(
    architecture: Architecture,
    data: Data,
    *,
    call: str,
    has_classes: bool = True,
    remedy: str = "another --arch-arg",
) -> Data:
    """Return data in a form that an architecture can be run on.

    Args:
        architecture: with its module.
        data: the examples.
        call: the command, for the message.
        has_classes: whether a loss is computed, which needs labels that fit the outputs.
        remedy: what to do instead of choosing other data, for the message.

    Raises:
        OneBasinError: when the module cannot be run, or its outputs do not fit the labels.
    """
    return fit_data(
        architecture.module,
        data,
        call=call,
        name=architecture.name,
        needs_loss=has_classes,
        remedy=remedy,
    )


def note_normalization(
    architecture: Architecture, params: Mapping[str, Tensor], data: Data, console: Console
) -> None:
    """Warn if the data do not look like those that a network was trained on.

    Args:
        architecture: with its module.
        params: the reference network.
        data: laid out for the architecture.
        console: where the warning is shown.
    """
    known = data.num_examples()
    if known is not None and known < LEAST_CHECKED:
        return
    sample = data.take(CHECKED if known is None else min(known, CHECKED))
    try:
        difference = reset_difference(architecture.module, params, sample.batches())
    except OneBasinError:
        return  # the command itself reports what is wrong with the batches
    if difference is None or difference <= LARGE_DIFFERENCE:
        return
    console.note(
        f"warning: with its statistics reset on {data.name}, A gives other outputs (relative "
        f"difference {difference:.2f}); was A trained on these data with this normalization "
        f"({data.normalization or 'as given'})? If not, set --normalize"
    )
