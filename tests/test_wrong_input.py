"""Wrong input as a user gives it: in a process of its own, where no types are checked."""

import json
import subprocess
import sys

import pytest

PROGRAM = """
import json, sys
import torch
import onebasin
from torch import nn
from onebasin import Permutation, matching, average, infer_symmetry, verify
from onebasin.merging import average_checkpoints, repair
from onebasin.errors import OneBasinError
from onebasin.graph.binding import FunctionalModel
from onebasin.evaluation import (
    baseline_of, compare_ensembles, compare_outputs, evaluate_networks,
    evaluator, interpolate, measure_pairs, measure_plane, permuted_copies, reset_statistics,
)
from onebasin.evaluation.features import measure_llfc, measure_similarity
from onebasin_studies.training import Dataset, train

inputs, labels, model = torch.randn(8, 2), torch.tensor([0, 1] * 4), nn.Linear(2, 2)
params, evaluate = model.state_dict(), lambda model: 0.0
arrays = {name: tensor.numpy() for name, tensor in params.items()}

def dataset(inputs=inputs, labels=labels, num_classes=2):
    parts = {"test_inputs": inputs, "test_labels": labels, "num_classes": num_classes}
    return Dataset("toy", inputs, labels, **parts)

def trained(network=model, data=dataset(), **options):
    return train(network, data, seeds=[0], epochs=1, **options)

net = nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 2))
symmetry, a = infer_symmetry(net, inputs), net.state_dict()
b, unmoved = {name: tensor.numpy() for name, tensor in a.items()}, Permutation.identity(symmetry)

def match(name, data=[(inputs, labels)], **options):
    return getattr(matching, f"match_{name}")(symmetry, a, a, model=net, data=data, **options)

def match_weights(**options):
    return matching.match_weights(symmetry, a, a, **options)

def changed(name="0.weight", value=None):
    return {**a, name: value}

data, measured = [(inputs, labels)], evaluator(inputs, labels)
nan, wide = changed(value=a["0.weight"] * float("nan")), changed(value=torch.zeros(5, 2))
short = {name: tensor for name, tensor in a.items() if name != "0.weight"}

found = []
for call in json.load(sys.stdin):
    try:
        found.append(f"accepted: {type(eval(call)).__name__}")
    except OneBasinError as error:
        found.append(str(error))
    except Exception as error:
        found.append(repr(error))
print(json.dumps(found))
"""

CASES = {
    "trained(data=[(inputs, labels)])": "train: data is of type list; pass a Dataset",
    "trained('mlp')": "train: network is 'mlp'; pass a module or a function that builds one",
    "trained(lambda: 'mlp')": "train: the network function returned 'mlp'; it must",
    "trained(augment='flip')": "train: augment is 'flip'; pass a function of inputs and a gen",
    "trained(augment=lambda x, _: x[:, :1])": "train: augment returned (8, 1) for inputs (8, 2); "
    "return a tensor of the same shape",
    "trained(augment=lambda x, _: None)": "train: augment returned None for inputs (8, 2); return",
    "trained(device=3.5)": "train: device '3.5' is not available (TypeError); choose another",
    "dataset().with_classes(3)": "with_classes: classes is 3; give a list of whole numbers",
    "dataset().with_classes('a')": "with_classes: a class is 'a'; it must be a whole number",
    "dataset().split('a')": "data: invalid fraction 'a' of toy; pass a number from 0 to 1",
    "dataset().split(True)": "data: invalid fraction True of toy; pass a number from 0 to 1",
    "dataset().split_by_class('a')": "data: invalid fraction 'a' of toy; pass a number from 0 to 1",
    "dataset().with_label_noise('a')": "data: label noise for a fraction 'a' of toy with 2 cl",
    "dataset(num_classes=1.5)": "Dataset: num_classes is 1.5; it must be a whole number of",
    "dataset(labels=[0, 1] * 4)": "data: train labels of toy are of type list; pass a",
    "dataset(labels=labels[:, None])": "data: labels of toy are torch.int64 (8, 1); pass int64",
    "dataset(inputs=[[0.0]] * 8)": "data: train inputs of toy are of type list; pass a tensor",
    "interpolate(model, params, params, None)": "evaluate is None; pass a function of the model",
    "infer_symmetry(nn.Linear, inputs)": "infer_symmetry: model is of type type; pass a torch",
    "infer_symmetry(nn.LazyLinear(2), inputs)": "infer_symmetry: tensor 'weight' of the model",
    "infer_symmetry(model, None)": "infer_symmetry: example_args is None; pass the",
    "verify(symmetry, model, 'x')": "verify: example_args is 'x'; pass the inputs of one call",
    "verify(symmetry, net, inputs, other_inputs=inputs)": "verify: other_inputs is of type Tensor",
    "verify(symmetry, 'mlp', inputs)": "verify: model is 'mlp'; pass a torch.nn.Module",
    "matching.match_weights(symmetry, a, b)": "match_weights: tensor '0.weight' of B is of type n",
    "unmoved.apply(b)": "apply: tensor '0.weight' is of type ndarray; state dicts hold",
    "average(None)": "average: params_list is None; pass a list of state dicts",
    "average(params)": "average: params_list is of type OrderedDict; pass a list of state dicts",
    "average([arrays, arrays])": "average: tensor 'weight' is of type ndarray; state dicts hold",
    "interpolate(model, None, params, evaluate)": "interpolate: params_a is None; pass a state",
    "interpolate('mlp', params, params, evaluate)": "interpolate: model is 'mlp'; pass a torch",
    "FunctionalModel(model, None)": "params is None; pass a state dict, such as model.state_dict",
    "match_weights(seed=-1)": "match_weights: seed is -1; it must be a whole number of at least 0",
    "match_weights(seed=1.5)": "match_weights: seed is 1.5; it must be a whole number of at lea",
    "match_weights(restarts='3')": "match_weights: restarts is '3'; it must be a whole number of",
    "match_weights(cache_bytes=-5)": "match_weights: cache_bytes is -5; it must be at least 0 a",
    "matching.match_many(symmetry, [a, a], cache_bytes=-5)": "match_many: cache_bytes is -5; it",
    "matching.match_cycle_consistent(symmetry, [a, a], seed=-1)": "match_cycle_consistent: seed i",
    "match('annealing', steps=5.5)": "match_annealing: steps is 5.5; it must be a whole number of",
    "match('annealing', seed='a')": "match_annealing: seed is 'a'; it must be a whole number of a",
    "match('annealing', data=None)": "match_annealing: the data is None; pass a list of batches",
    "match('annealing', data=[(inputs[:0], labels[:0])])": "match_annealing: the data has no batch",
    "match('annealing', data=[(inputs, labels + 5)])": "match_annealing: invalid label 6 in "
    "batch 0 of the data; the model has 2 classes, use 0 to 1, or -100 to ignore an example",
    "match('annealing', data=[(inputs, labels - 5)])": "match_annealing: invalid label -5 in "
    "batch 0 of the data",
    "match('straight_through', data=None)": "match_straight_through: the data is None; pass a li",
    "match('straight_through', data=[(inputs[:0], labels[:0])])": "match_straight_through: the da",
    "match('straight_through', learning_rate='a')": "match_straight_through: learning_rate must b",
    "match('activations', data=None)": "match_activations: the data is None; pass a list of batch",
    "match('combined', data=[inputs[:0]])": "match_combined: the data has no batches; pass at lea",
    "match('commutativity', data=[inputs[:0]])": "match_commutativity: the data has no batches; p",
    "match('functional_difference', data=[inputs[:0]])": "match_functional_difference: the data ha",
    "match('commutativity', seed=1.5)": "match_commutativity: seed is 1.5; it must be a whole num",
    "repair(net, a, [a], None)": "repair: the data is None; pass a list of batches or a DataLoad",
    "repair(net, a, [a], 3, method='reset')": "repair: the data is 3; pass a list of batches or a",
    "repair(net, a, [], [inputs[:, :1]], method='reset')": "repair: the model does not run on bat",
    "matching.match_weights(net, a, a)": "match_weights: symmetry is the model (Sequential); pass",
    "matching.match_weights(None, a, a)": "match_weights: symmetry is None; pass a symmetry, such",
    "matching.match_weights(symmetry, a, nan)": "match_weights: tensor '0.weight' of B has NaN or",
    "matching.match_weights(symmetry, a, short)": "match_weights: tensor '0.weight' of the symmet",
    "matching.match_weights(symmetry, a, wide)": "match_weights: tensor '0.weight' is (5, 2) in B",
    "matching.match_weights(symmetry, a, changed())": "match_weights: tensor '0.weight' of B is N",
    "matching.match_weights(symmetry, a, changed('x', inputs))": "match_weights: tensor 'x' of B",
    "matching.match_weights(symmetry, a, 'b.pt')": "match_weights: B is 'b.pt'; pass a state dict",
    "match_weights(init='x')": "match_weights: init is 'x'; pass a Permutation",
    "match_weights(init=[unmoved])": "match_weights: init is of type list; pass a Permutation",
    "match_weights(progress=3)": "match_weights: progress is 3; pass a function",
    "match_weights(max_sweeps=0)": "match_weights: max_sweeps is 0; it must be a whole number of",
    "matching.match_many(symmetry, a)": "match_many: params_list is of type OrderedDict; pass a l",
    "matching.match_many(symmetry, (x for x in [a, a]))": "match_many: params_list is of type gen",
    "matching.match_many(symmetry, None)": "match_many: params_list is None; pass a list of state",
    "matching.match_many(symmetry, [a])": "match_many: 1 network given; give at least two of one",
    "matching.match_many(symmetry, [a, 'b.pt'])": "match_many: params_list[1] is 'b.pt'; pass a s",
    "matching.match_many(symmetry, [a, a], init=unmoved)": "match_many: init is of type Permutat",
    "matching.match_many(symmetry, [a, a], init=[unmoved])": "match_many: init has 1 permutation",
    "matching.match_cycle_consistent(symmetry, 3)": "match_cycle_consistent: params_list is 3; pa",
    "matching.match_activations(symmetry, a, a, model=None, data=data)": "match_activations: mode",
    "match('combined', balance=float('nan'))": "match_combined: balance is nan; it must be at lea",
    "average([a, nan])": "average: tensor '0.weight' of params_list[1] has NaN or infinite entries",
    "average([a, short])": "average: 1 tensor only in the parameters (A) ('0.weight'); both must b",
    "average([a, wide])": "average: tensor '0.weight' is (4, 2) in the parameters (A) but (5, 2) i",
    "average([a, changed()])": "average: tensor '0.weight' is None; state dicts hold torch.Tensor",
    "average([{}, {}])": "average: params_list[0] has no tensors; pass a state dict with some",
    "average([a, a], '12')": "average: weights is '12'; pass one number for each network",
    "average([a, a], 1)": "average: weights is 1; pass one number for each network",
    "average([a, a], [None, 1])": "average: weights is of type list; pass one number for each netw",
    "average([a, a], [1, 2, 3])": "average: 3 weights (1, 2, 3) for 2 networks; pass one for e",
    "average([a, a], [float('inf'), 1])": "average: the weights are inf, 1, but they must be",
    "interpolate(net, a, short, measured)": "parameters: tensor '0.weight' is in params_a but not",
    "interpolate(net, a, wide, measured)": "parameters: tensor '0.weight' is (5, 2) but (4, 2) in",
    "interpolate(net, a, changed(), measured)": "interpolate: tensor '0.weight' of params_b is Non",
    "interpolate(net, {}, {}, measured)": "parameters: tensor '0.weight' is missing; pass the sta",
    "interpolate(net, a, a, measured, num_points=1)": "interpolate: num_points is 1; it must be a",
    "interpolate(net, a, wide, measured, normalization='x')": "interpolate: normalization is 'x';",
    "measure_pairs(net, None, measured)": "measure_pairs: networks is None; pass a list of state",
    "measure_pairs(net, {'a': a}, measured)": "measure_pairs: networks is of type dict; pass a li",
    "measure_plane(net, [a, a, a], measured)": "measure_plane: networks is of type list; pass a m",
    "measure_plane(net, {'a': a}, measured)": "measure_plane: 1 network given; pass three",
    "compare_ensembles(net, {'a': a, 'b': a}, None)": "compare_ensembles: evaluate is None; pass",
    "baseline_of(None)": "baseline_of: the data is None; pass a list of batches or a DataLoader",
    "evaluate_networks(net, {}, data)": "evaluate_networks: networks is empty; pass at least one",
    "evaluate_networks(net, [a], data)": "evaluate_networks: networks is of type list; pass a ma",
    "evaluate_networks(net, {'a': 3}, data)": "evaluate_networks: networks['a'] is 3; pass a sta",
    "evaluate_networks('mlp', {'a': a}, data)": "evaluate_networks: model is 'mlp'; pass a torch",
    "evaluate_networks(net, {'a': a}, data, ensemble=['b'])": "evaluate_networks: ensemble has th"
    "e unknown network 'b'; the names are a",
    "evaluate_networks(net, {'a': a}, data, ensemble='a')": "evaluate_networks: ensemble is 'a'; ",
    "compare_outputs(net, {}, data, reference=[])": "compare_outputs: reference is empty; name at",
    "compare_outputs(net, {'a': a}, data, reference=['b'])": "compare_outputs: reference has the ",
    "compare_outputs(net, {'a': a}, None, reference=['a'])": "compare_outputs: the data is None; ",
    "average_checkpoints([])": "average_checkpoints: checkpoints is empty; pass at least one",
    "average_checkpoints(None)": "average_checkpoints: checkpoints is None; pass a list of state",
    "average_checkpoints(a)": "average_checkpoints: checkpoints is of type OrderedDict; pass a li",
    "average_checkpoints([a, 3])": "average_checkpoints: checkpoint 2 is 3; pass a state dict, su",
    "reset_statistics(None, a, data)": "reset_statistics: model is None; pass a torch.nn.Module",
    "reset_statistics(net, short, data)": "parameters: tensor '0.weight' is missing; pass the sta",
    "reset_statistics(net, a, [])": "reset_statistics: the data has no batch; pass at least one",
    "repair(None, a, [a], data)": "repair: model is None; pass a torch.nn.Module",
    "repair(net, a, a, data)": "repair: sources is of type OrderedDict; pass a list of state dicts",
    "repair(net, a, [a, a], data, weights=[1])": "repair: 1 weight (1) for 2 networks; pass one f",
    "repair(net, a, [a], data, method='x')": "repair: method is 'x'; it must be 'reset' or 'repair",
    "permuted_copies(symmetry, a, 1.5)": "permuted_copies: num_copies is 1.5; it must be a whole",
    "permuted_copies(symmetry, short, 1)": "permuted_copies: missing tensor '0.weight'; pass e",
    "measure_llfc(net, a, a, data, alphas=0.5)": "measure_llfc: alphas is 0.5; pass a list, such a",
    "measure_llfc(net, a, a, data, alphas=[2])": "measure_llfc: alpha is 2; it must be between 0 a",
    "measure_llfc(net, a, a, data, layers=[3])": "measure_llfc: layer 3 is not a name; pass a stri",
    "measure_similarity(net, a, a, data, max_features=0)": "measure_similarity: max_features is 0;",
    "unmoved.apply(short)": "apply: missing tensor '0.weight'; pass every parameter and buffer",
    "unmoved.apply(None)": "apply: params is None; pass a state dict, such as model.state_dict()",
}


ACCEPTED = {
    "matching.match_weights(symmetry, net, a)": "Matching",
    "matching.match_weights(verify(symmetry, net, inputs), a, net)": "Matching",
    "matching.match_many(symmetry, [net, a])": "ManyMatching",
    "matching.match_many(symmetry, [a, a], init=[unmoved, unmoved])": "ManyMatching",
    "unmoved.apply(net)": "dict",
    "average([net, a])": "dict",
    "average([a, a], torch.tensor([1.0, 3.0]))": "dict",
    "average_checkpoints([net, a])": "dict",
    "interpolate(net, net, a, measured, num_points=2)": "Curve",
    "onebasin.evaluate(net, net, data)": "Evaluations",
    "evaluate_networks(net, {'a': net, 'b': a}, data, ensemble=['a'])": "NetworkEvaluations",
    "compare_outputs(net, {'a': net, 'b': a}, data, reference=['a'])": "dict",
    "compare_ensembles(net, {'a': net, 'b': a}, measured)": "Comparison",
    "reset_statistics(net, net, data)": "dict",
}


@pytest.fixture(scope="module")
def messages(tmp_path_factory) -> dict[str, str]:
    found = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        input=json.dumps([*CASES, *ACCEPTED]),
        capture_output=True,
        text=True,
        cwd=tmp_path_factory.mktemp("user"),
    )
    assert found.returncode == 0, found.stderr
    return dict(zip([*CASES, *ACCEPTED], json.loads(found.stdout), strict=True))


@pytest.mark.parametrize("call", CASES)
def test_wrong_input_gives_an_error_of_one_line(messages, call):
    assert messages[call].startswith(CASES[call])
    assert "\n" not in messages[call]


@pytest.mark.parametrize("call", ACCEPTED)
def test_modules_and_verifications_are_accepted(messages, call):
    assert messages[call] == f"accepted: {ACCEPTED[call]}"
