"""Existing outputs: checkpoints are replaced, other files and folders with files are not."""

import pytest
import torch
from torch import nn

from onebasin import OneBasinError, align, inspect, merge


def _mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3))


MODEL, A, B = _mlp(), _mlp(), _mlp()
INPUTS = torch.randn(2, 4)


def _align(path):
    align(MODEL, A, B, example_inputs=INPUTS, output=path)


def _merge(path):
    merge(MODEL, [A, B], example_inputs=INPUTS, output=path)


def _save(path):
    merge(MODEL, [A, B], example_inputs=INPUTS).save(path)


def _save_permutation(path):
    merge(MODEL, [A, B], example_inputs=INPUTS, save_permutation=path)


@pytest.mark.parametrize("call", [_align, _merge, _save, _save_permutation])
def test_only_checkpoints_are_replaced(tmp_path, call):
    path = tmp_path / "out.safetensors"
    call(path)
    first = path.read_bytes()
    call(path)
    assert path.read_bytes() == first
    path.write_text("x,y\n1,2\n")
    with pytest.raises(OneBasinError) as error:
        call(path)
    assert str(error.value) == (
        f"{path}: exists and is not a checkpoint, so it is not replaced; remove it or choose "
        "another output"
    )
    assert path.read_text() == "x,y\n1,2\n"


@pytest.mark.parametrize("call", [_align, _merge, _save])
def test_a_folder_with_files_is_not_replaced(tmp_path, call):
    (tmp_path / "notes.txt").write_text("notes")
    with pytest.raises(OneBasinError, match="the folder is not empty; remove it or choose another"):
        call(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["notes.txt"]


def test_a_symmetry_replaces_no_checkpoint(tmp_path):
    path = tmp_path / "a.pt"
    torch.save(A.state_dict(), path)
    before = path.read_bytes()
    with pytest.raises(OneBasinError, match=r"a\.pt: exists and is not a JSON file, so it is not"):
        inspect(MODEL, example_inputs=INPUTS, save=path)
    assert path.read_bytes() == before
    for _ in range(2):
        inspect(MODEL, example_inputs=INPUTS, save=tmp_path / "symmetry.json")
