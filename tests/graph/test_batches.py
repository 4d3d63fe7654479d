"""Forms of a batch: what are its inputs, its labels, and the arguments of a model."""

import pytest
import torch
from torch import nn

from onebasin.errors import OneBasinError
from onebasin.evaluation import evaluator
from onebasin.evaluation.statistics import reset_statistics
from onebasin.graph.batches import Batches, as_reiterable, labels_of, run_model, split_batch
from onebasin.matching import match_activations
from onebasin.symmetry import infer_symmetry

X, Y = torch.randn(8, 4, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1] * 4)


class Masked(nn.Module):
    """Takes keyword arguments, as models of transformers do."""

    def __init__(self):
        super().__init__()
        self.hidden, self.norm, self.head = nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Linear(5, 2)

    def forward(self, values, mask=None):
        values = values if mask is None else values * mask
        return {"logits": self.head(self.norm(self.hidden(values)).relu())}


BATCH = {"values": X, "mask": torch.ones(8, 1), "labels": Y}


def test_labels_of_a_mapping():
    inputs, labels = split_batch(BATCH)
    assert set(inputs) == {"values", "mask"}
    assert labels is Y
    assert split_batch({"values": X, "label": Y})[1] is Y
    assert split_batch(X) == (X, None)
    assert split_batch([X]) == (X, None)


def test_labels_that_repeat_the_tokens_are_shifted():
    ids = torch.tensor([[5, 6, 7, 0]])
    labels = torch.tensor([[5, 6, 7, -100]])
    assert split_batch({"input_ids": ids, "labels": labels})[1].tolist() == [[6, 7, -100, -100]]
    tags = torch.tensor([[1, 1, 0, -100]])
    assert split_batch({"input_ids": ids, "labels": tags})[1] is tags


def test_batches_of_three_and_without_labels_are_rejected():
    with pytest.raises(OneBasinError, match="a batch has 3 entries"):
        split_batch((X, X, Y))
    with pytest.raises(OneBasinError, match=r"^batch 2 of the data \(Tensor\) has no"):
        labels_of(X, 2)
    assert next(iter(Batches(X, None, 4)))[1] is None


@pytest.mark.parametrize("data", [X, BATCH])
def test_single_batch_instead_of_a_list_is_rejected(data):
    with pytest.raises(OneBasinError, match=r"the data is one .*; pass a list of batch"):
        as_reiterable(data)


def test_mappings_are_accepted_as_batches():
    torch.manual_seed(0)
    a, b = Masked().eval(), Masked().eval()
    plain = [((X, torch.ones(8, 1)), Y)]
    assert evaluator([BATCH])(a) == evaluator(plain)(a)
    fresh = reset_statistics(a, a.state_dict(), [BATCH])
    expected = reset_statistics(a, a.state_dict(), plain)
    assert torch.equal(fresh["norm.running_var"], expected["norm.running_var"])
    symmetry = infer_symmetry(a, (), {"values": X, "mask": torch.ones(8, 1)})
    params = a.state_dict(), b.state_dict()
    found, same = (
        match_activations(symmetry, *params, model=a, data=data).permutation
        for data in ([BATCH], plain)
    )
    assert all(torch.equal(found.indices[name], same.indices[name]) for name in found.indices)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_inputs_have_the_dtype_of_the_model(dtype):
    model = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 2)).to(dtype)
    assert run_model(model, X).dtype == dtype
    assert evaluator(X, Y)(model).num_examples == 8
    symmetry = infer_symmetry(model, (X.to(dtype),))
    params = dict(model.state_dict())
    match_activations(symmetry, params, params, model=model, data=[X])
