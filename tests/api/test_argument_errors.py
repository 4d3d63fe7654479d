"""Errors name arguments that the called function has, and the cause of the problem."""

import pytest
import torch
from torch import nn

import onebasin
from onebasin import OneBasinError, api


def _mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3))


MODEL, A, B = _mlp(), _mlp(), _mlp()
INPUTS, LABELS = torch.randn(12, 4), torch.arange(12) % 3
DATA = [(INPUTS, LABELS)]
EXAMPLE = {"example_inputs": INPUTS}

CASES = {
    "the inputs have the name of the argument": (
        lambda: onebasin.inspect(MODEL, example_inputs=3),
        "inspect: example_inputs is 3; pass the inputs of one call of the model",
    ),
    "inspect takes no data": (
        lambda: onebasin.inspect(MODEL),
        "inspect: example inputs are missing; pass example_inputs=, such as a batch",
    ),
    "weights are a list": (
        lambda: onebasin.merge(MODEL, [A, B], weights=[0, 0], **EXAMPLE),
        "merge: the weights are 0, 0, but they must be finite with a sum other than 0; pass "
        "others, such as weights=[0.7, 0.3]",
    ),
    "a named architecture takes no tensors": (
        lambda: onebasin.merge("mlp", [A, B], **EXAMPLE),
        "merge: example_inputs= of a named architecture is a shape, such as '2x3x32x32'; pass a "
        "module to use tensors",
    ),
    "a named architecture takes no keyword tensors": (
        lambda: onebasin.inspect("mlp", example_inputs={"x": INPUTS}),
        "inspect: example_inputs= of a named architecture is a shape, such as '2x3x32x32'; pass a "
        "module to use tensors",
    ),
    "the model is the first argument": (
        lambda: onebasin.merge([A, B], MODEL),
        "merge: model is of type list; pass a torch.nn.Module, or the name of an architecture such "
        "as 'torchvision:resnet50'",
    ),
    "barrier does not align by default": (
        lambda: onebasin.barrier(MODEL, A, B, DATA, restarts=2),
        "barrier: restarts= has no effect with align=False; pass align=True, or remove it",
    ),
    "a single state dict is not several networks": (
        lambda: onebasin.merge(MODEL, A.state_dict(), **EXAMPLE),
        "merge: networks is a single state dict; pass a list, such as [a, b]",
    ),
    "every input has a label": (
        lambda: onebasin.evaluate(MODEL, A, (INPUTS, LABELS[:5])),
        "evaluate: 12 inputs but 5 labels; give one label for each input",
    ),
    "every input of a batch has a label": (
        lambda: onebasin.evaluate(MODEL, A, [(INPUTS, LABELS[:5])]),
        "evaluate: a batch has 12 outputs but 5 labels; give one label for each",
    ),
    "labels are no list": (
        lambda: onebasin.evaluate(MODEL, A, (INPUTS, LABELS.tolist())),
        "evaluate: the labels of data are a list; pass a tensor or an array",
    ),
    "a loader has no columns": (
        lambda: onebasin.evaluate(MODEL, A, [INPUTS]),
        "evaluate: data has no labels, and a loss needs them; pass batches (inputs, labels)",
    ),
    "a module of another architecture": (
        lambda: onebasin.merge(MODEL, [A, B], **EXAMPLE).load_into(nn.Linear(4, 3)),
        "load_into: 2 tensors missing in the parameters ('weight', 'bias') and 4 tensors "
        "unexpected in the parameters ('0.weight', '0.bias', '2.weight' and 1 more); pass a module",
    ),
    "a name with a capital": (
        lambda: onebasin.evaluate(MODEL, A, "Digits"),
        "data: 'Digits' is not a file, a folder or a known dataset; did you mean 'digits'?",
    ),
    "data are not a number": (
        lambda: onebasin.evaluate(MODEL, A, 5),
        "evaluate: data is 5; give a DataLoader, a list of batches",
    ),
    "a misspelled argument": (
        lambda: onebasin.merge(MODEL, [A, B], dta=DATA, **EXAMPLE),
        "merge: unknown argument 'dta'; did you mean data=?",
    ),
    "a misspelled argument is named before its effect": (
        lambda: onebasin.barrier(MODEL, A, B, DATA, num_point=3),
        "barrier: unknown argument 'num_point'; did you mean num_points=?",
    ),
    "one network": (
        lambda: api.plane(MODEL, [A], DATA),
        "plane: 1 network given; pass two or three",
    ),
    "a missing symmetry": (
        lambda: onebasin.align(MODEL, A, B, symmetry="none.json", **EXAMPLE),
        "none.json: no such file; check the path",
    ),
    "a missing folder of data": (
        lambda: onebasin.merge(MODEL, [A, B], data="nope_dir"),
        "data: 'nope_dir' is not a file, a folder or a known dataset; known are: cifar10",
    ),
    "a missing file of an architecture": (
        lambda: onebasin.inspect("x.txt"),
        "'x.txt' is not a file, a folder or a known architecture; known are mlp",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_errors_name_the_argument_and_the_cause(case, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    call, text = CASES[case]
    with pytest.raises(OneBasinError) as error:
        call()
    assert str(error.value).startswith(text)


def test_options_of_named_data_name_their_class():
    text = r"root= \(root= is an argument of onebasin\.DataSource\)$"
    with pytest.raises(OneBasinError, match=text):
        onebasin.evaluate(MODEL, A, "nothing")
    with pytest.raises(OneBasinError, match=r"root=$"):
        onebasin.evaluate(MODEL, A, onebasin.DataSource("nothing"))


def test_inspect_needs_a_checkpoint_that_determines_its_architecture(tmp_path):
    torch.save(A.state_dict(), tmp_path / "a.pt")
    text = "pass the name of its architecture, such as 'torchvision:resnet50'"
    with pytest.raises(OneBasinError, match=text) as error:
        onebasin.inspect(str(tmp_path / "a.pt"))
    assert "ARCH" not in str(error.value)
    with pytest.raises(OneBasinError, match=r"a\.pt' is a file, not an architecture; known are"):
        onebasin.merge(str(tmp_path / "a.pt"), [A, B])
    (tmp_path / "notes.txt").write_text("no tensors")
    with pytest.raises(OneBasinError, match=r"notes.txt: unknown kind of checkpoint '.txt'"):
        onebasin.inspect(str(tmp_path / "notes.txt"))


@pytest.mark.filterwarnings("ignore::onebasin.OneBasinWarning")
def test_options_of_the_method_are_keywords_of_every_function_that_aligns():
    options = {"restarts": 2, "example_inputs": INPUTS}
    aligned = onebasin.align(MODEL, A, B, **options)
    result = onebasin.barrier(MODEL, A, B, DATA, num_points=2, align=True, **options)
    assert result.to_json()["matching"]["method"] == aligned.method
    for call in (
        lambda: api.barriers(MODEL, [A, B, _mlp()], DATA, align=True, restarts=0),
        lambda: api.plane(MODEL, [A, B], DATA, restarts=0),
        lambda: api.compare_features(MODEL, A, B, DATA, restarts=0),
    ):
        with pytest.raises(OneBasinError, match="restarts is 0; it must be a whole number"):
            call()
