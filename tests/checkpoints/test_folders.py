"""Differences between Hugging Face folders: errors, notes, and no effect."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from onebasin._packages import import_torchvision
from onebasin.checkpoints._folders import check_same_configuration, check_same_folder, model_folder
from onebasin.errors import OneBasinError
from tests.cli.run import fail, run

BERT = {
    "model_type": "bert",
    "architectures": ["BertForSequenceClassification"],
    "hidden_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 8,
    "vocab_size": 6,
    "max_position_embeddings": 16,
    "id2label": {"0": "NEGATIVE", "1": "POSITIVE"},
}
LLAMA = {
    "model_type": "llama",
    "hidden_size": 8,
    "num_attention_heads": 2,
    "rope_theta": 10000.0,
    "max_position_embeddings": 16,
}
CLIP = {"model_type": "clip", "text_config": {"hidden_size": 8}, "vision_config": {}}
VOCAB = ["[PAD]", "[UNK]", "a", "b", "c", "ab"]
FAST = {
    "model": {
        "type": "BPE",
        "vocab": {token: index for index, token in enumerate(VOCAB)},
        "merges": ["a b"],
    },
    "added_tokens": [{"id": 0, "content": "[PAD]"}],
    "normalizer": None,
    "pre_tokenizer": {"type": "Whitespace"},
}


@pytest.fixture(scope="module", autouse=True)
def transformers() -> Any:
    import_torchvision()
    return pytest.importorskip("transformers", reason="needs onebasin[hub]")


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    for name in "ab":
        (tmp_path / name).mkdir()
        write(tmp_path / name, "config.json", BERT)
    return tmp_path / "a", tmp_path / "b"


def write(folder: Path, name: str, content: Any) -> None:
    text = content if isinstance(content, str) else json.dumps(content)
    (folder / name).write_text(text)


def compare(folders: tuple[Path, Path], name: str, a: Any, b: Any) -> list[str]:
    write(folders[0], name, a)
    write(folders[1], name, b)
    return check_same_folder(*folders)


def error_of(folders: tuple[Path, Path], name: str, a: Any, b: Any) -> str:
    with pytest.raises(OneBasinError) as error:
        compare(folders, name, a, b)
    assert "use checkpoints that agree" in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    ("base", "changes", "message"),
    [
        (BERT, {"hidden_act": "relu"}, "hidden_act is 'gelu' in "),
        (BERT, {"num_attention_heads": 4}, "num_attention_heads is 2 in "),
        (BERT, {"layer_norm_eps": 1e-6}, "layer_norm_eps is 1e-12 in "),
        (BERT, {"tie_word_embeddings": False}, "tie_word_embeddings is True in "),
        (BERT, {"is_decoder": True}, "is_decoder is False in "),
        (BERT, {"eos_token_id": 3}, "eos_token_id is None in "),
        (BERT, {"pad_token_id": 3}, "pad_token_id is 0 in "),
        (BERT, {"architectures": ["BertForMaskedLM"]}, "architectures is ['BertForSequenceClass"),
        (BERT, {"id2label": {"0": "POSITIVE", "1": "NEGATIVE"}}, "id2label[0] is 'NEGATIVE' in "),
        (BERT, {"id2label": {"0": "x"}}, "number of labels is 2 in "),
        (LLAMA, {"rope_theta": 500000.0}, "rope_parameters.rope_theta is 10000.0 in "),
        (
            LLAMA,
            {"rope_scaling": {"rope_type": "linear", "factor": 2.0}},
            "rope_parameters.rope_type is 'default' in ",
        ),
        (LLAMA, {"rms_norm_eps": 1e-5}, "rms_norm_eps is 1e-06 in "),
        (
            CLIP,
            {"text_config": {"hidden_size": 8, "num_attention_heads": 4}},
            "text_config.num_a",
        ),
        (CLIP, {"text_config": {"hidden_size": 8, "eos_token_id": 2}}, "text_config.eos_token_id"),
        (CLIP, {"vision_config": {"hidden_act": "relu"}}, "vision_config.hidden_act is 'quick_"),
        (CLIP, {"logit_scale_init_value": 1.0}, "logit_scale_init_value is 2.6592 in "),
    ],
)
def test_fields_that_change_the_outputs_raise(folders, base, changes, message):
    line = error_of(folders, "config.json", base, {**base, **changes})
    assert f"{message}" in line
    assert str(folders[0] / "config.json") in line
    assert str(folders[1] / "config.json") in line


@pytest.mark.parametrize(
    ("base", "changes"),
    [
        (BERT, {"transformers_version": "4.0"}),
        (BERT, {"_name_or_path": "x"}),
        (BERT, {"torch_dtype": "float16"}),
        (BERT, {"dtype": "bfloat16"}),
        (BERT, {"architectures": ["BERTForSequenceClassification"]}),
        (BERT, {"use_cache": False, "initializer_range": 0.1, "gradient_checkpointing": True}),
        (BERT, {"hidden_act": "gelu"}),
        (LLAMA, {"top_k": 7, "max_length": 30}),
        (BERT, {"label2id": {"NEGATIVE": 0, "POSITIVE": 1}}),
        (BERT, {"id2label": {"0": "negative", "1": "positive"}}),
        (LLAMA, {"rope_theta": None, "rope_parameters": {"rope_theta": 10000.0}}),
        (CLIP, {"text_config": {"hidden_size": 8, "hidden_act": "quick_gelu"}}),
    ],
)
def test_harmless_fields_are_ignored(folders, base, changes):
    changed = {k: v for k, v in {**base, **changes}.items() if v is not None}
    assert compare(folders, "config.json", base, changed) == []


@pytest.mark.parametrize(
    ("base", "changes", "field"),
    [
        (BERT, {"hidden_dropout_prob": 0.5}, "hidden_dropout_prob is 0.1 in"),
        (BERT, {"architectures": None}, "architectures is"),
        (BERT, {"id2label": {"0": "LABEL_0", "1": "LABEL_1"}}, "id2label[0] is 'NEGATIVE' in"),
        (BERT, {"max_position_embeddings": 32}, "max_position_embeddings is 16 in"),
        (BERT, {"a_field_of_another_tool": 3}, "a_field_of_another_tool is None in"),
        (LLAMA, {"eos_token_id": 7}, "eos_token_id is 2 in"),
        (
            {**LLAMA, "architectures": ["LlamaForCausalLM"]},
            {"pad_token_id": 0},
            "pad_token_id is None in",
        ),
    ],
)
def test_other_fields_give_a_note(folders, base, changes, field):
    (note,) = compare(folders, "config.json", base, {**base, **changes})
    assert note.startswith(field)


def test_another_context_length_raises_for_length_dependent_rotary_embeddings(folders):
    base = {**LLAMA, "rope_scaling": {"rope_type": "dynamic", "factor": 2.0}}
    line = error_of(folders, "config.json", base, {**base, "max_position_embeddings": 32})
    assert "max_position_embeddings is 16 in" in line


def test_unknown_configurations_are_compared_without_defaults(folders):
    base = {"model_type": "of_my_own", "depth": 3}
    assert "depth is 3 in" in error_of(folders, "config.json", base, {**base, "depth": 4})
    (note,) = compare(folders, "config.json", base, {**base, "width": 4})
    assert "width is None in" in note


def fast(**changes: Any) -> dict[str, Any]:
    return {**FAST, **changes}


def model(**changes: Any) -> dict[str, Any]:
    return fast(model={**FAST["model"], **changes})


UNTYPED = {key: value for key, value in FAST["model"].items() if key != "type"}
BYTES = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}
REGEX = {"use_regex": True}
OLD_SPACES = {"type": "Metaspace", "replacement": "_", "add_prefix_space": True}
SPACES = {"type": "Metaspace", "replacement": "_", "prepend_scheme": "always", "split": True}


def split_by(pattern: str) -> dict[str, Any]:
    split = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": True}
    return fast(pre_tokenizer={"type": "Sequence", "pretokenizers": [split, BYTES]})


SWAPPED = {**FAST["model"]["vocab"], "a": 3, "b": 2}


@pytest.mark.parametrize(
    ("name", "a", "b", "message"),
    [
        ("tokenizer.json", FAST, model(vocab=SWAPPED), "token 2 is 'a' in "),
        ("tokenizer.json", FAST, model(merges=["b a"]), "model.merges[0] is 'a b' in "),
        ("tokenizer.json", FAST, model(merges=[]), "number of model.merges is 1 in "),
        ("tokenizer.json", FAST, model(type="WordPiece"), "model.type is 'BPE' in "),
        ("tokenizer.json", FAST, fast(normalizer={"type": "Lowercase"}), "normalizer is None in "),
        (
            "tokenizer.json",
            split_by("a" * 90 + "b"),
            split_by("a" * 90 + "c"),
            "pre_tokenizer.pretokenizers.0.pattern.Regex is ...aaaaaaaaaaaaaaab' in ",
        ),
        (
            "tokenizer.json",
            FAST,
            fast(added_tokens=[{"id": 0, "content": "<pad>"}]),
            "token 0 is '[PAD]' in ",
        ),
        ("vocab.txt", "\n".join(VOCAB), "\n".join(VOCAB[::-1]), "token 0 is '[PAD]' in "),
        ("vocab.json", {"a": 0, "b": 1}, {"a": 1, "b": 0}, "token 0 is 'a' in "),
        ("merges.txt", "#version: 0.2\na b\n", "a c\n", "merges[0] is 'a b' in "),
        ("spiece.model", "x", "y", "content (SHA-256) is "),
        ("tokenizer_config.json", {"do_lower_case": True}, {"do_lower_case": False}, "do_lower"),
        ("preprocessor_config.json", {"image_mean": [0.5]}, {"image_mean": [0.4]}, "image_mean is"),
        (
            "processor_config.json",
            {"image_processor": {"do_normalize": True}},
            {"image_processor": {"do_normalize": False}},
            "image_processor.do_normalize is True in ",
        ),
    ],
)
def test_different_tokenizers_and_preprocessors_raise(folders, name, a, b, message):
    assert f"{message}" in error_of(folders, name, a, b)


@pytest.mark.parametrize(
    ("name", "a", "b"),
    [
        ("tokenizer.json", FAST, model(merges=[["a", "b"]])),
        ("tokenizer.json", FAST, model(dropout=0.1, ignore_merges=False)),
        ("tokenizer.json", FAST, fast(added_tokens=3)),
        ("tokenizer.json", fast(pre_tokenizer=BYTES), fast(pre_tokenizer={**BYTES, **REGEX})),
        ("tokenizer.json", fast(pre_tokenizer=OLD_SPACES), fast(pre_tokenizer=SPACES)),
        ("tokenizer.json", {**FAST, "model": UNTYPED}, FAST),
        ("tokenizer.json", FAST, fast(truncation={"max_length": 3}, version="1.0")),
        ("merges.txt", "#version: 0.2\na b\n", "a b\r\n"),
        ("tokenizer_config.json", {"model_max_length": 3}, {"model_max_length": 4}),
        ("tokenizer_config.json", {"pad_token": "x"}, {"pad_token": {"content": "x"}}),
        ("preprocessor_config.json", {"image_processor_type": "A"}, {"image_processor_type": "B"}),
    ],
)
def test_harmless_differences_of_tokenizers_are_ignored(folders, name, a, b):
    assert compare(folders, name, a, b) == []


@pytest.mark.parametrize(
    ("name", "a", "b", "field"),
    [
        ("tokenizer_config.json", {"chat_template": "x"}, {"chat_template": "y"}, "chat_template"),
        ("tokenizer_config.json", {"eos_token": "x"}, {"eos_token": "y"}, "eos_token is 'x' in"),
        (
            "tokenizer.json",
            FAST,
            fast(added_tokens=[{"id": 6, "content": "<|im_start|>"}]),
            "number of tokens is 6 in",
        ),
        ("preprocessor_config.json", {"size": 8}, {"size": 9}, "size is 8 in"),
    ],
)
def test_other_differences_of_tokenizers_give_a_note(folders, name, a, b, field):
    (note,) = compare(folders, name, a, b)
    assert note.startswith(field)


def test_tokenizers_in_different_files_are_compared(folders):
    write(folders[1], "vocab.txt", "\n".join(["a", *VOCAB[1:]]))
    write(folders[0], "tokenizer.json", FAST)
    with pytest.raises(OneBasinError, match=r"token 0 is '\[PAD\]' in .* but 'a' in "):
        check_same_folder(*folders)


def test_the_architecture_is_compared_with_the_reference(folders):
    write(folders[1], "config.json", {**BERT, "hidden_act": "relu"})
    with pytest.raises(OneBasinError, match=r"^hidden_act is 'gelu' in "):
        check_same_configuration(*folders)
    check_same_configuration(*folders, skipped=["hidden_act"])


def test_model_folder_of_a_checkpoint(folders):
    a = folders[0]
    assert model_folder(a) == a
    assert model_folder(a / "model.safetensors") == a
    assert model_folder(a / "other.safetensors") is None
    assert model_folder(a.parent) is None


def test_commands_compare_folders(capsys, folders, tmp_path):
    from transformers import BertConfig, BertForSequenceClassification

    for seed, folder in enumerate(folders):
        torch.manual_seed(seed)
        module = BertForSequenceClassification(BertConfig(**BERT))
        save_file(module.state_dict(), folder / "model.safetensors")
    out = tmp_path / "out"
    line = fail(capsys, "merge", folders[0], tmp_path / "none", "-o", out, "--no-align")
    assert line.endswith("none: no such file or folder; check the path")
    found = run(capsys, "merge", *folders, "-o", out, "--no-align")
    assert found.code == 0, found.err
    assert (out / "config.json").read_text() == json.dumps(BERT)
    write(folders[1], "config.json", {**BERT, "num_attention_heads": 4})
    for words in (folders, (f"hf:{folders[0]}", *folders), (f"hf:{folders[1]}", folders[0], out)):
        line = fail(capsys, "merge", *words, "-o", tmp_path / "other", "--no-align")
        assert "num_attention_heads is" in line
    assert not (tmp_path / "other").exists()
