"""Recipes of architectures: functions that build modules and their example inputs."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from torch import nn

from onebasin.checkpoints._inputs import InputSpec
from onebasin.checkpoints.checkpoint import Checkpoint
from onebasin.errors import OneBasinError


def unchanged(module: nn.Module, checkpoint: Checkpoint) -> Checkpoint:
    """Return a checkpoint unchanged: most sources store the names that their modules have."""
    return checkpoint


FILE_ARGUMENTS = ("checkpoint_path", "pretrained_cfg", "pretrained_cfg_overlay", "cache_dir")
"""Arguments of `timm.create_model` that make it read or write files."""


@dataclass(frozen=True)
class Recipe:
    """A function that builds an architecture, and its example inputs.

    Args:
        name: the specification, such as `timm:vit_tiny_patch16_224`.
        build: function that returns the module with random weights, on the default device.
        inputs: function of the module that returns its default inputs; it raises OneBasinError
            if they are unknown.
        adapt: function that renames the tensors of a checkpoint as in the module.
        calling: function of the error of a failed build that describes the call, for messages;
            None for a general text.
    """

    name: str
    build: Callable[[], nn.Module]
    inputs: Callable[[Any], tuple[InputSpec, ...]]
    adapt: Callable[[nn.Module, Checkpoint], Checkpoint] = unchanged
    calling: Callable[[BaseException], str] | None = None


def suggestion(name: str, known: list[str]) -> str:
    """Return the most similar known names, or some of them if none is similar.

    Args:
        name: the unknown name; its case does not matter.
        known: the known names, at least one.

    Returns:
        Text such as `did you mean 'resnet50' or 'resnet152'?`.

    Examples:
        >>> suggestion("Cnn", ["nn", "CNN", "torch"])
        "did you mean 'CNN' or 'nn'?"
    """
    spellings: dict[str, list[str]] = {}
    for spelling in known:
        spellings.setdefault(spelling.casefold(), []).append(spelling)
    folded = get_close_matches(name.casefold(), spellings, n=3)
    close = [spelling for match in folded for spelling in spellings[match]][:3]
    if close:
        return f"did you mean {' or '.join(repr(match) for match in close)}?"
    others = " and others" if len(known) > 3 else ""
    return f"known are {', '.join(repr(other) for other in known[:3])}{others}"


def check_no_downloads(spec: str, arguments: Mapping[str, Any], keys: Iterable[str]) -> None:
    """Check that no argument makes a library download weights.

    Args:
        spec: the architecture, for the error text.
        arguments: arguments of the user.
        keys: names of arguments for weights, which must be false or None.

    Raises:
        OneBasinError: one of them selects weights.
    """
    for key in keys:
        if arguments.get(key):
            raise OneBasinError(
                f"{spec}: {key}={arguments[key]!r} would download weights; remove it and pass "
                "the weights as a checkpoint file"
            )


def check_no_files(spec: str, arguments: Any) -> None:
    """Check that no argument makes timm read a file while it builds a model.

    Args:
        spec: the architecture, for the error text.
        arguments: plain values; mappings and lists in them are searched too.

    Raises:
        OneBasinError: a mapping has one of `FILE_ARGUMENTS` with a value.
    """
    stack = [arguments]
    while stack:
        value = stack.pop()
        if isinstance(value, list | tuple):
            stack.extend(value)
        if not isinstance(value, Mapping):
            continue
        for key in FILE_ARGUMENTS:
            if value.get(key) is not None:
                raise OneBasinError(
                    f"{spec}: {key}={value[key]!r:.60} would read files while the model is built; "
                    "remove it and pass the weights as a checkpoint file"
                )
        stack.extend(value.values())
