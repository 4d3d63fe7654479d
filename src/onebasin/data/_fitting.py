"""Data in a form that a model can be run on, checked on two examples."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from onebasin._text import counted, one_line
from onebasin.data._example_splits import LoaderSplit
from onebasin.data._tokenizers import max_positions
from onebasin.data.data import Data
from onebasin.data.dataset import Dataset
from onebasin.data.examples import Tokens
from onebasin.errors import ArgumentError, OneBasinError
from onebasin.graph.batches import output_of, run_model
from onebasin.graph.binding import evaluation_mode

CAUSAL_CLASSES = ("ForCausalLM", "LMHeadModel")
"""Endings of the names of transformers models that predict the next token."""


def fit_data(module: nn.Module, data: Data, *, name: str, needs_loss: bool, remedy: str) -> Data:
    """Return data in a form that a module can be run on, checked on two examples.

    For a language model, the label of each token is the next token.

    Args:
        module: the architecture; it does not change.
        data: the examples.
        name: the name of the module, for messages.
        needs_loss: whether a loss is computed, which needs labels that fit the outputs.
        remedy: alternative to other data, for messages.

    Raises:
        OneBasinError: the module cannot be run on any form of the data, or its outputs do
            not fit the labels.
    """
    errors: list[OneBasinError] = []
    words = {"name": name, "remedy": remedy}
    for layout in data.layouts():
        try:
            with evaluation_mode(module):
                output = check_runs(
                    partial(run_model, module), layout.example_inputs(), data, **words
                )
        except OneBasinError as error:
            errors.append(error)
            continue
        return _with_task(module, layout, output, needs_loss=needs_loss, **words)
    _check_token_inputs(module, data, name=name)
    is_text = isinstance(data.example_inputs(1), Mapping)
    raise errors[-1 if is_text else 0]


def _check_token_inputs(module: nn.Module, data: Data, *, name: str) -> None:
    """Raise an error that explains why a transformers model cannot be run on data, if known.

    Raises:
        OneBasinError: the model takes tokens, and the data have numbers or too long texts.
    """
    if getattr(module, "main_input_name", None) != "input_ids":
        return
    if data.tokens is None:
        example = data.example_inputs(1)
        if isinstance(example, Tensor) and example.is_floating_point():
            raise ArgumentError(f"{name} takes tokens, but {data.name} has numbers; pass text")
        return
    length, most = data.tokens.shape[1], max_positions(vars(module.config))
    if most is not None and length > most:
        raise OneBasinError(
            f"data: context= is {length}, which exceeds the {most} positions of {name}; pass at "
            f"most {most}"
        )


def _with_task(
    module: nn.Module,
    data: Data,
    output: Any,
    *,
    needs_loss: bool,
    name: str,
    remedy: str,
) -> Data:
    """Return data with labels that fit the outputs of a module."""
    try:
        outputs = output_of(output)
    except OneBasinError:
        if needs_loss:
            raise
        return data
    if data.tokens is not None and is_language_model(module, outputs, data.tokens):
        return data.as_next_token()
    if not needs_loss:
        return data
    if not data.has_labels("train"):
        is_loader = isinstance(data.train, LoaderSplit)
        form = "batches (inputs, labels)"
        given = form if is_loader else "labeled data, or the name of their column as label_column="
        raise ArgumentError(f"{data.name} has no labels, and a loss needs them; pass {given}")
    if data.num_classes is None:
        return data
    _check_outputs(outputs, data, data.num_classes, name=name, remedy=remedy)
    return data


def _check_outputs(
    outputs: Tensor, data: Data | Dataset, num_classes: int, *, name: str, remedy: str
) -> None:
    """Check that a model has an output for each class."""
    if outputs.ndim != 2:
        raise ArgumentError(
            f"{name} returns {tuple(outputs.shape)} for two examples but {data.name} has "
            f"{num_classes} classes; choose other data or {remedy}"
        )
    if outputs.shape[1] < num_classes:
        raise ArgumentError(
            f"labels of {data.name} reach {num_classes - 1}, but {name} has "
            f"{counted(outputs.shape[1], 'output')}; choose other data or {remedy}"
        )


def is_language_model(module: nn.Module, outputs: Tensor, tokens: Tokens) -> bool:
    """Return whether a module predicts the next token at each position.

    Args:
        module: a transformers model, recognized by its class, or any other module,
            recognized by its outputs.
        outputs: outputs for two texts.
        tokens: the texts.
    """
    if outputs.ndim != 3 or outputs.shape[1] != tokens.shape[1]:
        return False
    class_name = type(module).__name__
    if hasattr(module, "config") and hasattr(module, "main_input_name"):
        return class_name.endswith(CAUSAL_CLASSES)
    return outputs.shape[2] >= tokens.vocabulary


def check_runs(
    model: Callable[[Any], Any],
    examples: Any,
    data: Data | Dataset,
    *,
    name: str,
    remedy: str,
) -> Any:
    """Check that a model can be run on data, and return its output for the examples.

    Args:
        model: a function of the inputs of a batch.
        examples: the inputs of two examples.
        data: their source, for messages.
        name: the name of the model, for messages.
        remedy: alternative to other data, for messages.

    Raises:
        OneBasinError: the model cannot be run.
    """
    try:
        with torch.no_grad():
            return model(examples)
    # The code of users and other libraries may raise anything.
    except Exception as error:
        raise ArgumentError(
            f"{name} cannot be run on {data.name}, whose inputs are {shape_text(examples)} "
            f"({one_line(error)}); choose other data or {remedy}"
        ) from error


def shape_text(inputs: Any) -> str:
    """Return the shapes of the inputs of one example, such as 1x28x28.

    Example:
        >>> shape_text({"input_ids": torch.zeros(2, 16)})
        'input_ids=16'
    """
    if isinstance(inputs, Mapping):
        return ", ".join(f"{name}={shape_text(value)}" for name, value in inputs.items())
    if isinstance(inputs, tuple | list):
        return ", ".join(map(shape_text, inputs))
    if not isinstance(inputs, Tensor):
        return type(inputs).__name__
    return "x".join(map(str, inputs.shape[1:])) or "single numbers"


def check_fits(
    model: Callable[[Tensor], Any],
    examples: Tensor,
    data: Dataset,
    *,
    name: str,
    remedy: str,
) -> None:
    """Check that a model can be run on data and has an output for each of its classes.

    Args:
        model: see `check_runs`.
        examples: see `check_runs`.
        data: see `check_runs`.
        call: see `check_runs`.
        name: see `check_runs`.
        remedy: see `check_runs`.

    Raises:
        OneBasinError: the model cannot be run, or has too few outputs.
    """
    outputs = check_runs(
        lambda inputs: output_of(model(inputs)),
        examples,
        data,
        name=name,
        remedy=remedy,
    )
    _check_outputs(outputs, data, data.num_classes, name=name, remedy=remedy)
