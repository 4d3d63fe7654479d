"""Training of gains and biases without labels."""

import pytest
import torch
from torch import nn

import onebasin
from onebasin import OneBasinError
from onebasin.evaluation._norm_tuning import tune_norms


def build(seed):
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(6, 8), nn.LayerNorm(8), nn.ReLU(), nn.Linear(8, 3))
    return model.eval()


def inputs(seed, number=300):
    return torch.randn(number, 6, generator=torch.Generator().manual_seed(seed))


def batches():
    return [(batch, None) for batch in inputs(0).split(20)]


def distance(model, params, sources):
    """Return the distance from the mean outputs on new data."""
    new = inputs(1)
    with torch.no_grad():
        own = torch.func.functional_call(model, params, (new,))
        outputs = [torch.func.functional_call(model, each, (new,)) for each in sources]
    return float((own - sum(outputs) / 2).square().mean())


def test_outputs_come_closer_to_the_mean_output():
    model = build(0)
    sources = [build(seed).state_dict() for seed in range(2)]
    merged = onebasin.average(sources)
    tuned = tune_norms(model, merged, sources, batches())
    before = distance(model, merged, sources)
    assert distance(model, tuned, sources) < before - 1e-3
    for name in ("0.weight", "3.weight"):
        assert torch.equal(tuned[name], merged[name])
    assert not torch.equal(tuned["1.weight"], merged["1.weight"])


def test_running_statistics_are_those_of_the_tuned_network():
    torch.manual_seed(0)
    models = [
        nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 8),
                      nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))
        for _ in range(2)
    ]  # fmt: skip
    for model in models:
        for _ in range(50):
            model(inputs(0))
        model.eval()
    sources = [{name: each.clone() for name, each in m.state_dict().items()} for m in models]
    merged = onebasin.average(sources)
    tuned = tune_norms(models[0], merged, sources, batches())
    before = distance(models[0], merged, sources)
    assert distance(models[0], tuned, sources) < before
    assert not torch.equal(tuned["1.running_var"], merged["1.running_var"])
    assert torch.equal(models[0].state_dict()["1.running_var"], sources[0]["1.running_var"])
    assert not models[0][1].training


def test_equal_networks_do_not_change():
    params = build(0).state_dict()
    tuned = tune_norms(build(0), params, [params, params], batches())
    assert all(torch.equal(tuned[name], own) for name, own in params.items())


def test_results_are_the_same_each_time():
    sources = [build(seed).state_dict() for seed in range(2)]
    first, second = (
        tune_norms(build(0), onebasin.average(sources), sources, batches()) for _ in range(2)
    )
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_model_without_vectors_is_reported():
    model = nn.Linear(6, 3, bias=False)
    params = model.state_dict()
    with pytest.raises(OneBasinError, match=r"no gains and biases to train; set tune_norms=False"):
        tune_norms(model, params, [params, params], batches())


@pytest.mark.filterwarnings("ignore::onebasin.OneBasinWarning")
@pytest.mark.parametrize("size", [1, 1.4])
def test_merge_tunes_the_repaired_network(size, monkeypatch):
    calls = []

    def tuned(model, params, *args, **kwargs):
        calls.append(tune_norms(model, params, *args, **kwargs))
        return {**calls[0], "1.bias": calls[0]["1.bias"] + 1}

    monkeypatch.setattr("onebasin.api._repairs.tune_norms", tuned)
    data = inputs(0), torch.arange(300) % 3
    models = [build(seed) for seed in range(2)]
    merged = onebasin.merge(
        build(0), models, data=data, repair="refit", size=size, tune_norms=True, evaluate=False
    )
    assert "gains and biases trained" in merged.summary()
    assert torch.equal(merged.state_dict["1.bias"], calls[0]["1.bias"] + 1)


def test_tuning_without_data_is_reported():
    models = [build(seed) for seed in range(2)]
    with pytest.raises(OneBasinError, match=r"^merge: tune_norms=True trains on data.*; pass"):
        onebasin.merge(build(0), models, example_inputs=inputs(0, 2), tune_norms=True)
