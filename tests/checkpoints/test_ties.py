"""Tied tensors: their names in a module, and a view with all names."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from onebasin.checkpoints import TensorInfo, TiedView, open_checkpoint, tied_names


def make_tied() -> nn.Module:
    module = nn.Sequential(nn.Embedding(5, 3), nn.Linear(3, 5), nn.BatchNorm1d(5))
    module[1].weight = module[0].weight
    module.register_buffer("alias", module[2].running_mean)
    return module


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_ties_of_parameters_and_buffers(device: str) -> None:
    with torch.device(device):
        ties = tied_names(make_tied())
    assert {frozenset(group) for group in ties} == {
        frozenset({"0.weight", "1.weight"}),
        frozenset({"2.running_mean", "alias"}),
    }


def test_a_module_without_ties() -> None:
    assert tied_names(nn.Linear(2, 2)) == ()


def test_the_view_has_every_name(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_file({"head": torch.ones(2, 3), "bias": torch.zeros(2)}, path)
    with open_checkpoint(path) as checkpoint:
        view = TiedView(checkpoint, [("embed", "head"), ("absent", "gone")])
        assert set(view) == {"head", "bias", "embed"}
        assert len(view) == 3
        assert "embed" in view and "absent" not in view
        assert torch.equal(view["embed"], checkpoint["head"])
        assert view.metadata("embed") == TensorInfo((2, 3), torch.float32)
        assert view.path == path
        with pytest.raises(KeyError, match="absent"):
            view["absent"]
    assert TiedView({"x": torch.ones(1)}, ()).path is None
