"""Merging into networks of a size between that of one and of all networks."""

import weakref

import pytest
import torch
from torch import nn
from torch.nn.utils import spectral_norm
from torch.nn.utils.parametrizations import weight_norm
from torch.utils._python_dispatch import TorchDispatchMode

import onebasin
from onebasin import OneBasinError
from onebasin.graph.features import Features
from onebasin.merging.enlarging import _first_examples, merge_enlarged
from onebasin.symmetry import infer_symmetry
from onebasin.symmetry._enlargement import Enlargement

IMAGES = (1, 8, 8)


class Block(nn.Module):
    """A residual block with BatchNorm."""

    def __init__(self, channels):
        super().__init__()
        self.first = nn.Conv2d(channels, 6, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(6)
        self.second = nn.Conv2d(6, channels, 1)

    def forward(self, x):
        return x + self.second(torch.relu(self.norm(self.first(x))))


def mlp():
    return nn.Sequential(nn.Linear(5, 12), nn.ReLU(), nn.Linear(12, 9), nn.Tanh(), nn.Linear(9, 3))


def residual():
    pooled = nn.AdaptiveAvgPool2d(1), nn.Flatten()
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), Block(4), nn.ReLU(), Block(4), *pooled, nn.Linear(4, 3)
    )


def depthwise():
    return nn.Sequential(
        nn.Conv2d(1, 6, 1),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.Conv2d(6, 6, 3, groups=6),
        nn.ReLU(),
        nn.ConvTranspose2d(6, 4, 2, stride=2),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4, 3),
    )


def transposed():
    """Return a model with a depthwise transposed convolution."""
    return nn.Sequential(
        nn.Conv2d(1, 6, 3),
        nn.ReLU(),
        nn.ConvTranspose2d(6, 6, 2, groups=6),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(6, 3),
    )


def weight_normed():
    return nn.Sequential(
        weight_norm(nn.Linear(5, 12)), nn.ReLU(), weight_norm(nn.Linear(12, 9)), *mlp()[3:]
    )


def spectral_normed():
    return nn.Sequential(
        nn.Linear(5, 12), nn.ReLU(), spectral_norm(nn.Linear(12, 9)), nn.Tanh(), nn.Linear(9, 3)
    )


class WithConstant(nn.Module):
    """A model whose forward pass has the number of units as a constant."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.last = nn.Linear(5, 8), nn.Linear(8, 7), nn.Linear(7, 3)

    def forward(self, x):
        return self.last(torch.relu(self.second(torch.relu(self.first(x)).reshape(-1, 8))))


def normalized():
    return nn.Sequential(nn.Linear(5, 8), nn.LayerNorm(8), nn.ReLU(), nn.Linear(8, 3))


SHAPES = {
    mlp: (5,),
    residual: IMAGES,
    depthwise: IMAGES,
    transposed: IMAGES,
    weight_normed: (5,),
    spectral_normed: (5,),
    WithConstant: (5,),
    normalized: (5,),
}


def networks(build, number=2):
    made = []
    for seed in range(number):
        torch.manual_seed(seed)
        made.append(build())
        if SHAPES[build] == IMAGES:  # statistics that differ
            made[-1](torch.randn(32, *IMAGES))
        made[-1].eval()
    return made


def inputs_for(build, number=100):
    return torch.randn(number, *SHAPES[build], generator=torch.Generator().manual_seed(7))


def enlarged(build, models, size, weights=(0.5, 0.5)):
    inputs = inputs_for(build)
    states = [model.state_dict() for model in models]
    symmetry = infer_symmetry(models[0], inputs[:2])
    data = [(batch, None) for batch in inputs.split(20)]
    return merge_enlarged(models[0], states, symmetry, data, size=size, weights=list(weights))


def mean_output(models, inputs, weights=(0.5, 0.5)):
    return sum(w * model(inputs) for w, model in zip(weights, models, strict=True))


@torch.no_grad()
@pytest.mark.parametrize("build", [mlp, residual, depthwise, transposed, weight_normed])
def test_all_units_give_the_mean_output(build):
    models = networks(build)
    inputs = inputs_for(build)
    result = enlarged(build, models, 2, (0.3, 0.7))
    expected = mean_output(models, inputs, (0.3, 0.7))
    torch.testing.assert_close(result.module(inputs), expected, rtol=1e-5, atol=1e-6)
    assert result.repaired is None


@torch.no_grad()
def test_all_units_of_three_networks_give_the_mean_output():
    models = networks(mlp, 3)
    result = enlarged(mlp, models, 3, (0.2, 0.3, 0.5))
    expected = mean_output(models, inputs_for(mlp), (0.2, 0.3, 0.5))
    torch.testing.assert_close(result.module(inputs_for(mlp)), expected, rtol=1e-5, atol=1e-6)


@torch.no_grad()
@pytest.mark.parametrize("build", [mlp, residual, depthwise, weight_normed, spectral_normed])
def test_a_network_merged_with_itself_does_not_change_at_any_size(build):
    model = networks(build, 1)[0]
    inputs = inputs_for(build)
    result = enlarged(build, [model, model], 1.6)
    assert sum(result.num_separate.values())
    torch.testing.assert_close(result.module(inputs), model(inputs), rtol=1e-5, atol=1e-5)


@torch.no_grad()
@pytest.mark.filterwarnings("ignore::onebasin.OneBasinWarning")
@pytest.mark.parametrize("build", [mlp, residual])
def test_larger_networks_are_closer_to_the_mean_output(build):
    models = networks(build)
    inputs = inputs_for(build)
    expected = mean_output(models, inputs)
    distances = []
    for size in (1, 1.3, 1.7):
        result = enlarged(build, models, size)
        distances.append(float((result.module(inputs) - expected).norm()))
        own, of_source = result.num_parameters
        assert of_source == sum(each.numel() for each in models[0].parameters())
        assert own == sum(each.numel() for each in result.module.parameters())
    assert distances[0] > distances[1] > distances[2]


@pytest.mark.parametrize("weights", [(0.5, 0.5), (1.5, -0.5)])
def test_units_that_match_are_merged_first(weights):
    model, other = networks(mlp, 2)
    other.load_state_dict(model.state_dict())
    with torch.no_grad():
        other[0].weight[3] += 2.0  # only this unit differs
    result = enlarged(mlp, [model, other], 1.09, weights)
    assert result.num_separate["0"] == 1
    assert result.module[0].out_features == 13
    own = [model[0].weight[3], other[0].weight[3]]
    torch.testing.assert_close(result.module[0].weight[-2:], torch.stack(own))


@pytest.mark.filterwarnings("ignore::onebasin.OneBasinWarning")
def test_groups_with_constant_sizes_are_merged():
    models = networks(WithConstant)
    result = enlarged(WithConstant, models, 1.3)
    assert list(result.fixed) == ["first"]
    assert result.num_separate["second"] > 0
    assert result.module.first.out_features == 8
    with pytest.raises(OneBasinError, match=r"not all units .*'first'.* smaller size"):
        enlarged(WithConstant, models, 2)


class LargestTensor(TorchDispatchMode):
    """Records the number of entries of the largest tensor that an operation returns."""

    size = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor):
            self.size = max(self.size, result.numel())
        return result


class CountedBatches:
    """Batches that are created when they are read; keeps weak references to them."""

    def __init__(self):
        self.batches = []

    def __iter__(self):
        for _ in range(8):
            batch = torch.randn(300, 5)
            self.batches.append(weakref.ref(batch))
            yield batch


def test_units_are_compared_on_the_first_batches_which_are_not_kept():
    data = CountedBatches()
    features = Features(mlp(), data)
    data.batches.clear()
    first = _first_examples(features)
    assert sum(batch() is not None for batch in data.batches) <= 1  # the inputs of the graph
    assert sum(len(inputs) for _, inputs, _ in first.batches()) == 1200


def test_weights_are_enlarged_without_larger_tensors():
    symmetry = infer_symmetry(mlp(), torch.zeros(2, 5))
    chosen = {group: torch.ones(symmetry.groups[group].size, dtype=torch.bool) for group in "02"}
    enlargement = Enlargement.split(symmetry, chosen, (0.5, 0.5))
    weights = [torch.randn(9, 12), torch.randn(9, 12)]
    with LargestTensor() as largest:
        mixed = enlargement.mix(symmetry.layouts["2.weight"], weights, (1,))
    assert largest.size == mixed.numel() == 18 * 24
    expected = torch.block_diag(*weights)
    torch.testing.assert_close(mixed, expected)


def test_norms_over_units_have_no_mean_output():
    models = networks(normalized)
    with pytest.raises(OneBasinError, match=r"size=2 cannot have the mean output.*smaller size"):
        enlarged(normalized, models, 2)


def test_resize_sets_sizes_and_values():
    wide = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3, groups=8), nn.Flatten())
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3, groups=4), nn.Flatten())
    resized = onebasin.resize(model, wide.state_dict())
    inputs = torch.randn(2, 3, 8, 8)
    assert torch.equal(resized(inputs), wide(inputs))
    assert (resized[1].in_channels, resized[1].groups, model[1].groups) == (8, 8, 4)


def test_resize_keeps_tied_tensors_tied():
    model, wide = nn.Sequential(nn.Embedding(9, 4), nn.Linear(4, 9)), nn.Embedding(9, 6)
    model[1].weight = model[0].weight
    state = {"0.weight": wide.weight.detach(), "1.bias": torch.zeros(9)}
    resized = onebasin.resize(model, state)
    assert resized[1].weight is resized[0].weight
    assert (resized[0].embedding_dim, resized[1].in_features) == (6, 6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("0.bias"), "tensor '0.bias' is missing"),
        (lambda state: state.update(other=torch.zeros(1)), "tensor 'other' is not in the model"),
        (
            lambda state: state.update({"0.bias": torch.zeros(2, 2)}),
            r"tensor '0.bias' has shape \(2, 2\) but",
        ),
    ],
)
def test_resize_reports_tensors_that_do_not_fit(change, message):
    state = mlp().state_dict()
    change(state)
    with pytest.raises(OneBasinError, match=f"^resize: {message}.*;"):
        onebasin.resize(mlp(), state)


@pytest.mark.filterwarnings("ignore::onebasin.OneBasinWarning")
def test_merge_writes_and_loads_an_enlarged_network(tmp_path):
    models = networks(mlp)
    data = inputs_for(mlp), torch.arange(100) % 3
    merged = onebasin.merge(mlp(), models, data=data, size=1.5, output=tmp_path / "m.safetensors")
    model = merged.load_into(mlp())
    assert model[0].out_features == 12 + merged.num_separate["0"]
    assert merged.repair == "refit"
    saved = onebasin.resize(mlp(), onebasin.open_checkpoint(tmp_path / "m.safetensors"))
    assert torch.equal(saved(data[0]), model(data[0]))
    assert "kept from every network" in merged.summary()
    assert merged.to_json()["size"]["parameters"] == sum(p.numel() for p in model.parameters())


@pytest.mark.filterwarnings("ignore:.* layers? with more unknowns")
def test_a_size_that_is_too_small_is_noted():
    data = inputs_for(mlp), torch.arange(100) % 3
    with pytest.warns(onebasin.OneBasinWarning, match=r"size=1.01 is too small .*; choose"):
        merged = onebasin.merge(mlp(), networks(mlp), data=data, size=1.01, evaluate=False)
    assert "build it" not in merged.summary()
    assert merged.load_into(mlp())[0].out_features == 12


def test_merge_at_the_number_of_networks_needs_no_data():
    models = networks(mlp)
    merged = onebasin.merge(mlp(), models, size=2, example_inputs=torch.zeros(2, 5))
    inputs = inputs_for(mlp)
    with torch.no_grad():
        expected = mean_output(models, inputs)
        torch.testing.assert_close(merged.load_into(mlp())(inputs), expected)


class TwoInputs(nn.Module):
    """A model of two inputs."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.last = nn.Linear(5, 8), nn.Linear(4, 8), nn.Linear(8, 3)

    def forward(self, x, y):
        return self.last(torch.relu(self.first(x) + self.second(y)))


@torch.no_grad()
def test_models_of_two_inputs_need_no_data():
    models = [TwoInputs() for _ in range(2)]
    inputs = torch.randn(4, 5), torch.randn(4, 4)
    merged = onebasin.merge(TwoInputs(), models, size=2, example_inputs=inputs)
    expected = sum(model(*inputs) for model in models) / 2
    torch.testing.assert_close(merged.load_into(TwoInputs())(*inputs), expected)


def test_no_units_of_networks_with_weight_zero_are_kept():
    models = networks(mlp, 3)
    inputs = torch.zeros(2, 5)
    merged = onebasin.merge(mlp(), models, size=3, weights=[1, 0, 3], example_inputs=inputs)
    model = merged.load_into(mlp())
    assert model[0].out_features == 2 * 12
    with torch.no_grad():
        expected = mean_output([models[0], models[2]], inputs, (0.25, 0.75))
        torch.testing.assert_close(model(inputs), expected)


@pytest.mark.filterwarnings("ignore::onebasin.OneBasinWarning")
def test_a_network_of_all_units_has_no_repair():
    data = inputs_for(mlp), torch.arange(100) % 3
    merged = onebasin.merge(mlp(), networks(mlp), data=data, size=2, evaluate=False)
    assert merged.repair is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 0.5}, r"size=0.5 is not a number from 1 to 2"),
        ({"size": 3}, r"size=3 is not a number from 1 to 2"),
        ({"size": float("nan")}, r"size=nan is not a number"),
        ({"size": 1.2}, r"size=1.2 selects units by their features on data"),
        ({"size": 2, "align": False}, r"size= needs aligned networks"),
        ({"size": 2, "repair": "reset"}, r"size=2 refits all layers"),
    ],
)
def test_sizes_that_cannot_be_used_are_reported(options, message):
    with pytest.raises(OneBasinError, match=f"^merge: {message}.*;"):
        onebasin.merge(mlp(), networks(mlp), example_inputs=torch.zeros(2, 5), **options)
