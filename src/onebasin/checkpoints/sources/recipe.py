"""What a source makes of an architecture's name."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from torch import nn

from onebasin.checkpoints.inputs import InputSpec
from onebasin.checkpoints.reading import Checkpoint
from onebasin.errors import OneBasinError


def as_it_is(module: nn.Module, checkpoint: Checkpoint) -> Checkpoint:
    """Return a checkpoint unchanged: most sources store the names that their modules have."""
    return checkpoint


FILE_ARGUMENTS = ("checkpoint_path", "pretrained_cfg", "pretrained_cfg_overlay", "cache_dir")
"""Arguments of `timm.create_model` that make it read or write files."""


@dataclass(frozen=True)
class Recipe:
    """How to build an architecture and what to feed it.

    Args:
        name: The specification, such as `timm:vit_tiny_patch16_224`.
        build: Makes the module, with random weights, on the current default device.
        inputs: Tells the default inputs of the module; it raises OneBasinError where the
            source cannot know them.
        adapt: Gives a checkpoint the names that the module has.
        calling: Tells, for the error that building ended with, what was called where; without
            it building is called that.
    """

    name: str
    build: Callable[[], nn.Module]
    inputs: Callable[[Any], tuple[InputSpec, ...]]
    adapt: Callable[[nn.Module, Checkpoint], Checkpoint] = as_it_is
    calling: Callable[[BaseException], str] | None = None


def suggestion(name: str, known: list[str]) -> str:
    """Name the most similar known names, or some of them where none is similar.

    Args:
        name: What the user wrote; upper and lower case count as equal.
        known: The names that exist, not empty.

    Returns:
        Text such as `did you mean 'resnet50' or 'resnet152'?`.

    Examples:
        >>> suggestion("Cnn", ["nn", "CNN", "torch"])
        "did you mean 'CNN' or 'nn'?"
    """
    spellings: dict[str, list[str]] = {}
    for each in known:
        spellings.setdefault(each.casefold(), []).append(each)
    folded = get_close_matches(name.casefold(), spellings, n=3)
    close = [spelling for each in folded for spelling in spellings[each]][:3]
    if close:
        return f"did you mean {' or '.join(repr(match) for match in close)}?"
    others = " and others" if len(known) > 3 else ""
    return f"known are {', '.join(repr(other) for other in known[:3])}{others}"


def refuse_downloads(spec: str, arguments: Mapping[str, Any], keys: Iterable[str]) -> None:
    """Refuse arguments with which a library would download weights.

    Args:
        spec: The architecture, for the error text.
        arguments: What the user gave.
        keys: The arguments that name weights; they may only be false or None.

    Raises:
        OneBasinError: One of them asks for weights.
    """
    for key in keys:
        if arguments.get(key):
            raise OneBasinError(
                f"{spec}: {key}={arguments[key]!r} would download weights, and nothing is "
                "downloaded; give the weights as a checkpoint file"
            )


def refuse_files(spec: str, arguments: Any) -> None:
    """Refuse arguments with which timm would read a file while it builds a model.

    Args:
        spec: The architecture, for the error text.
        arguments: Plain values; mappings and lists inside them are searched, too.

    Raises:
        OneBasinError: A mapping has one of `FILE_ARGUMENTS` with a value.
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
                    "leave it out and give the weights as a checkpoint file"
                )
        stack.extend(value.values())
