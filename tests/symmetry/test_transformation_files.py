"""Files of transformations: all parts are restored, and other files raise one clear line."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from onebasin import OneBasinError, Permutation, Symmetry, infer_symmetry
from onebasin.symmetry.symmetry import without_actions
from onebasin.symmetry.transformation import Transformation


def network(act: nn.Module) -> nn.Sequential:
    """Return a network with a mixed, a scaled and a signed group."""
    layers = nn.Linear(4, 6), nn.Linear(6, 5), act, nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 3)
    return nn.Sequential(*layers)


@pytest.fixture(scope="module")
def symmetry() -> Symmetry:
    return infer_symmetry(network(nn.ReLU()), torch.zeros(2, 4))


def written(symmetry: Symmetry, folder: Path) -> Path:
    path = folder / "element.safetensors"
    Transformation.random(symmetry, seed=3).save(path)
    return path


def test_all_parts_are_restored(symmetry: Symmetry, tmp_path: Path) -> None:
    path = written(symmetry, tmp_path)
    loaded, own = Transformation.load(path, symmetry), Transformation.random(symmetry, seed=3)
    assert loaded.maps.keys() == {"0"}
    params = network(nn.ReLU()).state_dict()
    moved, expected = loaded.apply(params), own.apply(params)
    assert all(torch.equal(moved[name], expected[name]) for name in expected)


def test_same_transformation_has_the_same_bytes(symmetry: Symmetry, tmp_path: Path) -> None:
    first = written(symmetry, tmp_path).read_bytes()
    assert written(symmetry, tmp_path).read_bytes() == first


def test_symmetry_from_a_file_reads_it(symmetry: Symmetry, tmp_path: Path) -> None:
    symmetry.save(tmp_path / "symmetry.json")
    again = Symmetry.load(tmp_path / "symmetry.json")
    assert Transformation.load(written(symmetry, tmp_path), again).symmetry is again


def test_other_symmetry_raises(symmetry: Symmetry, tmp_path: Path) -> None:
    other = infer_symmetry(
        nn.Sequential(nn.Linear(4, 2), nn.ReLU(), nn.Linear(2, 3)), torch.zeros(2, 4)
    )
    with pytest.raises(OneBasinError, match="belongs to another symmetry"):
        Transformation.load(written(symmetry, tmp_path), other)


def test_other_classes_raise(symmetry: Symmetry, tmp_path: Path) -> None:
    path = written(symmetry, tmp_path)
    other = infer_symmetry(network(nn.GELU()), torch.zeros(2, 4))
    assert other.fingerprint == symmetry.fingerprint
    for restricted in (other, without_actions(symmetry, ["0"])):
        with pytest.raises(OneBasinError, match="the classes of its groups differ"):
            Transformation.load(path, restricted)


def test_permutation_file_is_a_transformation(symmetry: Symmetry, tmp_path: Path) -> None:
    path = tmp_path / "permutation.safetensors"
    permutation = Permutation.random(symmetry)
    permutation.save(path)
    loaded = Transformation.load(path, symmetry)
    assert loaded.permutation.equals(permutation)
    assert not loaded.maps


def test_transformation_file_is_not_a_permutation(symmetry: Symmetry, tmp_path: Path) -> None:
    with pytest.raises(OneBasinError, match=r"not a permutation file.*Transformation\.load"):
        Permutation.load(written(symmetry, tmp_path), symmetry)


@pytest.mark.parametrize("name", ["maps/0", "scales/1", "signs/3"])
def test_invalid_values_raise(symmetry: Symmetry, tmp_path: Path, name: str) -> None:
    path = written(symmetry, tmp_path)
    tensors, metadata = load_file(path), _metadata(path)
    tensors[name] = torch.full_like(tensors[name], float("nan"))
    save_file(tensors, path, metadata)
    with pytest.raises(OneBasinError, match=f"invalid {name[:-2]} of group '{name[-1]}'"):
        Transformation.load(path, symmetry)


def test_invalid_shape_raises(symmetry: Symmetry, tmp_path: Path) -> None:
    path = written(symmetry, tmp_path)
    tensors, metadata = load_file(path), _metadata(path)
    tensors["maps/0"] = torch.eye(5, dtype=torch.float64)
    save_file(tensors, path, metadata)
    with pytest.raises(OneBasinError, match=r"element.safetensors: invalid maps of group '0'"):
        Transformation.load(path, symmetry)


def test_damaged_and_missing_files_raise(symmetry: Symmetry, tmp_path: Path) -> None:
    path = written(symmetry, tmp_path)
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(OneBasinError, match="not a readable safetensors file"):
        Transformation.load(path, symmetry)
    with pytest.raises(OneBasinError, match="missing"):
        Transformation.load(tmp_path / "missing.safetensors", symmetry)


def _metadata(path: Path) -> dict[str, str]:
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        return dict(file.metadata())
