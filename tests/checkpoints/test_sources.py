"""Architectures of torchvision and timm: default inputs, arguments, unknown names."""

import sys

import pytest
import torch

from onebasin.checkpoints import Architecture, build_architecture
from onebasin.errors import OneBasinError


def build(spec: str, **options: object) -> Architecture:
    """Build an architecture of an optional package, or skip the test without the package."""
    try:
        return build_architecture(spec, **options)  # type: ignore[arg-type]
    except OneBasinError as error:
        if "is not installed" in str(error):
            pytest.skip(str(error))
        raise


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("resnet18", (2, 3, 224, 224)),
        ("inception_v3", (2, 3, 299, 299)),
        ("googlenet", (2, 3, 224, 224)),
        ("vit_h_14", (2, 3, 224, 224)),
        ("swin_v2_t", (2, 3, 224, 224)),
        ("efficientnet_b7", (2, 3, 224, 224)),
        ("fcn_resnet50", (2, 3, 224, 224)),
        ("r3d_18", (2, 3, 16, 112, 112)),
        ("mvit_v2_s", (2, 3, 16, 224, 224)),
    ],
)
def test_torchvision_default_inputs(name: str, shape: tuple[int, ...]) -> None:
    model = build(f"torchvision:{name}", device="meta")
    assert [tuple(x.shape) for x in model.example_args] == [shape]
    assert model.example_kwargs == {}
    assert not model.module.training
    with torch.no_grad():
        output = model.module(*model.example_args)
    first = output["out"] if isinstance(output, dict) else output
    assert first.shape[0] == 2


def test_torchvision_arguments() -> None:
    small = build("torchvision:resnet18", arch_args=["num_classes=7"], input_spec="2x3x64x64")
    with torch.no_grad():
        assert small.module(*small.example_args).shape == (2, 7)
    vit = build("torchvision:vit_b_16", arch_args=["image_size=32"], device="meta")
    assert vit.example_args[0].shape == (2, 3, 32, 32)


def test_torchvision_without_default_input() -> None:
    with pytest.raises(OneBasinError, match=r"torchvision:ssd300_vgg16: has no default input"):
        build("torchvision:ssd300_vgg16", device="meta")


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        ("torchvision:resnet51", r"torchvision has no such model; did you mean .*'resnet50'"),
        ("torchvision:qqqq", r"torchvision has no such model; known are 'alexnet', .* and others"),
        ("timm:vit_tiny_patch16_225", "timm has no such model; did you mean 'vit_tiny_patch16_224"),
        ("timm:qqqq", "timm has no such model; known are "),
    ],
)
def test_unknown_models_raise(spec: str, text: str) -> None:
    with pytest.raises(OneBasinError, match=rf"^{spec}: {text}"):
        build(spec)


def test_invalid_arguments_of_the_builder_raise() -> None:
    with pytest.raises(OneBasinError, match=r"18: building it with \(layers=3\) raised TypeError"):
        build("torchvision:resnet18", arch_args=["layers=3"])


@pytest.mark.parametrize(
    ("spec", "argument"),
    [
        ("torchvision:resnet18", "weights=DEFAULT"),
        ("torchvision:fcn_resnet50", "weights_backbone=DEFAULT"),
        ("timm:resnet18", "pretrained=true"),
    ],
)
def test_nothing_is_downloaded(spec: str, argument: str) -> None:
    with pytest.raises(OneBasinError, match=rf"{spec}: .* would download weights; remove it"):
        build(spec, arch_args=[argument])


def test_arguments_without_weights_are_accepted() -> None:
    build("torchvision:squeezenet1_1", arch_args=["weights=none"], device="meta")
    build("timm:resnet18", arch_args=["pretrained=false"], device="meta")


@pytest.mark.parametrize(
    ("name", "arguments", "shape"),
    [
        ("vit_tiny_patch16_224", [], (2, 3, 224, 224)),
        ("resnet10t", [], (2, 3, 176, 176)),
        ("vit_tiny_patch16_224", ["img_size=64", "in_chans=1"], (2, 1, 64, 64)),
        ("vit_tiny_patch16_224", ["img_size=(64, 32)"], (2, 3, 64, 32)),
    ],
)
def test_timm_default_inputs(name: str, arguments: list[str], shape: tuple[int, ...]) -> None:
    model = build(f"timm:{name}", arch_args=arguments, device="meta")
    assert [tuple(x.shape) for x in model.example_args] == [shape]
    with torch.no_grad():
        assert model.module(*model.example_args).shape == (2, 1000)


def test_a_timm_model_runs() -> None:
    model = build("timm:test_vit", arch_args=["num_classes=5"])
    with torch.no_grad():
        assert model.module(*model.example_args).shape == (2, 5)


def test_missing_timm_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    build("torchvision:squeezenet1_1", device="meta")  # skips without torchvision
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(OneBasinError, match=r"^timm is not installed; .*extra 'vision': pip"):
        build_architecture("timm:resnet18")
