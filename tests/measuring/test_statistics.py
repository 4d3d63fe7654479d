import pytest
import torch
from torch import nn

from onebasin.errors import OneBasinError
from onebasin.measuring.statistics import layers_with_statistics, reset_statistics
from tests.measuring.networks import assert_same, copy_of, examples, mlp


def test_statistics_are_those_of_the_data():
    model, (inputs, labels) = mlp(0, norm=True), examples(48)
    found = reset_statistics(model, model.state_dict(), [(inputs, labels)])
    hidden = model[0](inputs)
    torch.testing.assert_close(found["1.running_mean"], hidden.mean(0))
    torch.testing.assert_close(found["1.running_var"], hidden.var(0, correction=1))


def test_statistics_are_the_means_over_batches():
    model, (inputs, _) = mlp(0, norm=True), examples(48)
    batches = list(inputs.split(12))
    found = reset_statistics(model, model.state_dict(), batches)
    hidden = torch.stack([model[0](batch) for batch in batches])
    torch.testing.assert_close(found["1.running_mean"], hidden.mean(1).mean(0))
    torch.testing.assert_close(found["1.running_var"], hidden.var(1).mean(0))
    assert int(found["1.num_batches_tracked"]) == 4


def test_statistics_of_a_checkpoint_of_higher_precision_are_in_it():
    model, (inputs, _) = mlp(0, norm=True), examples(48)
    params = {n: t.double() if t.is_floating_point() else t for n, t in model.state_dict().items()}
    found = reset_statistics(model, params, [inputs])
    assert found["1.running_mean"].dtype == torch.float64
    torch.testing.assert_close(found["1.running_mean"], model.double()[0](inputs.double()).mean(0))


def test_only_statistics_differ_and_inputs_stay():
    model, other, (inputs, _) = mlp(0, norm=True), mlp(1, norm=True), examples()
    params = other.state_dict()
    kept, own = copy_of(params), copy_of(model.state_dict())
    momentum = model[1].momentum
    found = reset_statistics(model, params, [inputs])
    assert_same(params, kept)
    assert_same(model.state_dict(), own)
    assert model[1].momentum == momentum
    assert all(module.training for module in model.modules())
    assert list(found) == list(params)
    changed = {name for name in found if not torch.equal(found[name], params[name])}
    assert changed == {"1.running_mean", "1.running_var", "1.num_batches_tracked"}


def test_nothing_depends_on_the_old_statistics():
    model, (inputs, _) = mlp(0, norm=True), examples()
    other = {**model.state_dict(), "1.running_mean": torch.full((8,), 1e6)}
    assert_same(
        reset_statistics(model, model.state_dict(), [inputs]),
        reset_statistics(model, other, [inputs]),
    )


def test_a_model_without_statistics_stays_as_it_is():
    model = mlp(0)
    assert not layers_with_statistics(model)
    assert_same(reset_statistics(model, model.state_dict(), []), model.state_dict())
    untracked = nn.Sequential(nn.BatchNorm1d(4, track_running_stats=False))
    assert not layers_with_statistics(untracked)


def test_wrong_data_is_named():
    model, (inputs, _) = mlp(0, norm=True), examples()
    with pytest.raises(OneBasinError, match="the data has no batch"):
        reset_statistics(model, model.state_dict(), [])
    with pytest.raises(OneBasinError, match="batch 1 has one value per channel"):
        reset_statistics(model, model.state_dict(), [inputs, inputs[:1]])
    assert model[1].momentum == 0.1
