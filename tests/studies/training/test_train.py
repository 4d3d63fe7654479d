import pytest
import torch
from torch import nn

from onebasin.data.datasets import load_digits
from onebasin.errors import OneBasinError
from onebasin_studies.training.stacks import initialized
from onebasin_studies.training.train import train


def small() -> nn.Module:
    return nn.Sequential(nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 10))


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert torch.equal(found[name], tensor), name


def assert_close(found, expected):
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, rtol=1e-4, atol=1e-5)


def test_training_learns_the_digits():
    data = load_digits()
    (trained,) = train(small(), data, seeds=[0], epochs=15)
    model = small()
    model.load_state_dict(trained.params)
    accuracy = (model(data.test_inputs).argmax(1) == data.test_labels).double().mean()
    assert accuracy > 0.9
    assert len(trained.losses) == 15
    assert trained.losses[-1] < trained.losses[0] / 3
    assert trained.seconds > 0
    text = repr(trained)
    assert text.startswith("TrainedNetwork: seed 0, finished after 15 epochs, loss 0.")
    assert len(text) < 200


def test_network_does_not_depend_on_other_seeds():
    data = load_digits()
    alone = train(small(), data, seeds=[5], epochs=2)
    together = train(small(), data, seeds=[4, 5], epochs=2)
    assert [network.seed for network in together] == [4, 5]
    assert_close(together[1].params, alone[0].params)
    assert together[1].losses == pytest.approx(alone[0].losses, rel=1e-5)
    assert not torch.equal(together[0].params["0.weight"], together[1].params["0.weight"])


def test_network_and_random_state_are_unchanged():
    network = small()
    kept = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    state = torch.random.get_rng_state()
    (trained,) = train(network, load_digits(), seeds=[0], epochs=1)
    assert_same(network.state_dict(), kept)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert not any(tensor.requires_grad for tensor in trained.params.values())


def test_zero_epochs_give_initial_weights():
    (trained,) = train(small(), load_digits(), seeds=[7], epochs=0)
    assert_same(trained.params, initialized(small(), 7).state_dict())


def test_progress_counts_the_epochs_of_all_seeds():
    calls = []
    train(small(), load_digits(), seeds=[0, 1], epochs=2, progress=lambda *c: calls.append(c))
    assert calls[-1] == (4, 4)
    assert [done for done, _ in calls] == sorted({done for done, _ in calls})


def test_invalid_arguments_raise():
    data = load_digits()
    with pytest.raises(OneBasinError, match="train: seeds is empty"):
        train(small(), data, seeds=[])
    with pytest.raises(OneBasinError, match="batch_size is 0; it must be a whole number"):
        train(small(), data, seeds=[0], batch_size=0)


def test_module_without_reset_parameters_raises():
    class Scale(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(1))

    with pytest.raises(OneBasinError, match=r"module '0' has parameters but no reset_parameters"):
        initialized(nn.Sequential(Scale()), 0)
