"""Provenance in the metadata of written checkpoints."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from onebasin.checkpoints import read_provenance, write_checkpoint
from onebasin.checkpoints._metadata import PROVENANCE_KEY, provenance_metadata
from onebasin.errors import OneBasinError

MERGED = provenance_metadata(
    "merge",
    ["a.pt", Path("runs/b.pt")],
    version="1.0",
    method="weights",
    seed=3,
    weights=[0.5, 0.5],
    repair=None,
)


@pytest.mark.parametrize("name", ["out.safetensors", "out/"])
def test_files_and_shards_contain_the_provenance(tmp_path: Path, name: str) -> None:
    tensors = {"a": torch.ones(4), "b": torch.ones(4)}
    path = f"{tmp_path}/{name}"
    write_checkpoint(path, tensors, metadata=MERGED, max_shard_size=16)
    expected = {
        "version": "1.0",
        "command": "merge",
        "sources": ["a.pt", "b.pt"],
        "method": "weights",
        "seed": 3,
        "weights": [0.5, 0.5],
    }
    assert read_provenance(path) == expected
    for file in tmp_path.rglob("*.safetensors"):
        assert read_provenance(file) == expected


def test_files_without_provenance(tmp_path: Path) -> None:
    save_file({"a": torch.ones(1)}, tmp_path / "a.safetensors")
    torch.save({"a": torch.ones(1)}, tmp_path / "a.pt")
    assert read_provenance(tmp_path / "a.safetensors") is None
    assert read_provenance(tmp_path / "a.pt") is None


@pytest.mark.parametrize("text", ["[]", "{", "[" * 100_000])
def test_a_malformed_provenance_raises(tmp_path: Path, text: str) -> None:
    save_file({"a": torch.ones(1)}, tmp_path / "a.safetensors", metadata={PROVENANCE_KEY: text})
    with pytest.raises(OneBasinError, match=r"a\.safetensors: the"):
        read_provenance(tmp_path / "a.safetensors")
