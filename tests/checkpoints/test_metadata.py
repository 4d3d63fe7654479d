"""The recorded architecture of a checkpoint: written, read, merged with arguments."""

import json

import pytest
import torch
from safetensors.torch import save_file

from onebasin.checkpoints import write_checkpoint
from onebasin.checkpoints._metadata import (
    RECORD_KEY,
    ArchitectureRecord,
    merged_arguments,
    read_record,
    shared_record,
)
from onebasin.errors import OneBasinError

RECORD = ArchitectureRecord(
    "mlp", {"width": 64, "norm": "batch"}, ("2x64",), "digits", "mean 0.5, std 0.25"
)


def written(path, record=RECORD):
    write_checkpoint(path, {"w": torch.ones(2)}, metadata=record.to_metadata())
    return path


def test_a_written_record_is_read(tmp_path):
    assert read_record(written(tmp_path / "a.safetensors")) == RECORD
    assert read_record(written(tmp_path / "folder")) == RECORD


def test_files_without_a_record_give_none(tmp_path):
    save_file({"w": torch.ones(2)}, tmp_path / "plain.safetensors")
    torch.save({"w": torch.ones(2)}, tmp_path / "a.pt")
    (tmp_path / "broken.safetensors").write_bytes(b"x")
    for name in ("plain.safetensors", "a.pt", "broken.safetensors", "missing.safetensors"):
        assert read_record(tmp_path / name) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        json.dumps({"spec": 3}),
        json.dumps({"spec": "mlp\x1b[2J"}),
        json.dumps({"spec": "mlp", "arguments": ["width"]}),
        json.dumps({"spec": "mlp", "arguments": {"a b": 1}}),
        json.dumps({"spec": "mlp", "normalization": [1]}),
        "[" * 100_000,
    ],
)
def test_malformed_records_raise(tmp_path, text):
    path = tmp_path / "a.safetensors"
    save_file({"w": torch.ones(2)}, path, metadata={RECORD_KEY: text})
    with pytest.raises(OneBasinError, match=r"a\.safetensors: the metadata"):
        read_record(path)


def test_different_records_of_checkpoints_raise(tmp_path):
    a = written(tmp_path / "a.safetensors")
    b = written(tmp_path / "b.safetensors", ArchitectureRecord("mlp", {"width": 32}))
    torch.save({"w": torch.ones(2)}, tmp_path / "c.pt")
    assert shared_record([tmp_path / "c.pt", a]) == RECORD
    with pytest.raises(OneBasinError, match="width=32"):
        shared_record([a, b])


def test_arguments_that_contradict_the_record_raise():
    given = merged_arguments(RECORD, "mlp", {"width": 64, "depth": 2})
    assert given["depth"] == 2
    with pytest.raises(OneBasinError, match="width=64, but arch_args= has width=32"):
        merged_arguments(RECORD, "mlp", {"width": 32})
    tuples = ArchitectureRecord("mlp", {"sizes": [8, 16]})
    assert merged_arguments(tuples, "mlp", {"sizes": (8, 16)}) == {"sizes": (8, 16)}
    with pytest.raises(OneBasinError, match="but model= is 'vit'"):
        merged_arguments(RECORD, "vit", {})


def test_runs_code_is_true_only_for_callables_of_the_user():
    assert ArchitectureRecord("my.models:build").runs_code
    assert ArchitectureRecord("subprocess:run").runs_code
    for spec in ("mlp", "torchvision:resnet18", "timm:vit_tiny_patch16_224", "hf:folder"):
        assert not ArchitectureRecord(spec).runs_code
    renamed = merged_arguments(ArchitectureRecord("old.models:build"), "new.models:build", {})
    assert renamed == {}
