"""Files of permutations."""

from __future__ import annotations

import os

import pytest
import torch
from hypothesis import given, settings
from safetensors.torch import save_file

from onebasin.errors import OneBasinError
from onebasin.symmetry.permutation import Permutation
from onebasin.symmetry.symmetry import Symmetry
from tests.symmetry.random_symmetries import symmetries
from tests.symmetry.test_permutation import SEEDS, heads, two_layers


@given(symmetries(), SEEDS)
@settings(max_examples=40)
def test_file_round_trip(
    tmp_path_factory: pytest.TempPathFactory, symmetry: Symmetry, seed: int
) -> None:
    path = tmp_path_factory.mktemp("permutations") / "p.safetensors"
    permutation = Permutation.random(symmetry, seed=seed)
    permutation.save(path)
    assert Permutation.load(path, symmetry).equals(permutation)
    assert os.listdir(path.parent) == ["p.safetensors"]


def test_same_seed_same_bytes(tmp_path) -> None:
    for name in ("one", "two"):
        Permutation.random(heads(), seed=7).save(tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_file_permissions_follow_the_umask(tmp_path) -> None:
    (tmp_path / "other").write_text("")
    Permutation.random(heads(), seed=7).save(tmp_path / "p.safetensors")
    modes = {path.stat().st_mode for path in tmp_path.iterdir()}
    assert len(modes) == 1


def test_load_reports_invalid_files(tmp_path) -> None:
    symmetry, path = two_layers(), tmp_path / "p.safetensors"
    with pytest.raises(OneBasinError, match=r"p\.safetensors: no such file"):
        Permutation.load(path, symmetry)
    Permutation.random(symmetry).save(path)
    with pytest.raises(OneBasinError, match="belongs to another symmetry"):
        Permutation.load(path, two_layers(6))
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(OneBasinError, match="not a readable safetensors file") as caught:
        Permutation.load(path, symmetry)
    assert "\n" not in str(caught.value)
    save_file({"w": torch.zeros(2)}, path)
    with pytest.raises(OneBasinError, match="not a permutation file"):
        Permutation.load(path, symmetry)
    with pytest.raises(OneBasinError, match="is a folder"):
        Permutation.load(tmp_path, symmetry)


def test_save_leaves_no_partial_file(tmp_path) -> None:
    permutation = Permutation.random(two_layers())
    with pytest.raises(OneBasinError, match="does not exist; create it first"):
        permutation.save(tmp_path / "no" / "such" / "folder.safetensors")
    (tmp_path / "taken").mkdir()
    with pytest.raises(OneBasinError, match="is a folder; give the path of a file"):
        permutation.save(tmp_path / "taken")
    assert os.listdir(tmp_path) == ["taken"]
