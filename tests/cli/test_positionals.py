"""Positional arguments: ARCH and the checkpoints, with ARCH omitted where A determines it."""

import json

import pytest
from safetensors.torch import save_file

from onebasin.checkpoints import ArchitectureRecord
from onebasin.cli.positionals import split_positionals
from onebasin.errors import OneBasinError
from tests.cli.run import TINY, WIDTH, fail, network, succeed


@pytest.fixture
def files(tmp_path, monkeypatch):
    """Folders a, b, c with a config.json, a file without a record and one with a record."""
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text("{}")
    record("r.safetensors", ArchitectureRecord("mlp", {"width": WIDTH, "depth": 2}))
    save_file(network(1), "plain.safetensors")
    return tmp_path


def record(path: str, architecture: ArchitectureRecord) -> None:
    save_file(network(0), path, metadata=architecture.to_metadata())


@pytest.mark.parametrize(
    ("words", "spec", "paths"),
    [
        ("mlp x.pt y.pt", "mlp", "x.pt y.pt"),
        ("hf:a x y", "hf:a", "x y"),
        ("hf:a hf:a hf:b", "hf:a", "a b"),
        ("a a b", "hf:a", "a b"),
        ("a b", "hf:a", "a b"),
        ("a hf:b c", "hf:a", "a b c"),
        ("hf:a hf:b", "hf:a", "a b"),
        ("hf:a hf:b hf:c", "hf:a", "a b c"),
        ("hf:a b c", "hf:a", "b c"),
        ("my.module:build a b", "my.module:build", "a b"),
        ("r.safetensors plain.safetensors", "mlp", "r.safetensors plain.safetensors"),
    ],
)
def test_arguments_are_split(files, words, spec, paths):
    found = split_positionals("merge", words.split())
    assert found.model == spec
    assert " ".join(map(str, found.paths)) == paths


def test_a_number_of_checkpoints_decides_what_hf_means(files):
    found = split_positionals("align", ["hf:a", "hf:b", "hf:c"], maximum=2)
    assert (found.model, [str(path) for path in found.paths]) == ("hf:a", ["b", "c"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("mlp", "0 checkpoints given after ARCH 'mlp'; give two or more, the reference"),
        ("mlp a", "1 checkpoint given after ARCH 'mlp'; give two or more, the reference"),
        ("a", "1 checkpoint given; give two or more, the reference first"),
        ("plain.safetensors r.safetensors", "ARCH is missing (plain.safetensors: no arch"),
        ("plain.safetensors b.pt my.models:build", "such as onebasin merge my.models:build plain"),
        ("plain.safetensors mlp b.pt", "such as onebasin merge mlp plain.safetensors b.pt"),
        ("x.pt y.pt", "x.pt: no such file or folder; check the path"),
        ("./ a b", "the folder has no config.json); give ARCH before the checkpoints"),
    ],
)
def test_wrong_arguments_are_explained(files, words, message):
    with pytest.raises(OneBasinError) as error:
        split_positionals("merge", words.split())
    assert message in str(error.value)


def test_too_many_checkpoints_are_refused(files):
    with pytest.raises(OneBasinError, match=r"^3 checkpoints given after ARCH 'mlp'; give"):
        split_positionals("align", ["mlp", "a", "b", "c"], maximum=2)


def test_a_built_in_name_goes_before_a_folder_of_that_name(files):
    (files / "a").rename(files / "mlp")
    assert split_positionals("merge", ["mlp", "b", "c"]).model == "mlp"
    assert split_positionals("merge", ["./mlp", "b", "c"]).model == "hf:./mlp"


def test_a_record_imports_no_module(files):
    record("x.safetensors", ArchitectureRecord("os:abort"))
    with pytest.raises(OneBasinError, match="records the architecture 'os:abort', which is not pa"):
        split_positionals("merge", ["x.safetensors", "plain.safetensors"])


def test_commands_use_the_record(capsys, files):
    out = files / "out.safetensors"
    succeed(capsys, "align", "r.safetensors", "plain.safetensors", "-o", out)
    plain = succeed(capsys, "inspect", "r.safetensors", "--json").data
    assert plain == succeed(capsys, "inspect", "mlp", *TINY, "--json").data
    line = fail(capsys, "align", "plain.safetensors", "r.safetensors", "-o", out)
    assert "onebasin align torchvision:resnet50 plain.safetensors r.safetensors" in line


def test_a_record_completes_a_given_architecture_and_must_not_contradict_it(capsys, files):
    out = files / "out.safetensors"
    succeed(capsys, "align", "mlp", "r.safetensors", "plain.safetensors", "-o", out)
    given = ("align", "mlp", "r.safetensors", "plain.safetensors", "-o", out)
    line = fail(capsys, *given, "--arch-arg", f"width={WIDTH + 1}")
    assert line.endswith(
        f"was trained with width={WIDTH}, but --arch-arg has width=7; remove it from --arch-arg"
    )
    line = fail(capsys, "align", "vit", "r.safetensors", "plain.safetensors", "-o", out)
    assert "but ARCH is 'vit'; pass the recorded" in line
    record("s.safetensors", ArchitectureRecord("mlp", {"width": 3}))
    line = fail(capsys, "align", "r.safetensors", "s.safetensors", "-o", out)
    assert "s.safetensors: was trained as 'mlp(width=3)', but r.safetensors as" in line


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("adapter_config.json", "holds a PEFT adapter, not a whole model; merge it into its base"),
        ("model_index.json", "holds a diffusers pipeline of several models; give the file of one"),
        ("model.gguf", "the file model.gguf is a GGUF file, whose weights are quantized for llama"),
        ("tf_model.h5", "the file tf_model.h5 holds TensorFlow weights; use the PyTorch weights"),
        ("flax_model.msgpack", "holds Flax weights; use the PyTorch weights of the same model"),
        ("model.onnx", "holds an ONNX graph; use the PyTorch checkpoint that it was exported"),
    ],
)
def test_folders_of_other_tools(capsys, files, name, message):
    (files / "other").mkdir()
    (files / "other" / name).write_text(json.dumps({}))
    assert message in fail(capsys, "merge", "other", "a", "-o", "out.safetensors")


@pytest.mark.parametrize("name", ["x.gguf", "x.h5", "x.msgpack", "x.onnx"])
def test_files_of_other_tools(capsys, files, name):
    (files / name).write_bytes(b"GGUF")
    line = fail(capsys, "merge", "mlp", "r.safetensors", name, "-o", "out.safetensors", *TINY)
    assert line.startswith(f"{name}: unknown kind of checkpoint; the file ")
    (files / "only").mkdir()
    (files / "only" / name).write_bytes(b"GGUF")
    line = fail(capsys, "merge", "mlp", "r.safetensors", "only", "-o", "out.safetensors", *TINY)
    assert line.startswith(f"only: holds no PyTorch checkpoint; the file {name} ")
