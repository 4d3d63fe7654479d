"""What a source makes of an architecture's name."""

from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from torch import nn

from onebasin.checkpoints.inputs import InputSpec


@dataclass(frozen=True)
class Recipe:
    """How to build an architecture and what to feed it.

    Args:
        name: The specification, such as `timm:vit_tiny_patch16_224`.
        build: Makes the module, with random weights, on the current default device.
        inputs: Tells the default inputs of the module; it raises OneBasinError where the
            source cannot know them.
    """

    name: str
    build: Callable[[], nn.Module]
    inputs: Callable[[Any], tuple[InputSpec, ...]]


def suggestion(name: str, known: list[str]) -> str:
    """Name the most similar known names, or some of them where none is similar.

    Args:
        name: What the user wrote.
        known: What there is, not empty.

    Returns:
        Text such as `did you mean 'resnet50' or 'resnet152'?`.
    """
    close = get_close_matches(name, known, n=3)
    if close:
        return f"did you mean {' or '.join(repr(match) for match in close)}?"
    return f"known are {', '.join(repr(other) for other in known[:3])} and others"
