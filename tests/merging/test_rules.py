"""Tensors that are not simply averaged."""

import pytest
import torch
from torch import nn
from torch.nn.utils import prune

from onebasin.errors import OneBasinError
from onebasin.evaluation import evaluator, interpolate
from onebasin.evaluation._pruning import differing_masks
from onebasin.merging.averages import LazyAverage, average
from tests.cli.run import succeed

PRUNED = """
from torch import nn
from torch.nn.utils import prune

def build():
    first, last = nn.Linear(4, 6), nn.Linear(6, 2)
    prune.identity(first, "weight")
    return nn.Sequential(first, nn.ReLU(), last)
"""

INPUTS = torch.randn(8, 4, generator=torch.Generator().manual_seed(1))


def pruned(seed: int, amount: float = 0.5) -> nn.Module:
    torch.manual_seed(seed)
    layer = nn.Linear(4, 6)
    prune.random_unstructured(layer, "weight", amount)
    return layer


def test_masks_stay_masks_and_the_effective_weights_are_averaged():
    a, b = pruned(1), pruned(2)
    with pytest.warns(UserWarning, match="^1 pruned tensor .* with different masks"):
        merged = average([a.state_dict(), b.state_dict()])
    union = (a.weight_mask + b.weight_mask) > 0
    assert torch.equal(merged["weight_mask"], union.float())
    effective = merged["weight_orig"] * merged["weight_mask"]
    torch.testing.assert_close(effective, (a.weight + b.weight) / 2)


def test_command_reports_masks(capsys, tmp_path, monkeypatch):
    (tmp_path / "pruned_net.py").write_text(PRUNED)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    for seed, name in enumerate(("a.pt", "b.pt")):
        torch.manual_seed(seed)
        last = nn.Linear(6, 2)
        torch.save(nn.Sequential(pruned(seed), nn.ReLU(), last).state_dict(), name)
    arguments = ("pruned_net:build", "a.pt", "b.pt", "-o", "m.pt", "--input", "2x4")
    result = succeed(capsys, "merge", *arguments)
    assert "with different masks: the merged network keeps" in result.err
    mask = torch.load("m.pt")["0.weight_mask"]
    assert ((mask == 0) | (mask == 1)).all()


def test_equal_masks_need_no_note():
    a, b = pruned(1), pruned(2)
    b.weight_mask.copy_(a.weight_mask)
    networks = [a.state_dict(), b.state_dict()]
    assert LazyAverage(networks).notes == ()
    torch.testing.assert_close(
        average(networks)["weight_orig"], (a.weight_orig + b.weight_orig) / 2
    )


@pytest.mark.parametrize("own_mask", [False, True])
def test_tied_pruned_tensors_stay_tied(own_mask):
    a, b = (pruned(seed).state_dict() for seed in (1, 2))
    for params in (a, b):
        mask = params["weight_mask"]
        params["tied_orig"] = params["weight_orig"]
        params["tied_mask"] = mask.clone() if own_mask else mask
    with pytest.warns(UserWarning, match="different masks"):
        merged = average([a, b])
    assert merged["tied_orig"] is merged["weight_orig"]
    assert (merged["tied_mask"] is merged["weight_mask"]) != own_mask


def test_one_tensor_with_two_masks_gives_two_means():
    a, b = (pruned(seed).state_dict() for seed in (1, 2))
    for params in (a, b):
        params["tied_orig"], params["tied_mask"] = params["weight_orig"], 1 - params["weight_mask"]
    with pytest.warns(UserWarning, match="different masks"):
        merged = average([a, b])
    for name in ("weight", "tied"):
        effective = [params[f"{name}_orig"] * params[f"{name}_mask"] for params in (a, b)]
        torch.testing.assert_close(merged[f"{name}_orig"], sum(effective) / 2)


def test_masks_are_compared_only_once():
    class Counted(dict):
        reads = 0

        def __getitem__(self, name):
            self.reads += name == "weight_mask"
            return super().__getitem__(name)

    a, b = (Counted(pruned(seed).state_dict()) for seed in (1, 2))
    differing_masks([a, b])
    reads = a.reads
    a.reads = 0
    LazyAverage([a, b])
    assert a.reads < 2 * reads


def test_paths_between_pruned_networks_average_effective_weights():
    a, b = pruned(1), pruned(2)
    model = pruned(3)
    measured = evaluator(INPUTS, torch.zeros(8, 6), loss="mse")
    curve = interpolate(model, a.state_dict(), b.state_dict(), measured, num_points=3)
    middle = INPUTS @ (a.weight + b.weight).T / 2 + (a.bias + b.bias) / 2
    expected = [b(INPUTS), middle, a(INPUTS)]
    losses = [float(output.detach().square().mean()) for output in expected]
    assert curve.losses == pytest.approx(losses, rel=1e-5)


def test_differing_masks_without_a_tensor_are_rejected():
    a = {"weight": torch.ones(4, 4), "mask": torch.eye(4)}
    assert torch.equal(average([a, a])["mask"], torch.eye(4))
    with pytest.raises(OneBasinError, match="mask 'mask' differs between the networks"):
        average([a, {**a, "mask": 1 - torch.eye(4)}])


def test_integers_are_counters_or_equal():
    a = {"index": torch.arange(4), "steps": torch.tensor(3)}
    merged = average([a, {**a, "steps": torch.tensor(5)}])
    assert torch.equal(merged["index"], a["index"])
    assert int(merged["steps"]) == 3
    with pytest.raises(
        OneBasinError, match=r"^average: tensor 'index' \(int64\) differs .* integers"
    ):
        average([a, {**a, "index": torch.arange(4).flip(0)}])
    with pytest.raises(OneBasinError, match=r"^average: tensor 'index' \(int64\) differs"):
        average([{**a, "index": torch.arange(4.0)}, a])


def test_quantization_parameters_stay_together():
    a = {"scale": torch.tensor([0.1, 0.2]), "zero_point": torch.tensor([3, 4])}
    b = {"scale": torch.tensor([0.3, 0.4]), "zero_point": torch.tensor([3, 5])}
    with pytest.warns(UserWarning, match="^quantization parameters .* calibrate"):
        merged = average([a, b])
    assert all(torch.equal(merged[name], a[name]) for name in a)
    merged = average([a, {**b, "zero_point": a["zero_point"]}])
    torch.testing.assert_close(merged["scale"], torch.tensor([0.2, 0.3]))


@pytest.mark.parametrize("scale", ["w.weight_scale", "w.weight_scale_inv", "w.scale_weight"])
def test_scales_of_8_bit_weights_must_be_equal(scale):
    a = {"w.weight": torch.ones(2, 2).to(torch.float8_e4m3fn), scale: torch.tensor(0.5)}
    b = {"w.weight": 3 * torch.ones(2, 2), scale: torch.tensor(0.5)}
    assert average([a, b])["w.weight"].float().eq(2).all()
    with pytest.raises(OneBasinError, match=r"'w.weight' \(float8_e4m3fn\) is scaled by '"):
        average([a, {**b, scale: torch.tensor(0.25)}])
