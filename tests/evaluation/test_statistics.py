import pytest
import torch
from torch import nn

from onebasin.errors import OneBasinError
from onebasin.evaluation.statistics import reset_statistics
from onebasin.graph._normalization import layers_with_statistics
from onebasin.graph.batches import Batches
from tests.evaluation.networks import assert_same, copy_of, examples, mlp


def test_statistics_match_the_data():
    model, (inputs, labels) = mlp(0, norm=True), examples(48)
    result = reset_statistics(model, model.state_dict(), [(inputs, labels)])
    hidden = model[0](inputs)
    torch.testing.assert_close(result["1.running_mean"], hidden.mean(0))
    torch.testing.assert_close(result["1.running_var"], hidden.var(0, correction=1))


def test_statistics_do_not_depend_on_batches():
    model, (inputs, labels) = mlp(0, norm=True), examples(48)
    # Sorted, so that batches differ: the mean of their variances is then far too low.
    inputs = inputs[inputs[:, 0].argsort()]
    hidden = model[0](inputs)
    for batches in (inputs.split(12), inputs.split(7), Batches(inputs, labels, 5)):
        result = reset_statistics(model, model.state_dict(), batches)
        torch.testing.assert_close(result["1.running_mean"], hidden.mean(0))
        torch.testing.assert_close(result["1.running_var"], hidden.var(0, correction=1))
        assert int(result["1.num_batches_tracked"]) == len(batches)
    low = torch.stack([model[0](batch).var(0) for batch in inputs.split(12)]).mean(0)
    assert (low < 0.97 * result["1.running_var"]).any()


def deep() -> nn.Sequential:
    torch.manual_seed(0)
    parts = [(nn.Linear(n, 8), nn.BatchNorm1d(8), nn.ReLU()) for n in (4, 8, 8)]
    return nn.Sequential(*(layer for part in parts for layer in part), nn.Linear(8, 3))


def test_exact_statistics_do_not_depend_on_order_or_batch_size():
    model, (inputs, _) = deep(), examples(60)
    ordered = inputs[inputs[:, 0].argsort()]
    params = model.state_dict()
    result = [
        reset_statistics(model, params, data, exact=True)
        for data in (inputs.split(60), ordered.split(6), ordered.split(7))
    ]
    for each in result:
        other = deep().eval()
        other.load_state_dict(each)
        with torch.no_grad():
            for place in (1, 4, 7):
                given = other[:place](inputs)
                for name, value in (("mean", given.mean(0)), ("var", given.var(0))):
                    torch.testing.assert_close(
                        each[f"{place}.running_{name}"], value, rtol=1e-4, atol=1e-5
                    )
    quick = reset_statistics(model, params, ordered.split(6))
    assert not torch.allclose(quick["7.running_var"], result[0]["7.running_var"], rtol=0.01)
    with pytest.raises(OneBasinError, match="reset_statistics: the data is an iterator"):
        reset_statistics(model, params, iter([inputs]), exact=True)


def test_data_sorted_by_class_are_shuffled():
    model, (inputs, labels) = deep(), examples(600)
    order = inputs[:, 0].argsort()
    params = model.state_dict()
    exact = reset_statistics(model, params, [inputs], exact=True)
    shuffled, kept = (
        reset_statistics(model, params, data)
        for data in (Batches(inputs[order], labels[order], 60), inputs[order].split(60))
    )
    off = [
        float((result["7.running_var"] / exact["7.running_var"]).log().abs().max())
        for result in (shuffled, kept)
    ]
    assert off[0] < 0.1 < off[1]


def test_instance_norm_uses_statistics_of_each_instance():
    torch.manual_seed(0)
    model = nn.Sequential(nn.InstanceNorm1d(3, track_running_stats=True))
    inputs = torch.randn(10, 3, 6) + torch.randn(10, 3, 1)
    result = reset_statistics(model, model.state_dict(), inputs.split(4))
    torch.testing.assert_close(result["0.running_mean"], inputs.mean((0, 2)))
    torch.testing.assert_close(result["0.running_var"], inputs.var(2).mean(0))


def test_missing_statistics_come_from_the_model():
    model, (inputs, _) = mlp(0, norm=True), examples()
    params = model.state_dict()
    del params["1.num_batches_tracked"]
    assert list(reset_statistics(model, params, [inputs])) == list(params)
    assert int(model[1].num_batches_tracked) == 0


def test_statistics_have_the_precision_of_the_checkpoint():
    model, (inputs, _) = mlp(0, norm=True), examples(48)
    params = {n: t.double() if t.is_floating_point() else t for n, t in model.state_dict().items()}
    result = reset_statistics(model, params, [inputs])
    assert result["1.running_mean"].dtype == torch.float64
    torch.testing.assert_close(result["1.running_mean"], model.double()[0](inputs.double()).mean(0))


def test_shared_layer_has_one_set_of_statistics():
    model, (inputs, _) = nn.Sequential(nn.BatchNorm1d(4)), examples(48)
    model.append(model[0])
    params = model.state_dict()
    result = reset_statistics(model, params, [inputs])
    assert torch.equal(result["1.running_mean"], result["0.running_mean"])
    assert not torch.equal(result["1.running_mean"], params["1.running_mean"])
    second = {name: tensor for name, tensor in params.items() if name.startswith("1")}
    assert_same(reset_statistics(model, second, [inputs]), {name: result[name] for name in second})


def test_model_on_the_meta_device_is_supported():
    model, (inputs, _) = mlp(0, norm=True), examples(48)
    params = model.state_dict()
    with torch.device("meta"):
        bare = mlp(0, norm=True)
    result = reset_statistics(bare, params, [inputs])
    assert_same(result, reset_statistics(model, params, [inputs]))


def test_empty_batches_are_skipped():
    model, (inputs, labels) = mlp(0, norm=True), examples(48)
    params = model.state_dict()
    result = reset_statistics(model, params, [(inputs, labels), (inputs[:0], labels[:0])])
    assert_same(result, reset_statistics(model, params, [(inputs, labels)]))
    with pytest.raises(OneBasinError, match="the data has no batch"):
        reset_statistics(model, params, [inputs[:0]])


def test_only_statistics_differ_and_inputs_are_unchanged():
    model, other, (inputs, _) = mlp(0, norm=True), mlp(1, norm=True), examples()
    params = other.state_dict()
    kept, own = copy_of(params), copy_of(model.state_dict())
    momentum = model[1].momentum
    result = reset_statistics(model, params, [inputs])
    assert_same(params, kept)
    assert_same(model.state_dict(), own)
    assert model[1].momentum == momentum
    assert all(module.training for module in model.modules())
    assert list(result) == list(params)
    changed = {name for name in result if not torch.equal(result[name], params[name])}
    assert changed == {"1.running_mean", "1.running_var", "1.num_batches_tracked"}


def test_old_statistics_have_no_effect():
    model, (inputs, _) = mlp(0, norm=True), examples()
    other = {**model.state_dict(), "1.running_mean": torch.full((8,), 1e6)}
    assert_same(
        reset_statistics(model, model.state_dict(), [inputs]),
        reset_statistics(model, other, [inputs]),
    )


def test_model_without_statistics_is_unchanged():
    model = mlp(0)
    assert not layers_with_statistics(model)
    assert_same(reset_statistics(model, model.state_dict(), []), model.state_dict())
    untracked = nn.Sequential(nn.BatchNorm1d(4, track_running_stats=False))
    assert not layers_with_statistics(untracked)


def test_invalid_data_are_rejected():
    model, (inputs, _) = mlp(0, norm=True), examples()
    with pytest.raises(OneBasinError, match="the data has no batch"):
        reset_statistics(model, model.state_dict(), [])
    with pytest.raises(OneBasinError, match="batch 1 has one value per channel"):
        reset_statistics(model, model.state_dict(), [inputs, inputs[:1]])
    assert model[1].momentum == 0.1
    with pytest.raises(OneBasinError, match="does not run on batch 0 of the data: RuntimeError: m"):
        reset_statistics(model, model.state_dict(), [inputs[:, :2]])
    broken = [inputs, inputs * float("nan")]
    with pytest.raises(OneBasinError, match="the inputs of layer '1' are not finite, but the pa"):
        reset_statistics(model, model.state_dict(), broken)


def test_statistics_of_a_diverged_network_are_nan():
    model, (inputs, _) = mlp(0, norm=True), examples()
    diverged = {**model.state_dict(), "0.bias": torch.full((8,), float("nan"))}
    assert reset_statistics(model, diverged, [inputs])["1.running_mean"].isnan().all()
