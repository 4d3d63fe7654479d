"""Enlarged networks of named architectures: the arguments that build them."""

import json

import pytest
import torch

import onebasin
from onebasin._packages import import_torchvision
from onebasin.networks import MLP

LLAMA = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "vocab_size": 40,
    "max_position_embeddings": 32,
}


def write_mlp(path, seed):
    torch.manual_seed(seed)
    onebasin.write_checkpoint(path, MLP(depth=2, width=12, in_features=6).state_dict())
    return path


def test_an_argument_of_a_named_architecture_is_recorded(tmp_path):
    paths = [write_mlp(tmp_path / f"{seed}.safetensors", seed) for seed in range(2)]
    inputs = torch.randn(600, 6)
    arguments = {"depth": 2, "width": 12, "in_features": 6}
    output = tmp_path / "merged.safetensors"
    merged = onebasin.merge(
        "mlp", paths, data=[*inputs.split(100)], arch_args=arguments, size=1.3, output=output
    )
    width = merged.arch_args["width"]
    assert list(merged.arch_args) == ["width"]
    assert 12 < width < 24
    assert f"build it with width={width}" in merged.summary()
    built = MLP(depth=2, width=width, in_features=6)
    built.load_state_dict(dict(onebasin.open_checkpoint(output)))


@pytest.mark.filterwarnings("ignore:the units of .* are all merged")
def test_the_configuration_of_a_folder_is_changed(tmp_path):
    transformers = pytest.importorskip("transformers")
    import_torchvision()
    for seed, name in enumerate("ab"):
        torch.manual_seed(seed)
        config = transformers.LlamaConfig(**LLAMA)
        transformers.LlamaForCausalLM(config).save_pretrained(tmp_path / name)
    folders = [tmp_path / "a", tmp_path / "b"]
    data = [{"input_ids": torch.randint(0, 40, (8, 12))} for _ in range(6)]
    output = tmp_path / "merged"
    merged = onebasin.merge(
        str(folders[0]), folders, data=data, size=1.2, output=output, evaluate=False
    )
    width = json.loads((output / "config.json").read_text())["intermediate_size"]
    assert merged.arch_args == {"intermediate_size": width}
    assert width > 24
    model = transformers.LlamaForCausalLM.from_pretrained(output)
    assert torch.equal(model.lm_head.weight, merged.state_dict["lm_head.weight"])
    assert model.model.layers[0].mlp.up_proj.out_features == width
