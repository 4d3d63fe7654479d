"""Architectures of transformers: building, example inputs, reading and writing of files."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from onebasin._packages import import_torchvision
from onebasin.checkpoints import (
    build_architecture,
    check_fits,
    load_module,
    open_checkpoint,
    open_checkpoint_for,
    write_checkpoint,
)
from onebasin.errors import OneBasinError

TEXT = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "vocab_size": 99,
    "max_position_embeddings": 64,
}
VISION = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "image_size": 32,
    "patch_size": 8,
}
SEQUENCES = {
    "d_model": 32,
    "encoder_layers": 1,
    "decoder_layers": 1,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 64,
    "decoder_ffn_dim": 64,
    "vocab_size": 99,
}
MODELS: dict[str, dict[str, Any]] = {
    "BertForMaskedLM": {"model_type": "bert", **TEXT},
    "LlamaForCausalLM": {"model_type": "llama", "num_key_value_heads": 2, **TEXT},
    "GPTNeoXForCausalLM": {"model_type": "gpt_neox", **TEXT},
    "MixtralForCausalLM": {
        "model_type": "mixtral",
        "num_key_value_heads": 2,
        "num_local_experts": 11,
        **TEXT,
    },
    "ViTForImageClassification": {"model_type": "vit", **VISION},
    "T5ForConditionalGeneration": {
        "model_type": "t5",
        "d_model": 32,
        "d_kv": 8,
        "d_ff": 64,
        "num_layers": 1,
        "num_heads": 4,
        "vocab_size": 99,
        "decoder_start_token_id": 0,
    },
    "WhisperForConditionalGeneration": {
        "model_type": "whisper",
        "max_source_positions": 50,
        "max_target_positions": 30,
        "num_mel_bins": 16,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "decoder_start_token_id": 3,
        "suppress_tokens": None,
        "begin_suppress_tokens": None,
        **SEQUENCES,
    },
    "CLIPModel": {
        "model_type": "clip",
        "projection_dim": 16,
        "text_config": TEXT,
        "vision_config": VISION,
    },
    "Wav2Vec2ForCTC": {
        "model_type": "wav2vec2",
        "conv_dim": [8] * 7,
        "num_conv_pos_embeddings": 16,
        "num_conv_pos_embedding_groups": 2,
        **{key: value for key, value in TEXT.items() if key != "max_position_embeddings"},
    },
}
INPUTS = {
    "BertForMaskedLM": {"input_ids": (2, 16)},
    "LlamaForCausalLM": {"input_ids": (2, 16)},
    "GPTNeoXForCausalLM": {"input_ids": (2, 16)},
    "MixtralForCausalLM": {"input_ids": (2, 16)},
    "ViTForImageClassification": {"pixel_values": (2, 3, 32, 32)},
    "T5ForConditionalGeneration": {"input_ids": (2, 16), "decoder_input_ids": (2, 16)},
    "WhisperForConditionalGeneration": {
        "input_features": (2, 16, 100),
        "decoder_input_ids": (2, 16),
    },
    "CLIPModel": {"input_ids": (2, 16), "pixel_values": (2, 3, 32, 32)},
    "Wav2Vec2ForCTC": {"input_values": (2, 10240)},
}


@pytest.fixture(scope="module")
def transformers() -> Any:
    try:
        import_torchvision()
    except OneBasinError:
        pass  # transformers does not need it
    module = pytest.importorskip("transformers", reason="needs onebasin[hub]")
    module.logging.set_verbosity_error()
    module.logging.disable_progress_bar()
    return module


def write_config(folder: Path, name: str, **changes: Any) -> str:
    folder.mkdir(exist_ok=True)
    config = {"architectures": [name], **MODELS[name], **changes}
    (folder / "config.json").write_text(json.dumps(config))
    return f"hf:{folder}"


@pytest.mark.parametrize("name", MODELS)
def test_models_run_on_their_example_inputs(transformers: Any, tmp_path: Path, name: str) -> None:
    model = build_architecture(write_config(tmp_path, name))
    assert type(model.module).__name__ == name
    assert not model.module.training
    assert model.example_args == ()
    assert {key: tuple(x.shape) for key, x in model.example_kwargs.items()} == INPUTS[name]
    assert getattr(model.module.config, "use_cache", False) is False
    with torch.no_grad():
        output = model.module(**model.example_kwargs)
    assert output[0].shape[0] == 2
    assert output.get("past_key_values") is None
    on_meta = build_architecture(f"hf:{tmp_path}", device="meta")
    assert all(p.is_meta for p in on_meta.module.parameters())


@pytest.mark.parametrize("name", MODELS)
def test_files_of_transformers_are_read_and_written(
    transformers: Any, tmp_path: Path, name: str
) -> None:
    """Files of save_pretrained are read with the names of the module and written unchanged."""
    architecture = build_architecture(write_config(tmp_path, name), device="meta")
    trained = build_architecture(f"hf:{tmp_path}", seed=1).module
    trained.save_pretrained(tmp_path / "saved")
    with open_checkpoint_for(architecture, tmp_path / "saved") as checkpoint:
        check_fits(checkpoint, architecture.module)
        loaded = load_module(architecture, checkpoint).state_dict()
        assert all(torch.equal(loaded[key], value) for key, value in trained.state_dict().items())
        doubled = ((key, checkpoint[key] * 2) for key in checkpoint)
        write_checkpoint(f"{tmp_path}/out/", doubled, like=checkpoint, max_shard_size=40_000)
    written = [load_file(file) for file in sorted((tmp_path / "out").glob("*.safetensors"))]
    assert len(written) > 1
    found = {key: value for part in written for key, value in part.items()}
    saved = load_file(tmp_path / "saved" / "model.safetensors")
    assert found.keys() == saved.keys()
    assert all(torch.equal(found[key], saved[key] * 2) for key in saved)
    again = getattr(transformers, name).from_pretrained(tmp_path / "out").state_dict()
    assert all(torch.equal(again[key], value * 2) for key, value in trained.state_dict().items())


def test_experts_are_stacked_for_the_module(transformers: Any, tmp_path: Path) -> None:
    """Uses eleven experts, because 10 must follow 2 in the order."""
    architecture = build_architecture(write_config(tmp_path, "MixtralForCausalLM"))
    architecture.module.save_pretrained(tmp_path / "saved")
    name = "model.layers.0.mlp.experts.gate_up_proj"
    stored = "model.layers.0.block_sparse_moe.experts.10.w1.weight"
    with open_checkpoint(tmp_path / "saved") as raw:
        assert name not in raw
        with open_checkpoint_for(architecture, tmp_path / "saved") as checkpoint:
            assert checkpoint.metadata(name).shape == (11, 128, 32)
            assert torch.equal(checkpoint[name][10, :64], raw[stored])


def test_files_with_the_names_of_the_module_are_not_converted(
    transformers: Any, tmp_path: Path
) -> None:
    architecture = build_architecture(write_config(tmp_path, "ViTForImageClassification"))
    torch.save(architecture.module.state_dict(), tmp_path / "a.pt")
    with open_checkpoint_for(architecture, tmp_path / "a.pt") as checkpoint:
        check_fits(checkpoint, architecture.module)
        assert list(checkpoint) == list(architecture.module.state_dict())


def test_example_tokens_are_not_special_tokens(transformers: Any, tmp_path: Path) -> None:
    changes = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 90}
    model = build_architecture(write_config(tmp_path, "LlamaForCausalLM", **changes))
    tokens = model.example_kwargs["input_ids"]
    assert 2 <= int(tokens.min()) < int(tokens.max()) < 90


def test_configuration_can_be_changed(transformers: Any, tmp_path: Path) -> None:
    spec = write_config(tmp_path, "BertForMaskedLM")
    model = build_architecture(spec, arch_args=["num_hidden_layers=1"], device="meta")
    assert model.module.config.num_hidden_layers == 1
    with pytest.raises(
        OneBasinError, match=r"the configuration has no 'num_layerz'; check arch_ar"
    ):
        build_architecture(spec, arch_args=["num_layerz=1"])


def test_input_can_be_given(transformers: Any, tmp_path: Path) -> None:
    spec = write_config(tmp_path, "BertForMaskedLM")
    for text in ("3x8<50", "input_ids=3x8:int64<50"):
        model = build_architecture(spec, input_spec=text, device="meta")
        assert model.example_args == ()
        assert model.example_kwargs["input_ids"].shape == (3, 8)


def test_without_architectures_the_base_model_is_built(transformers: Any, tmp_path: Path) -> None:
    spec = write_config(tmp_path, "BertForMaskedLM", architectures=None)
    assert type(build_architecture(spec).module).__name__ == "BertModel"


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (None, "the folder has no config.json; copy it there"),
        ("{", r"config\.json: invalid JSON"),
        ("[]", r"config\.json: expected a JSON object"),
        ('{"hidden_size": 3}', r"config\.json: has no 'model_type'"),
        (
            '{"model_type": "no_such_model"}',
            r"transformers [\d.]+ does not accept the config\.json",
        ),
        (
            '{"model_type": "bert", "architectures": ["CustomBert"]}',
            "has no 'CustomBert', which config.json names in 'architectures'",
        ),
        (
            '{"model_type": "bert", "architectures": ["BertConfig"]}',
            "has no 'BertConfig', which config.json names",
        ),
        (
            '{"model_type": "bert", "hidden_size": 30, "num_attention_heads": 4, '
            '"architectures": ["BertModel"]}',
            r"(raised|accept) .*(30|config)",
        ),
    ],
)
def test_invalid_folders_raise(
    transformers: Any, tmp_path: Path, content: str | None, text: str
) -> None:
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    with pytest.raises(OneBasinError, match=text) as caught:
        build_architecture(f"hf:{tmp_path}")
    assert "\n" not in str(caught.value)
    assert str(tmp_path) in str(caught.value)


def test_missing_folder_is_never_downloaded(tmp_path: Path) -> None:
    text = r"hf:bert-base-uncased: no such folder; give a local folder .* nothing is downloaded"
    with pytest.raises(OneBasinError, match=text):
        build_architecture("hf:bert-base-uncased")


def test_a_missing_package_raises(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = write_config(tmp_path, "BertForMaskedLM")
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(OneBasinError, match=r"^transformers is not installed; .*extra 'hub': pip"):
        build_architecture(spec)
