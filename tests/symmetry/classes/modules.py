"""Small modules, each with an operator that decides the class of a group."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Rule = Callable[..., Tensor]


class Function(nn.Module):
    """A module whose forward pass is a function of its parts and its inputs.

    Args:
        rule: the function; its first argument is the module.
        parts: submodules and parameters by name.
    """

    def __init__(self, rule: Rule, **parts: nn.Module | Tensor) -> None:
        super().__init__()
        self.rule = rule
        for name, part in parts.items():
            setattr(self, name, part if isinstance(part, nn.Module) else nn.Parameter(part))

    def forward(self, *inputs: Tensor) -> Tensor:
        return self.rule(self, *inputs)


def hidden(rule: Rule, **parts: Any) -> Function:
    """Return two linear layers with a function of six hidden units between them."""
    return Function(
        lambda m, x: m.out(rule(m, m.first(x))),
        first=nn.Linear(4, 6),
        out=nn.Linear(6, 3),
        **parts,
    )


def gated(rule: Rule) -> Function:
    """Return a function of two streams of six units between linear layers."""
    layers = {"up": nn.Linear(4, 6), "gate": nn.Linear(4, 6), "out": nn.Linear(6, 3)}
    return Function(lambda m, x: m.out(rule(m.up(x), m.gate(x))), **layers)


def stream(norm: Callable[[], nn.Module], **parts: Any) -> Function:
    """Return a residual stream of six units with a branch, read through two norms."""

    def rule(m: Any, x: Tensor) -> Tensor:
        h = m.first(x)
        return m.out(m.last_norm(h + m.down(F.gelu(m.up(m.norm(h))))))

    layers = {"first": nn.Linear(4, 6), "up": nn.Linear(6, 5), "down": nn.Linear(5, 6)}
    return Function(rule, **layers, norm=norm(), last_norm=norm(), out=nn.Linear(6, 3), **parts)


class Attention(nn.Module):
    """Attention with heads of three channels.

    Args:
        heads: number of query heads.
        shared: number of key and value heads.
        norms: normalizations of queries and keys.
        is_fused: whether queries, keys and values have one weight.
    """

    def __init__(
        self,
        *,
        heads: int = 2,
        shared: int = 2,
        norms: tuple[nn.Module, nn.Module] | None = None,
        is_fused: bool = False,
    ) -> None:
        super().__init__()
        self.heads, self.shared, self.is_fused = heads, shared, is_fused
        widths = [heads * 3, shared * 3, shared * 3]
        names = ["qkv"] if is_fused else ["q", "k", "v"]
        for name, width in zip(names, [sum(widths)] if is_fused else widths, strict=True):
            setattr(self, name, nn.Linear(4, width))
        self.widths = widths
        self.norms = nn.ModuleList(norms or ())
        self.o = nn.Linear(heads * 3, 3)

    def forward(self, x: Tensor) -> Tensor:
        batch, length, _ = x.shape
        parts = (
            self.qkv(x).split(self.widths, -1)
            if self.is_fused
            else [self.q(x), self.k(x), self.v(x)]
        )
        q, k, v = (part.view(batch, length, -1, 3).transpose(1, 2) for part in parts)
        if self.norms:
            q, k = (norm(part) for norm, part in zip(self.norms, (q, k), strict=True))
        if self.shared < self.heads:
            k, v = (self._repeated(part) for part in (k, v))
        mixed = F.scaled_dot_product_attention(q, k, v)
        return self.o(mixed.transpose(1, 2).reshape(batch, length, -1))

    def _repeated(self, part: Tensor) -> Tensor:
        batch, _, length, size = part.shape
        wide = part[:, :, None].expand(batch, self.shared, self.heads // self.shared, length, size)
        return wide.reshape(batch, self.heads, length, size)


def rms(x: Tensor) -> Tensor:
    """Return a value divided by its root mean square."""
    return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6)


def convolutions(*layers: nn.Module) -> nn.Sequential:
    """Return convolutions, then a mean over positions and a classifier of four channels."""
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))
