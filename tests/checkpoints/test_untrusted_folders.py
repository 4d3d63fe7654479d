"""Untrusted folders: no code runs, nothing is downloaded, invalid values raise."""

import builtins
import json
import socket
import time
from pathlib import Path
from typing import Any

import pytest

from onebasin._packages import import_torchvision
from onebasin.checkpoints import build_architecture
from onebasin.checkpoints._sources.transformers_config import needs_network, offline
from onebasin.errors import OneBasinError

BERT = {
    "model_type": "bert",
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "vocab_size": 20,
    "max_position_embeddings": 16,
}
BLIP = {
    "model_type": "blip_vision_model",
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
}
CODE = {"AutoModel": "modeling_evil.Evil", "AutoConfig": "configuration_evil.EvilConfig"}


@pytest.fixture(autouse=True)
def guarded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail on any prompt and any use of the network, even in online mode."""
    import_torchvision()
    constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)

    def refuse(*args: Any, **kwargs: Any) -> Any:
        pytest.fail(f"called with {args}")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(builtins, "input", refuse)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder whose code writes a file when it is imported."""
    for name in ("modeling_evil", "configuration_evil"):
        code = f"open({str(tmp_path / 'RAN')!r}, 'w').close()\nclass Evil: pass\n"
        (tmp_path / f"{name}.py").write_text(code)
    return tmp_path


def error_of(folder: Path, config: Any, **options: Any) -> str:
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(OneBasinError) as error:
        build_architecture(f"hf:{folder}", **options)
    assert not (folder / "RAN").exists()
    return str(error.value)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({**BLIP, "auto_map": CODE}, "transformers has no AutoModel for BlipVisionConfig, and"),
        ({"model_type": "evil", "auto_map": CODE}, "does not know the model_type 'evil', and"),
        (
            {**BERT, "architectures": ["Evil"], "auto_map": CODE},
            "has no 'Evil', and",
        ),
        (
            {
                "model_type": "vision-text-dual-encoder",
                "vision_config": {**BLIP, "auto_map": CODE},
                "text_config": BERT,
            },
            "Unrecognized configuration class",
        ),
    ],
)
def test_code_of_a_folder_is_never_run(folder: Path, config: Any, message: str) -> None:
    text = error_of(folder, config)
    assert message in text
    if message.endswith("and"):
        assert "('configuration_evil.py', 'modeling_evil.py') is never run; use a model" in text


def test_a_known_class_is_built_without_the_code(folder: Path) -> None:
    config = {**BERT, "architectures": ["BertModel"], "auto_map": CODE}
    (folder / "config.json").write_text(json.dumps(config))
    module = build_architecture(f"hf:{folder}").module
    assert type(module).__module__.startswith("transformers.")
    assert not (folder / "RAN").exists()


@pytest.mark.parametrize("key", ["subfolder", "gguf_file", "cache_dir", "return_unused_kwargs"])
def test_arguments_cannot_select_other_files(folder: Path, key: str) -> None:
    assert f"{key} cannot be set; code" in error_of(folder, BERT, arch_args=[f"{key}=x"])


def test_code_cannot_be_allowed_by_an_argument(folder: Path) -> None:
    text = error_of(folder, {**BLIP, "auto_map": CODE}, arch_args=["trust_remote_code=true"])
    assert "trust_remote_code cannot be set; code of a folder is never run" in text


DPT = {"model_type": "dpt", "architectures": ["DPTForDepthEstimation"]}


@pytest.mark.parametrize(
    "config",
    [
        {**DPT, "backbone": "microsoft/resnet-18", "use_pretrained_backbone": True},
        {**DPT, "backbone": "microsoft/resnet-18", "use_timm_backbone": False},
        {"model_type": "maskformer", "backbone": "microsoft/swin-tiny-patch4-window7-224"},
    ],
)
def test_a_backbone_of_the_hub_is_not_downloaded(folder: Path, config: Any) -> None:
    name = config["backbone"]
    assert f"names the backbone {name!r} of the Hugging Face hub" in error_of(folder, config)


@pytest.mark.parametrize("key", ["checkpoint_path", "pretrained_cfg", "cache_dir"])
def test_a_configuration_cannot_name_files_that_timm_reads(folder: Path, key: str) -> None:
    pytest.importorskip("timm")
    config = {"architecture": "resnet18", "model_type": "timm_wrapper", "num_classes": 3}
    wrapper = {**config, "architectures": ["TimmWrapperForImageClassification"]}
    message = error_of(folder, {**wrapper, "model_args": {key: str(folder / "evil.pth")}})
    assert f"{key}=" in message and "would read files" in message


def test_arguments_cannot_name_files_that_timm_reads(folder: Path) -> None:
    pytest.importorskip("timm")
    for arguments in ({"checkpoint_path": "evil.pth"}, {"block_args": {"cache_dir": "x"}}):
        with pytest.raises(OneBasinError, match="would read files while the model is built"):
            build_architecture("timm:resnet18", arch_args=arguments)


def test_a_pretrained_timm_backbone_is_built_without_its_weights(folder: Path) -> None:
    pytest.importorskip("timm")
    config = {
        "model_type": "timm_backbone",
        "architectures": ["TimmBackbone"],
        "backbone": "resnet10t",
        "use_pretrained_backbone": True,
    }
    (folder / "config.json").write_text(json.dumps(config))
    build_architecture(f"hf:{folder}", input_spec="2x3x32x32", device="meta")


def test_a_kernel_of_the_hub_is_not_loaded(folder: Path) -> None:
    config = {**BERT, "architectures": ["BertModel"], "attn_implementation": "someone/kernel"}
    (folder / "config.json").write_text(json.dumps(config))
    build_architecture(f"hf:{folder}")


def test_the_offline_mode_is_restored() -> None:
    hub = pytest.importorskip("huggingface_hub")
    with offline():
        started = time.monotonic()
        with pytest.raises(Exception) as error:
            hub.HfApi().repo_exists("microsoft/resnet-18")
        assert needs_network(error.value)
        assert time.monotonic() - started < 5
    assert hub.constants.HF_HUB_OFFLINE is False
    assert not needs_network(ValueError())


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ([], "expected a JSON object"),
        ({"model_type": 3}, "has no 'model_type'"),
        ({"model_type": ["bert"]}, "has no 'model_type'"),
        ({**BERT, "architectures": [1]}, "'architectures' is [1]; expected a list of class names"),
        ({**BERT, "architectures": {"a": 1}}, "'architectures' is {'a': 1}; expected a list"),
        ({**BERT, "architectures": "BertModel"}, "'architectures' is 'BertModel'; expected"),
        ({**BERT, "hidden_size": "big"}, "hidden_size"),
        ({**BERT, "hidden_size": None}, "hf:"),
        ({**BERT, "hidden_size": -3}, "hf:"),
        ({**BERT, "hidden_size": [16]}, "hf:"),
        ({**BERT, "vocab_size": {}}, "hf:"),
        ({**BERT, "num_hidden_layers": 1.5}, "hf:"),
        ({**BERT, "num_hidden_layers": 10**30}, "expected at most 100,000, so correct config.json"),
        ({**BERT, "max_position_embeddings": "x"}, "hf:"),
        ({**BERT, "id2label": 3}, "hf:"),
        ({**BERT, "id2label": {"x": "y"}}, "hf:"),
        ({**BERT, "pad_token_id": "x"}, "hf:"),
        ({"model_type": "vit", "image_size": "big"}, "hf:"),
        ({"model_type": "vit", "image_size": [1, 2, 3], "patch_size": 1}, "hf:"),
        ({"model_type": "clip", "text_config": 3}, "hf:"),
        ({"model_type": "clip", "vision_config": []}, "hf:"),
        ({"model_type": "dpt", "backbone_config": {"model_type": "\x1b[31m"}}, "hf:"),
        ({"model_type": "dpt", "backbone_config": [1]}, "hf:"),
    ],
)
def test_values_of_wrong_types_are_user_errors(folder: Path, config: Any, message: str) -> None:
    assert message in error_of(folder, config, device="meta")


def test_a_deeply_nested_configuration_raises(folder: Path) -> None:
    (folder / "config.json").write_text('{"a":' * 100_000 + "1" + "}" * 100_000)
    with pytest.raises(OneBasinError, match=r"config.json: JSON is nested too deep"):
        build_architecture(f"hf:{folder}")
