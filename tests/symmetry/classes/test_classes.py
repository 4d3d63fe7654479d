"""The class of a group is the largest that all of its operators admit."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from onebasin import infer_symmetry
from tests.symmetry.classes.checks import SAME, Case
from tests.symmetry.classes.modules import (
    Attention,
    Function,
    convolutions,
    gated,
    hidden,
    rms,
    stream,
)

P, POSITIVE, SIGNED, MONOMIAL = "permutation", "positive scales", "signed permutation", "monomial"
GL, ORTHOGONAL, ONES = "general linear", "orthogonal", "orthogonal with ones"

GENERATOR = torch.Generator().manual_seed(1)
VECTORS, SEQUENCE, IMAGES = (
    torch.randn(shape, generator=GENERATOR) for shape in ((4, 4), (2, 5, 4), (2, 3, 8, 8))
)
ROWS = torch.tensor([1, 0, 1])
TOKENS = torch.randint(0, 9, (2, 5), generator=GENERATOR)

FUNCTIONS: dict[str, tuple[Callable[[Tensor], Tensor], str]] = {
    "relu": (F.relu, POSITIVE),
    "tanh": (torch.tanh, SIGNED),
    "gelu": (F.gelu, P),
    "clamp": (lambda x: x.clamp(min=-1, max=2), P),
    "softmax over units": (lambda x: x.softmax(-1), P),
    "sum over units": (lambda x: F.relu(x) - F.relu(x).sum(-1, keepdim=True), P),
    "mean over units": (lambda x: x - x.mean(-1, keepdim=True), ONES),
    "Euclidean norm": (lambda x: F.normalize(x, dim=-1), ORTHOGONAL),
    "norm of a part": (lambda x: torch.cat([rms(x[:, :3]), F.relu(x[:, 3:])], -1), ORTHOGONAL),
    "mask of signs": (lambda x: torch.where(x > 0, x, 0.1 * x), POSITIVE),
    "linear": (lambda x: F.dropout(-2 * x, training=False), GL),
    "adds a number": (lambda x: x + 1, ONES),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_function_of_hidden_units(name: str) -> None:
    function, expected = FUNCTIONS[name]
    case = Case(hidden(lambda m, x: function(x)), VECTORS)
    assert expected in case.classes.values()
    assert case.largest_change() < SAME
    case.assert_laws()


W = torch.randn(6)


def shared_norm(norm: nn.Module) -> nn.Module:
    """Return a stream with one norm that is used twice."""
    return stream(lambda: norm)


MODULES: dict[str, tuple[Callable[[], nn.Module], Tensor, list[str]]] = {
    "shared layer": (
        lambda: hidden(lambda m, x: m.mid(F.relu(m.mid(F.relu(x)))), mid=nn.Linear(6, 6)),
        VECTORS,
        [POSITIVE],
    ),
    "PReLU": (lambda: hidden(lambda m, x: m.act(x), act=nn.PReLU(6)), VECTORS, [POSITIVE]),
    "RMSNorm stream": (lambda: stream(lambda: nn.RMSNorm(6)), VECTORS, [ORTHOGONAL, P]),
    "LayerNorm stream": (lambda: stream(lambda: nn.LayerNorm(6)), VECTORS, [ONES, P]),
    "one norm used twice": (
        lambda: shared_norm(nn.RMSNorm(6)),
        VECTORS,
        [ORTHOGONAL, P],
    ),
    "norm with two kinds of readers": (
        lambda: hidden(lambda m, x: (lambda h: h + F.relu(h))(m.norm(x)), norm=nn.RMSNorm(6)),
        VECTORS,
        [MONOMIAL],
    ),
    "norm that returns to the stream": (
        lambda: hidden(lambda m, x: x + m.norm(x), norm=nn.LayerNorm(6)),
        VECTORS,
        [P],
    ),
    "gain 1 + w": (lambda: hidden(lambda m, x: rms(x) * (1 + m.w), w=W), VECTORS, [ORTHOGONAL]),
    "gain 1 + w in another precision": (
        lambda: hidden(lambda m, x: rms(x) * (1 + m.w.double()).type_as(x), w=W),
        VECTORS,
        [ORTHOGONAL],
    ),
    "gain 1 + 2 w": (lambda: hidden(lambda m, x: F.relu(x) * (1 + 2 * m.w), w=W), VECTORS,
                     [POSITIVE]),
    "gain 1 + w in another shape": (
        lambda: hidden(
            lambda m, x: (F.relu(x).view(-1, 2, 3) * (1 + m.w.view(2, 3))).flatten(1), w=W
        ),
        VECTORS,
        [P],
    ),
    "LayerScale": (
        lambda: hidden(lambda m, x: x + m.w * m.mid(F.relu(x)), mid=nn.Linear(6, 6), w=W),
        VECTORS,
        [MONOMIAL],
    ),
    "GLU": (lambda: gated(lambda u, g: u * F.silu(g)), VECTORS, [MONOMIAL]),
    "maximum with one value": (
        lambda: hidden(lambda m, x: torch.maximum(x, m.w), w=torch.zeros(1)),
        VECTORS,
        [P],
    ),
    "concatenation": (
        lambda: Function(
            lambda m, x: m.out(torch.cat([F.relu(m.a(x)), m.b(x)], -1)),
            a=nn.Linear(4, 6), b=nn.Linear(4, 5), out=nn.Linear(11, 3),
        ),
        VECTORS,
        [POSITIVE, GL],
    ),
    "cosine similarity": (
        lambda: Function(
            lambda m, x: F.normalize(m.a(x), dim=-1) @ F.normalize(m.b(x), dim=-1).T,
            a=nn.Linear(4, 6), b=nn.Linear(4, 6),
        ),
        VECTORS,
        [ORTHOGONAL],
    ),
    "tied embedding": (
        lambda: Function(
            lambda m, t: F.linear(m.norm(m.e(t)), m.e.weight), e=nn.Embedding(9, 6),
            norm=nn.RMSNorm(6),
        ),
        TOKENS,
        [SIGNED],
    ),
    "shared key heads": (lambda: Attention(heads=4), SEQUENCE, [P, P, GL, GL]),
    "fused projection": (lambda: Attention(is_fused=True), SEQUENCE, [P, GL, GL]),
    "norms of queries and keys": (
        lambda: Attention(norms=(nn.RMSNorm(3), nn.RMSNorm(3))),
        SEQUENCE,
        [P, MONOMIAL, GL],
    ),
    "norm of queries and keys without gain": (
        lambda: Attention(norms=(nn.RMSNorm(3, elementwise_affine=False),) * 2),
        SEQUENCE,
        [P, ORTHOGONAL, GL],
    ),
    "batch norm": (
        lambda: convolutions(
            nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 4, 3)
        ),
        IMAGES,
        [POSITIVE, GL],
    ),
    "group norm after ReLU": (
        lambda: convolutions(
            nn.Conv2d(3, 6, 3), nn.ReLU(), nn.GroupNorm(1, 6), nn.Conv2d(6, 4, 3), nn.ReLU()
        ),
        IMAGES,
        [MONOMIAL, POSITIVE],
    ),
    "pooling": (
        lambda: convolutions(
            nn.Conv2d(3, 6, 3, padding=1, padding_mode="reflect"), nn.MaxPool2d(2),
            nn.Conv2d(6, 4, 3), nn.AvgPool2d(2),
        ),
        IMAGES,
        [POSITIVE, GL],
    ),
    "depthwise convolution": (
        lambda: convolutions(
            nn.Conv2d(3, 6, 3), nn.GELU(), nn.Conv2d(6, 6, 3, groups=6), nn.ReLU(),
            nn.Conv2d(6, 4, 1),
        ),
        IMAGES,
        [POSITIVE, GL],
    ),
    "grouped convolution": (
        lambda: convolutions(nn.Conv2d(3, 9, 1), nn.ReLU(), nn.Conv2d(9, 12, 3, groups=3),
                             nn.Conv2d(12, 4, 1)),
        IMAGES,
        [MONOMIAL, POSITIVE, GL, GL],
    ),
    "flattened positions": (
        lambda: nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(216, 3)),
        IMAGES,
        [POSITIVE],
    ),
    "rows of a stream at indices": (
        lambda: hidden(
            lambda m, x: x.index_add(0, ROWS, m.mid(rms(x)[ROWS])), mid=nn.Linear(6, 6)
        ),
        VECTORS,
        [ORTHOGONAL],
    ),
    "weight norm": (
        lambda: nn.Sequential(
            nn.Linear(4, 6), nn.ReLU(), nn.utils.parametrizations.weight_norm(nn.Linear(6, 3))
        ),
        VECTORS,
        [P],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MODULES)
def test_module(name: str) -> None:
    build, inputs, expected = MODULES[name]
    case = Case(build(), inputs)
    assert sorted(case.classes.values()) == sorted(expected), case.classes
    assert case.largest_change() < SAME
    assert case.larger_classes() == {}
    case.assert_laws()


def test_outer_group_does_not_mix_units() -> None:
    """Groups of channels are related by linear operators only, but channels nest in them."""
    layers = nn.Conv2d(3, 9, 1), nn.Conv2d(9, 9, 1, groups=3), nn.Conv2d(9, 4, 1)
    case = Case(convolutions(*layers), IMAGES)
    outer = {name for group in case.symmetry.groups.values() for name in group.nested_in}
    (name,) = outer
    assert not case.symmetry.actions[name].mixes
    assert case.symmetry.actions[name].reason == "other groups nest in it"


def test_classes_can_be_restricted_to_permutations() -> None:
    model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3))
    symmetry = infer_symmetry(model, VECTORS, classes="permutation")
    assert not symmetry.actions
    assert symmetry.groups["0"].symmetry_class == P
