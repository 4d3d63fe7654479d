"""Whole architectures: published counts and orders, and verification of small models."""

from __future__ import annotations

from importlib.util import find_spec

import pytest
import torch

from onebasin import build_architecture, infer_symmetry
from onebasin.symmetry import verify
from tests.symmetry.inference.small_architectures import entry, example_of

for _package, _extra in (("timm", "vision"), ("transformers", "hub")):
    if find_spec(_package) is None:
        pytest.skip(f"needs pip install 'onebasin[{_extra}]'", allow_module_level=True)


def inferred(name: str, **options):
    architecture = build_architecture(name, **options)
    return infer_symmetry(
        architecture.module, architecture.example_args, architecture.example_kwargs
    )


@pytest.mark.parametrize(
    ("name", "order"),
    [("vgg16", 35168.55), ("resnet50", 25638.29)],
)
def test_orders_of_torchvision_models(name, order):
    assert inferred(f"torchvision:{name}", device="meta").log10_order == pytest.approx(
        order, abs=0.01
    )


def test_order_of_the_perceptron():
    symmetry = inferred("mlp", arch_args=["in_features=784"])
    assert symmetry.log10_order == pytest.approx(3499.62, abs=0.01)


@pytest.mark.parametrize(
    ("name", "groups"), [("resnet18", 12), ("resnext50_32x4d", 53), ("vit_b_16", 1 + 12 * 4)]
)
def test_groups_of_torchvision_models(name, groups):
    assert len(inferred(f"torchvision:{name}", device="meta").groups) == groups


MODELS = """
    torchvision:resnet torchvision:shufflenet_v2 torchvision:mobilenet_v3
    torchvision:squeezenet1_1 timm:test_vit timm:test_convnext timm:test_efficientnet
    transformers:BertForMaskedLM transformers:LlamaForCausalLM transformers:GPT2LMHeadModel
    transformers:T5ForConditionalGeneration transformers:BartForConditionalGeneration
    transformers:WhisperForConditionalGeneration transformers:MambaForCausalLM
    transformers:MixtralForCausalLM transformers:DeepseekV2ForCausalLM
    transformers:RwkvForCausalLM transformers:SwinForImageClassification
    transformers:ConvNextForImageClassification transformers:GPTNeoXForCausalLM
    transformers:FalconForCausalLM transformers:BloomForCausalLM transformers:CLIPModel
    transformers:Wav2Vec2ForCTC transformers:LevitForImageClassification
""".split()


@pytest.mark.parametrize("key", MODELS)
def test_small_models_are_verified(key):
    model = entry(key).build()
    args, kwargs = example_of(key, model)
    symmetry = infer_symmetry(model, args, kwargs)
    assert [r for r in symmetry.unsupported_ops if "typing rule failed" in r.reason] == []
    verification = verify(symmetry, model, args, kwargs, controls=4)
    assert verification.failed_groups == {}
    assert verification.max_error < 1e-9
    assert verification.symmetry.groups.keys() == symmetry.groups.keys()
    assert symmetry.permutable_fraction > 0.98


@pytest.mark.parametrize(
    ("key", "groups"),
    [("transformers:BertForMaskedLM", 9), ("transformers:LlamaForCausalLM", 1 + 2 * 4)],
)
def test_groups_of_transformers(key, groups):
    model = entry(key).build()
    args, kwargs = entry(key).example(model)
    assert len(infer_symmetry(model, args, kwargs).groups) == groups


def test_inference_does_not_change_the_model():
    model = entry("transformers:LevitForImageClassification").build().train()
    args, kwargs = entry("transformers:LevitForImageClassification").example(model)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    infer_symmetry(model, args, kwargs)
    assert all(module.training for module in model.modules())
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    caches = [getattr(module, "attention_bias_cache", {}) for module in model.modules()]
    assert not any(caches)
