"""Wrong input as a user gives it: in a process of its own, where no types are checked."""

import json
import subprocess
import sys

import pytest

PROGRAM = """
import json, sys
import torch
from torch import nn
from onebasin import Permutation, matching, merge, repair, trace
from onebasin.errors import OneBasinError
from onebasin.forward.binding import BoundModel
from onebasin.measuring import interpolate
from onebasin.training import Dataset, train

inputs, labels, model = torch.randn(8, 2), torch.tensor([0, 1] * 4), nn.Linear(2, 2)
params, evaluate = model.state_dict(), lambda model: 0.0
arrays = {name: tensor.numpy() for name, tensor in params.items()}

def dataset(inputs=inputs, labels=labels, num_classes=2):
    return Dataset("toy", inputs, labels, inputs, labels, num_classes=num_classes)

def trained(network=model, data=dataset(), **options):
    return train(network, data, seeds=[0], epochs=1, **options)

net = nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 2))
symmetry, a = trace(net, inputs), net.state_dict()
b, unmoved = {name: tensor.numpy() for name, tensor in a.items()}, Permutation.identity(symmetry)

def match(name, data=[(inputs, labels)], **options):
    return getattr(matching, f"match_{name}")(symmetry, a, a, model=net, data=data, **options)

def match_weights(**options):
    return matching.match_weights(symmetry, a, a, **options)

found = []
for call in json.load(sys.stdin):
    try:
        found.append(f"accepted: {eval(call)}")
    except OneBasinError as error:
        found.append(str(error))
    except Exception as error:
        found.append(repr(error))
print(json.dumps(found))
"""

CASES = {
    "trained(data=[(inputs, labels)])": "train: data is of type list; pass a Dataset",
    "trained('mlp')": "train: network is 'mlp'; pass a module or a function that builds one",
    "trained(lambda: 'mlp')": "train: what the network function returned is 'mlp'; it must",
    "trained(augment='flip')": "train: augment is 'flip'; pass a function of inputs and a gen",
    "trained(augment=lambda x, _: x[:, :1])": "train: augment was given inputs (8, 2) and what "
    "it returned is (8, 1); it must return a tensor of the same shape",
    "trained(augment=lambda x, _: None)": "train: augment was given inputs (8, 2) and what it "
    "returned is None; it must",
    "trained(device=3.5)": "train: device '3.5' is not there (TypeError); choose another",
    "dataset().with_classes(3)": "data: classes is 3; give a list of whole numbers",
    "dataset().with_classes('a')": "data: a class is 'a'; it must be a whole number",
    "dataset().split('a')": "data: a share of 'a' of toy; give one from 0 to 1",
    "dataset().split(True)": "data: a share of True of toy; give one from 0 to 1",
    "dataset().split_by_class('a')": "data: a share of 'a' of toy; give one from 0 to 1",
    "dataset().with_label_noise('a')": "data: label noise on a share of 'a' of toy with 2 cl",
    "dataset(num_classes=1.5)": "data: num_classes is 1.5; it must be a whole number of at le",
    "dataset(labels=[0, 1] * 4)": "data: train labels of toy are of type list; they must be a",
    "dataset(labels=labels[:, None])": "data: labels of toy are torch.int64 (8, 1); they must",
    "dataset(inputs=[[0.0]] * 8)": "data: train inputs of toy are of type list; they must be",
    "interpolate(model, params, params, None)": "evaluate is None; pass a function of the model",
    "trace(nn.Linear, inputs)": "trace: model is of type type; pass a torch.nn.Module",
    "trace(nn.LazyLinear(2), inputs)": "trace: tensor 'weight' of the model is yet to be made; r",
    "trace(model, None)": "trace: example_args is None; pass the inputs of one call of the mod",
    "symmetry.prove(model, 'x')": "prove: example_args is 'x'; pass the inputs of one call",
    "symmetry.prove('mlp', inputs)": "prove: model is 'mlp'; pass a torch.nn.Module",
    "matching.match_weights(symmetry, net, a)": "match_weights: A is of type Sequential; pass a",
    "matching.match_weights(symmetry, a, b)": "match_weights: tensor '0.weight' of B is of type n",
    "unmoved.apply(net)": "apply: params is of type Sequential; pass a state dict, such as",
    "unmoved.apply(b)": "apply: tensor '0.weight' is of type ndarray; state dicts hold",
    "merge(None)": "merge: params_list is None; pass a list of state dicts",
    "merge(params)": "merge: params_list is of type OrderedDict; pass a list of state dicts",
    "merge([arrays, arrays])": "tensor 'weight' is of type ndarray; state dicts hold torch.Tensor",
    "interpolate(model, None, params, evaluate)": "parameters: params_a is None; pass a state",
    "interpolate(model, params, model, evaluate)": "parameters: params_b is of type Linear; p",
    "interpolate('mlp', params, params, evaluate)": "interpolate: model is 'mlp'; pass a torch",
    "BoundModel(model, None)": "parameters: params is None; pass a state dict, such as model.s",
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
    "match('annealing', data=[(inputs, labels + 5)])": "match_annealing: batch 0 of the data has "
    "label 6, but the model returns 2 classes; labels are 0 to 1, or -100 for what does not count",
    "match('annealing', data=[(inputs, labels - 5)])": "match_annealing: batch 0 of the data has "
    "label -5, but the",
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
    "merge([params, model])": "merge: params_list[1] is of type Linear; pass a state dict, such",
}


@pytest.fixture(scope="module")
def messages(tmp_path_factory) -> dict[str, str]:
    found = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        input=json.dumps(list(CASES)),
        capture_output=True,
        text=True,
        cwd=tmp_path_factory.mktemp("user"),
    )
    assert found.returncode == 0, found.stderr
    return dict(zip(CASES, json.loads(found.stdout), strict=True))


@pytest.mark.parametrize("call", CASES)
def test_wrong_input_is_told_in_a_line(messages, call):
    assert messages[call].startswith(CASES[call])
    assert "\n" not in messages[call]
