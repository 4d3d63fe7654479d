import pytest
import torch
from torch import nn

from onebasin.errors import OneBasinError
from onebasin.graph.binding import FunctionalModel
from tests.evaluation.networks import assert_same, copy_of, examples, mlp


class Tied(nn.Module):
    """Two names for one weight."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(4, 4, bias=False)
        self.second = nn.Linear(4, 4, bias=False)
        self.second.weight = self.first.weight

    def forward(self, x):
        return self.second(self.first(x))


def test_functional_model_equals_the_other_model():
    model, other, (inputs, _) = mlp(0, norm=True), mlp(1, norm=True), examples()
    before = copy_of(model.state_dict())
    found = FunctionalModel(model, other.state_dict())(inputs)
    assert torch.equal(found, other.eval()(inputs))
    assert_same(model.state_dict(), before)
    assert all(module.training for module in model.modules())


def test_functional_model_lists_its_tensors():
    model, other = mlp(0, norm=True), mlp(1, norm=True)
    bound = FunctionalModel(model, other.state_dict())
    expected = other.state_dict()
    found = dict(bound.named_parameters()) | dict(bound.named_buffers())
    assert_same(found, expected)
    assert next(bound.parameters()).device == torch.device("cpu")
    assert not list(bound.children())


@pytest.mark.parametrize(
    "names", [{"first.weight"}, {"second.weight"}, {"first.weight", "second.weight"}]
)
def test_one_name_of_tied_tensors_suffices(names):
    torch.manual_seed(0)
    model, other = Tied(), Tied()
    inputs = torch.randn(3, 4)
    params = {name: tensor for name, tensor in other.state_dict().items() if name in names}
    assert torch.equal(FunctionalModel(model, params)(inputs), other(inputs))


def test_integer_buffers_may_be_missing():
    model = mlp(0, norm=True)
    params = model.state_dict()
    del params["1.num_batches_tracked"]
    inputs, _ = examples()
    assert torch.equal(FunctionalModel(model, params)(inputs), model.eval()(inputs))


def test_error_on_mismatched_tensors():
    model = mlp(0, norm=True)
    params = model.state_dict()
    with pytest.raises(OneBasinError, match="tensor 'more' is not in the model"):
        FunctionalModel(model, {**params, "more": torch.zeros(1)})
    with pytest.raises(OneBasinError, match=r"tensor '0.bias' is \(3,\) but \(8,\) in the model"):
        FunctionalModel(model, {**params, "0.bias": torch.zeros(3)})
    del params["1.running_mean"]
    with pytest.raises(OneBasinError, match=r"tensor '1\.running_mean' is missing"):
        FunctionalModel(model, params)


def test_checkpoint_of_higher_precision_runs_in_its_precision():
    model, other, (inputs, _) = mlp(0, norm=True), mlp(1, norm=True), examples()
    wide = {n: t.double() if t.is_floating_point() else t for n, t in other.state_dict().items()}
    found = FunctionalModel(model, wide)(inputs)
    assert found.dtype == torch.float64
    assert torch.equal(found, other.double().eval()(inputs.double()))


def test_one_tensor_of_higher_precision_determines_the_precision():
    model, other, (inputs, _) = mlp(0, norm=True), mlp(1, norm=True), examples()
    mixed = other.state_dict()
    mixed["1.running_mean"] = mixed["1.running_mean"].double()
    found = FunctionalModel(model, mixed)(inputs)
    assert torch.equal(found, other.double().eval()(inputs.double()))


class Constant(nn.Module):
    """A model with a matrix that its state dict does not have."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 3)
        self.register_buffer("mix", torch.eye(3), persistent=False)

    def forward(self, x):
        return self.linear(x @ self.mix)


def test_tensors_outside_of_the_checkpoint_are_promoted():
    model, inputs = Constant(), torch.ones(2, 3)
    params = {name: tensor.double() for name, tensor in model.state_dict().items()}
    assert torch.equal(FunctionalModel(model, params)(inputs), model.double()(inputs.double()))
