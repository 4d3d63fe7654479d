"""The graphs that tests share: equal models on equal inputs have one, all others their own."""

import copy

import pytest
import torch
from torch import nn

from onebasin.symmetry._inference import inference
from tests.exports import computed_once, content_of, exports_shared


def model(seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(3, 3), nn.Dropout(0.5), nn.Linear(3, 3))


def tied(to_itself):
    tied = model()
    tied[2].weight = tied[0].weight if to_itself else nn.Parameter(tied[0].weight.detach().clone())
    return tied


def changed(change):
    other = model()
    change(other)
    return other


def test_equal_models_have_equal_contents():
    x = torch.ones(2, 3)
    assert content_of(model(), x) == content_of(copy.deepcopy(model()), x.clone())


@pytest.mark.parametrize(
    "other",
    [
        model(1),
        model().double(),
        model().eval(),
        model().requires_grad_(False),
        model().to("meta"),
        changed(lambda module: setattr(module[1], "p", 0.4)),
        changed(lambda module: setattr(module, "table", torch.ones(1))),
        changed(lambda module: module.append(nn.ReLU())),
    ],
)
def test_whatever_differs_counts(other):
    assert content_of(other) not in (None, content_of(model()))


def test_ties_and_inputs_count():
    assert content_of(tied(True)) != content_of(tied(False))
    assert content_of(model(), torch.ones(2, 3)) != content_of(model(), torch.zeros(2, 3))
    assert content_of(model(), torch.ones(2, 3)) != content_of(model(), torch.ones(3, 2).T)


def test_what_a_test_defines_has_no_content():
    class Own(nn.Module):
        pass

    assert content_of(Own()) is None
    assert content_of(changed(lambda module: module.register_forward_hook(lambda *_: None))) is None


def test_a_step_runs_once_for_equal_models():
    seen = []

    def step(*arguments):
        seen.append(arguments)
        return len(seen)

    once = computed_once(step, {})
    assert [once(model()), once(model()), once(model(1)), once(model())] == [1, 1, 2, 1]
    assert [once(lambda: 0), once(lambda: 0)] == [3, 4]


def test_the_number_of_kept_results_is_limited(monkeypatch):
    monkeypatch.setattr("tests.exports.KEPT", 2)
    results = {}
    once = computed_once(len, results)
    assert [once([seed]) for seed in range(5)] == [1] * 5
    assert len(results) == 1


def test_models_are_exported_once_while_they_are_shared():
    steps = inference.export_model, inference.graphs_at_other_shapes
    with exports_shared({}):
        first, second = (inference.trace_graph(model(), torch.ones(2, 3)) for _ in range(2))
        assert first.exported.graph_module is second.exported.graph_module
        other = inference.trace_graph(model(1), torch.ones(2, 3))
        assert other.exported.graph_module is not first.exported.graph_module
    assert (inference.export_model, inference.graphs_at_other_shapes) == steps
