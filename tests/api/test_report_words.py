"""Reports name networks and data by what they are."""

import pytest
import torch
from torch import nn

from onebasin import align, barrier, evaluate, merge

pytestmark = pytest.mark.filterwarnings("ignore::onebasin.OneBasinWarning")


def _mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3))


MODEL, A, B = _mlp(), _mlp(), _mlp()
LOADER = [(torch.randn(12, 4), torch.arange(12) % 3)]


@pytest.fixture(scope="module")
def aligned():
    return align(MODEL, A, B, example_inputs=torch.randn(2, 4))


def test_the_curve_of_an_aligned_network_is_aligned(aligned):
    result = barrier(MODEL, A, aligned, LOADER, num_points=3)
    assert list(result.curves) == ["aligned"]
    assert "average, aligned" in result.summary()
    assert "naive" not in result.summary() and "unaligned" not in result.summary()


def test_the_file_of_an_aligned_network_names_its_reference(aligned, tmp_path):
    path, other = tmp_path / "a.pt", tmp_path / "other.pt"
    for file in (path, other):
        torch.save(A.state_dict(), file)
    output = tmp_path / "b.safetensors"
    align(MODEL, path, B, example_inputs=torch.randn(2, 4), output=output)
    assert list(barrier(MODEL, path, output, LOADER, num_points=2).curves) == ["aligned"]
    assert list(barrier(MODEL, other, output, LOADER, num_points=2).curves) == ["naive"]


def test_an_aligned_network_that_is_aligned_again_has_two_curves(aligned):
    result = barrier(MODEL, A, aligned, LOADER, num_points=2, align=True)
    assert list(result.curves) == ["naive", "aligned"]


@pytest.mark.parametrize(
    "call",
    [
        lambda data: align(MODEL, A, B, data=data),
        lambda data: merge(MODEL, [A, B], data=data),
        lambda data: merge(MODEL, [A, B], data=[inputs for inputs, _ in data]),
        lambda data: evaluate(MODEL, [A, B], data),
        lambda data: barrier(MODEL, A, B, data, num_points=2),
    ],
)
def test_a_loader_has_no_train_split(call):
    text = call(LOADER).summary()
    assert "on data (12 " in text
    assert "train" not in text


def test_both_splits_of_a_pair_are_named():
    text = barrier(MODEL, A, B, (LOADER, LOADER), num_points=2).summary()
    assert "loss, train" in text and "loss, test" in text
    assert "on data, test split (12 " in evaluate(MODEL, A, (LOADER, LOADER)).summary()
