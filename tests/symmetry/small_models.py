"""Small modules with hand-written symmetries, for tests of verification."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from onebasin.symmetry.layouts import Product, Sum, Units
from onebasin.symmetry.symmetry import Symmetry


def mlp() -> tuple[nn.Module, Symmetry]:
    model = nn.Sequential(
        nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 6), nn.Tanh(), nn.Linear(6, 5), nn.GELU(),
        nn.Linear(5, 3),
    )  # fmt: skip
    spec = {
        "0.weight": ("a", None), "0.bias": ("a",), "2.weight": ("b", "a"), "2.bias": ("b",),
        "4.weight": ("c", "b"), "4.bias": ("c",), "6.weight": (None, "c"), "6.bias": (None,),
    }  # fmt: skip
    return model, Symmetry.from_spec(spec, model)


def conv_net() -> tuple[nn.Module, Symmetry]:
    model = nn.Sequential(
        nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 4, 3), nn.Flatten(),
        nn.Linear(16, 2),
    )  # fmt: skip
    spec = {name: ("c",) for name in ("0.bias", "1.weight", "1.bias")}
    spec |= {"1.running_mean": ("c",), "1.running_var": ("c",), "3.bias": ("e",)}
    spec |= {"0.weight": ("c", None, None, None), "3.weight": ("e", "c", None, None)}
    spec |= {"5.weight": (None, Product((Units("e", 4), Units("place", 4)))), "5.bias": (None,)}
    return model, Symmetry.from_spec(spec, model, axes=("place",))


class GroupedConv(nn.Module):
    """A grouped convolution between two ordinary convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.into = nn.Conv2d(3, 6, 1)
        self.grouped = nn.Conv2d(6, 12, 3, groups=3, padding=1)
        self.out = nn.Conv2d(12, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.grouped(self.into(x).relu()).relu())


def grouped_conv() -> tuple[nn.Module, Symmetry]:
    model = GroupedConv()
    g, i, o = Units("g", 3), Units("i", 2), Units("o", 4)
    spec = {
        "into.weight": (Product((g, i)), None, None, None), "into.bias": (Product((g, i)),),
        "grouped.weight": (Product((g, o)), i, None, None), "grouped.bias": (Product((g, o)),),
        "out.weight": (None, Product((g, o)), None, None), "out.bias": (None,),
    }  # fmt: skip
    return model, Symmetry.from_spec(spec, model, nested_in={"i": ("g",), "o": ("g",)})


class Attention(nn.Module):
    """Fused qkv attention with a pre-norm, with a given internal precision."""

    def __init__(self, inside: torch.dtype | None = None) -> None:
        super().__init__()
        self.inside = inside
        self.norm = nn.LayerNorm(8)
        self.qkv = nn.Linear(8, 18)
        self.out = nn.Linear(6, 8)
        self.register_buffer("table", torch.linspace(0, 1, 25).reshape(5, 5), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm(x).to(self.inside or x.dtype)
        q, k, v = self.qkv(h.to(x.dtype)).view(2, 5, 3, 2, 3).permute(2, 0, 3, 1, 4)
        scores = q.to(self.inside or x.dtype) @ k.to(self.inside or x.dtype).transpose(2, 3)
        bias = self.table + torch.arange(5) / 5
        weights = functional.softmax(scores + bias, -1, dtype=self.inside).to(v.dtype)
        return x + self.out((weights @ v).transpose(1, 2).reshape(2, 5, 6))


def attention(inside: torch.dtype | None = None) -> tuple[nn.Module, Symmetry]:
    model = Attention(inside)
    h, d, v = Units("h", 2), Units("d", 3), Units("v", 3)
    fused = Sum((Product((h, d)), Product((h, d)), Product((h, v))))
    spec = {
        "norm.weight": (None,), "norm.bias": (None,), "qkv.weight": (fused, None),
        "qkv.bias": (fused,), "out.weight": (None, Product((h, v))), "out.bias": (None,),
    }  # fmt: skip
    return model, Symmetry.from_spec(spec, model, nested_in={"d": ("h",), "v": ("h",)})


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(4, 5, batch_first=True)
        self.out = nn.Linear(5, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.lstm(x)[0])


def recurrent() -> tuple[nn.Module, Symmetry]:
    model = Recurrent()
    gates = Sum((Units("h", 5),) * 4)
    spec = {
        "lstm.weight_ih_l0": (gates, None), "lstm.weight_hh_l0": (gates, "h"),
        "lstm.bias_ih_l0": (gates,), "lstm.bias_hh_l0": (gates,),
        "out.weight": (None, "h"), "out.bias": (None,),
    }  # fmt: skip
    return model, Symmetry.from_spec(spec, model)


class Experts(nn.Module):
    """Mixture of experts that routes each token to its best expert, a discrete choice."""

    def __init__(self) -> None:
        super().__init__()
        self.router = nn.Linear(4, 3, bias=False)
        self.up = nn.Parameter(torch.randn(3, 6, 4))
        self.down = nn.Parameter(torch.randn(3, 4, 6))

    def forward(self, x: Tensor) -> Tensor:
        weight, best = self.router(x).softmax(-1).max(-1)
        hidden = torch.einsum("nhi,ni->nh", self.up[best], x).relu()
        return weight[:, None] * torch.einsum("noh,nh->no", self.down[best], hidden)


def experts() -> tuple[nn.Module, Symmetry]:
    model = Experts()
    spec = {"router.weight": ("e", None), "up": ("e", "h", None), "down": ("e", None, "h")}
    return model, Symmetry.from_spec(spec, model, nested_in={"h": ("e",)})
