"""Everything hidden moves: groups and orders counted by hand, and verification on the networks."""

from __future__ import annotations

import math
from functools import cache

import pytest

from onebasin import build_architecture, infer_symmetry
from onebasin.symmetry import verify
from tests.networks.cases import CASES


def log10_factorials(*sizes: int) -> float:
    return sum(math.lgamma(size + 1) for size in sizes) / math.log(10)


@cache
def traced_case(case):
    name, arguments = CASES[case]
    return traced(name, arch_args=arguments)


def traced(name, **options):
    architecture = build_architecture(name, **options)
    return architecture, infer_symmetry(architecture.module, architecture.example_args)


VGG_STAGES = {11: (1, 1, 2, 2, 2), 13: (2,) * 5, 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
RESNET_BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3)}


def vgg_sizes(depth, w):
    widths = (w, 2 * w, 4 * w, 8 * w, 8 * w)
    counted = zip(VGG_STAGES[depth], widths, strict=True)
    return [wide for count, wide in counted for _ in range(count)] + [8 * w, 8 * w]


def basic_sizes(blocks, widths):
    """Inside every block one group; the stem and the first stage share a stream."""
    inner = [wide for count, wide in zip(blocks, widths, strict=True) for _ in range(count)]
    return [*widths, *inner]


def bottleneck_sizes(w):
    widths = (w, 2 * w, 4 * w, 8 * w)
    pairs = zip(RESNET_BLOCKS[50], widths, strict=True)
    inner = [wide for count, wide in pairs for _ in range(2 * count)]
    return [w, *(4 * wide for wide in widths), *inner]


def resnet_sizes(depth, w):
    if depth == 50:
        return bottleneck_sizes(w)
    return basic_sizes(RESNET_BLOCKS[depth], (w, 2 * w, 4 * w, 8 * w))


SIZES = {
    "mlp": [8, 8],
    "shallow-cnn": [5] * 4,
    **{f"vgg{depth}": vgg_sizes(depth, 3) for depth in VGG_STAGES},
    **{f"resnet{depth}": resnet_sizes(depth, 3) for depth in RESNET_BLOCKS},
    "resnet20": basic_sizes((3, 3, 3), (4, 8, 16)),
}


@pytest.mark.parametrize("case", [case for case in CASES if case != "vit"])
def test_groups_are_those_counted_by_hand(case):
    name = CASES[case][0]
    _, symmetry = traced_case(case)
    assert sorted(group.size for group in symmetry.groups.values()) == sorted(SIZES[name])
    assert symmetry.log10_order == pytest.approx(log10_factorials(*SIZES[name]))
    assert not symmetry.unsupported_ops


def test_the_groups_of_the_transformer():
    _, symmetry = traced_case("vit")
    # Each block: three heads, in each head four channels of q and k and four of v, and the
    # hidden units; in addition, the residual stream.
    block = log10_factorials(3, 4, 4, 4, 4, 4, 4, 48)
    assert len(symmetry.groups) == 1 + 2 * 4
    assert symmetry.log10_order == pytest.approx(log10_factorials(12) + 2 * block)
    assert not symmetry.unsupported_ops


@pytest.mark.parametrize("case", CASES)
def test_only_inputs_and_outputs_are_fixed(case):
    """What moves nowhere is the bias of the last layer, and nothing else."""
    architecture, symmetry = traced_case(case)
    state = architecture.module.state_dict()
    fixed = sum(t.numel() for n, t in state.items() if n.split(".")[-1] == "num_batches_tracked")
    last = 10
    expected = 1 - last / (sum(t.numel() for t in state.values()) - fixed)
    assert symmetry.permutable_fraction == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(
    "case", ["mlp", "shallow-cnn", "vgg11-batch", "resnet18-layer", "resnet20-batch", "vit"]
)
def test_verification_passes(case):
    architecture, symmetry = traced_case(case)
    proof = verify(symmetry, architecture.module, architecture.example_args, controls=5)
    assert not proof.failed_groups
    assert proof.max_error < 1e-10


def test_the_published_order_of_vgg16():
    """With hidden layers 4096 wide: 35168.55, as of torchvision's."""
    _, symmetry = traced("vgg16", arch_args={"hidden": 4096}, device="meta")
    assert symmetry.log10_order == pytest.approx(35168.55, abs=0.01)


def test_orders_at_full_width():
    _, resnet20 = traced("resnet20", arch_args={"width": 32}, device="meta")
    sizes = basic_sizes((3, 3, 3), (512, 1024, 2048))
    assert resnet20.log10_order == pytest.approx(log10_factorials(*sizes))
    _, resnet50 = traced("resnet50", device="meta")
    assert resnet50.log10_order == pytest.approx(log10_factorials(*bottleneck_sizes(64)))
