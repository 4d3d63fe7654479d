"""Entries of the catalogue: models that are built offline, with an input and random weights.

Initial weights have many constants, such as zero biases and unit scales. A permutation of equal
numbers changes nothing, so verification on them would test nothing. All entries therefore get
weights without equal units.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

Example = tuple[tuple[Any, ...], dict[str, Any]]


@dataclass(frozen=True)
class Entry:
    """A model of the catalogue.

    Args:
        name: name, unique in its library, such as `resnet18` or `LlamaForCausalLM`.
        family: architecture family, such as the source module.
        library: `torchvision`, `timm` or `transformers`.
        build: returns the model in eval mode, float32, random weights, no network access.
        example: takes the model and returns `(args, kwargs)` for one forward pass, batch 2.
    """

    name: str
    family: str
    library: str
    build: Callable[[], nn.Module]
    example: Callable[[nn.Module], Example]

    @property
    def key(self) -> str:
        """`library:name`, unique in the whole catalogue."""
        return f"{self.library}:{self.name}"


def random_images(*shape: int, seed: int = 0) -> Tensor:
    """Normal noise of the given shape, float32."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def random_tokens(batch: int, length: int, vocabulary: int, *, seed: int = 0) -> Tensor:
    """Token ids in `[5, vocabulary)`, shape `(batch, length)`: the first five are often special."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(5, vocabulary, (batch, length), generator=generator)


def seeded(build: Callable[[], nn.Module], *, seed: int = 0) -> nn.Module:
    """Build a model with a seed: in eval mode, without equal units; random states do not change."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = build()
    return enliven(model.eval(), seed=seed)


def enliven(model: nn.Module, *, seed: int = 0) -> nn.Module:
    """Make all units different, in place, by noise on parameters and running statistics.

    The noise is multiplicative; constant tensors (biases, scales, tokens) also get additive noise.
    Other buffers, such as tables of positions and frequencies, are not changed.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.is_floating_point():
                _perturb(parameter, generator)
        for name, buffer in model.named_buffers():
            if name.endswith("running_mean"):
                _perturb(buffer, generator)
            elif name.endswith("running_var"):
                _perturb(buffer, generator)
                buffer.abs_()
    return model


def _perturb(tensor: Tensor, generator: torch.Generator) -> None:
    """Scale each entry by `1 + 0.1 n`; add `0.1 n` where all entries are equal."""
    constant = tensor.numel() > 1 and bool((tensor == tensor.flatten()[0]).all())
    noise = torch.empty(tensor.shape, dtype=tensor.dtype)
    tensor.mul_(noise.normal_(generator=generator).mul_(0.1).add_(1.0))
    if constant:
        tensor.add_(noise.normal_(generator=generator).mul_(0.1))
