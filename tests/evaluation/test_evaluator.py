import math
import re

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from onebasin.errors import OneBasinError
from onebasin.evaluation.evaluator import Evaluation, as_evaluation, evaluator
from tests.evaluation.networks import examples, mlp


def test_loss_and_error_are_means_over_examples():
    model, (inputs, labels) = mlp(0), examples(50)
    result = evaluator(inputs, labels, batch_size=50)(model)
    logits = model.eval()(inputs).detach().double()
    assert result.loss == pytest.approx(float(F.cross_entropy(logits, labels)), rel=1e-6)
    assert result.error == float((logits.argmax(1) != labels).double().mean())
    assert result.num_examples == 50
    assert result.accuracy == 1 - result.error


@pytest.mark.parametrize("batch_size", [1, 7, 49, 1000])
def test_evaluation_does_not_depend_on_batch_size(batch_size):
    model, (inputs, labels) = mlp(0), examples(50)
    whole = evaluator(inputs, labels, batch_size=50)(model)
    result = evaluator(inputs, labels, batch_size=batch_size)(model)
    assert result.loss == pytest.approx(whole.loss, rel=1e-7)
    assert result.error == whole.error


def test_small_losses_are_summed_in_float64():
    # In float32 the sum of 2e5 losses of about 1 is off in the sixth digit.
    logits = torch.zeros(200_000, 3)
    result = evaluator(logits, torch.zeros(200_000, dtype=torch.long))(nn.Identity())
    one = float(F.cross_entropy(torch.zeros(1, 3), torch.zeros(1, dtype=torch.long)))
    assert result.loss == pytest.approx(one, rel=1e-12)


def test_batches_of_a_loader():
    inputs, labels = examples(50)
    loader = torch.utils.data.DataLoader(
        torch.utils.data.TensorDataset(inputs, labels), batch_size=16
    )
    model = mlp(0)
    assert evaluator(loader)(model) == evaluator(inputs, labels, batch_size=16)(model)


def test_model_keeps_its_training_flags():
    model = mlp(0)
    model[2].eval()
    flags = [module.training for module in model.modules()]
    evaluator(*examples())(model)
    assert [module.training for module in model.modules()] == flags


def test_inputs_by_keyword_and_position():
    class Adder(nn.Module):
        def forward(self, left, right):
            return left + right

    labels = torch.tensor([0, 1])
    by_keyword = evaluator([({"left": torch.eye(2), "right": torch.eye(2)}, labels)])
    by_position = evaluator([((torch.eye(2), torch.eye(2)), labels)])
    assert by_keyword(Adder()) == by_position(Adder())
    assert by_keyword(Adder()).error == 0


@pytest.mark.parametrize("wrap", [lambda x: (x, None), lambda x: {"logits": x}])
def test_outputs_may_be_wrapped(wrap):
    class Wrapped(nn.Module):
        def forward(self, x):
            return wrap(x)

    inputs, labels = torch.eye(3), torch.tensor([0, 1, 1])
    assert evaluator(inputs, labels)(Wrapped()) == evaluator(inputs, labels)(nn.Identity())


def test_one_class_per_token_and_ignored_labels():
    logits = torch.eye(3).expand(2, 3, 3)
    labels = torch.tensor([[0, 1, 2], [0, 0, -100]])
    result = evaluator(logits, labels)(nn.Identity())
    assert result.num_examples == 5
    assert result.error == 1 / 5


def test_squared_error_has_no_classes():
    inputs, targets = torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([[1.0, 0.0], [3.0, 4.0]])
    result = evaluator(inputs, targets, loss="mse")(nn.Identity())
    assert result.loss == 1.0
    assert math.isnan(result.error)


@pytest.mark.parametrize("shape", [(3,), (3, 1), (3, 1, 1)])
@pytest.mark.parametrize("wanted", [(3,), (3, 1), (3, 1, 1)])
def test_squared_errors_do_not_broadcast_targets(shape, wanted):
    outputs, targets = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([1.0, 4.0, 4.0])
    evaluate = evaluator(outputs.reshape(shape), targets.reshape(wanted), loss="mse")
    result = evaluate(nn.Identity())
    assert result.loss == pytest.approx((0 + 4 + 1) / 3)
    assert result.num_examples == 3


@pytest.mark.parametrize(
    ("shape", "wanted"),
    [((3, 3), (3,)), ((3, 2), (3, 1)), ((3, 2, 4), (3, 4, 2)), ((3, 6), (3, 2, 3))],
)
def test_targets_of_another_shape_are_rejected(shape, wanted):
    evaluate = evaluator(torch.zeros(shape), torch.zeros(wanted), loss="mse")
    says = f"outputs are {shape} and targets {wanted}; mse needs one target for each output"
    with pytest.raises(OneBasinError, match=re.escape(says)):
        evaluate(nn.Identity())


@pytest.mark.parametrize("reduction", ["none", "mean"])
def test_custom_loss(reduction):
    inputs, labels = examples(50)
    model = mlp(0)

    def loss(outputs, targets):
        return F.cross_entropy(outputs, targets, reduction=reduction)

    result = evaluator(inputs, labels, batch_size=16, loss=loss)(model)
    expected = evaluator(inputs, labels)(model)
    assert result.loss == pytest.approx(expected.loss, rel=1e-6)
    assert result.error == expected.error


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0.5, Evaluation(0.5)),
        (torch.tensor(0.5), Evaluation(0.5)),
        ((0.5, 0.25), Evaluation(0.5, 0.25)),
        (Evaluation(0.5, 0.25, 8), Evaluation(0.5, 0.25, 8)),
    ],
)
def test_return_values_of_custom_functions(value, expected):
    result = as_evaluation(value)
    assert (result.loss, result.num_examples) == (expected.loss, expected.num_examples)
    assert result.error == expected.error or (
        math.isnan(result.error) and math.isnan(expected.error)
    )


@pytest.mark.parametrize("value", [None, (1.0, 2.0, 3.0), "low"])
def test_invalid_return_values_are_rejected(value):
    with pytest.raises(OneBasinError, match=r"evaluate returned \w+, expected a loss"):
        as_evaluation(value)


def test_invalid_data_are_rejected():
    inputs, labels = examples(50)
    with pytest.raises(OneBasinError, match="50 inputs but 49 labels"):
        evaluator(inputs, labels[:-1])
    with pytest.raises(OneBasinError, match="batch_size is 0; it must be at least 1"):
        evaluator(inputs, labels, batch_size=0)
    with pytest.raises(OneBasinError, match="unknown loss 'hinge'; use 'cross_entropy', 'mse'"):
        evaluator(inputs, labels, loss="hinge")
    with pytest.raises(OneBasinError, match="read only once"):
        evaluator(iter([(inputs, labels)]))
    with pytest.raises(OneBasinError, match="the data has no examples"):
        evaluator([])(mlp(0))
    with pytest.raises(OneBasinError, match=r"outputs are \(50, 3\) and labels \(50, 4\)"):
        evaluator(inputs, inputs)(mlp(0))


def test_output_without_a_tensor_is_rejected():
    class Silent(nn.Module):
        def forward(self, x):
            return None

    with pytest.raises(OneBasinError, match="the model returned NoneType, expected a tensor"):
        evaluator(*examples())(Silent())


@pytest.mark.parametrize("label", [3, -1])
def test_labels_outside_of_the_classes_are_rejected(label):
    inputs, labels = examples(4)
    labels[2], labels[3] = label, -100
    text = rf"^Evaluator: labels are {min(0, label)} to \d, but there are 3 classes; .* 0 to 2, or"
    labels[0] = 0
    with pytest.raises(OneBasinError, match=text):
        evaluator(inputs, labels)(mlp(0))
