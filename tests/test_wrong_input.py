"""Wrong input as a user gives it: in a process of its own, where no types are checked."""

import json
import subprocess
import sys

import pytest

PROGRAM = """
import json, sys
import torch
from torch import nn
from onebasin import merge
from onebasin.errors import OneBasinError
from onebasin.forward.binding import BoundModel
from onebasin.measuring import interpolate
from onebasin.training import Dataset, train

inputs, labels, model = torch.randn(8, 2), torch.tensor([0, 1] * 4), nn.Linear(2, 2)
params, evaluate = model.state_dict(), lambda model: 0.0

def dataset(inputs=inputs, labels=labels, num_classes=2):
    return Dataset("toy", inputs, labels, inputs, labels, num_classes=num_classes)

def trained(network=model, data=dataset(), **options):
    return train(network, data, seeds=[0], epochs=1, **options)

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
    "interpolate(model, None, params, evaluate)": "parameters: params_a is None; pass a state",
    "interpolate(model, params, model, evaluate)": "parameters: params_b is of type Linear; p",
    "interpolate('mlp', params, params, evaluate)": "interpolate: model is 'mlp'; pass a torch",
    "BoundModel(model, None)": "parameters: params is None; pass a state dict, such as model.s",
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
