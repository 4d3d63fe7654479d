"""What a constant prediction achieves, and which evaluations are better."""

from math import log, nan

import pytest
import torch

from onebasin.errors import OneBasinError
from onebasin.evaluation.baselines import Baseline, ClassCounts, baseline_of
from onebasin.evaluation.evaluator import Evaluation
from onebasin.graph.batches import Batches


def test_counts_are_summed_over_batches_without_ignored_labels():
    counts = ClassCounts()
    for labels in ([0, 1, -100], [3], [1, 1]):
        counts.add(torch.tensor(labels))
    found = counts.result(10)
    assert (found.num_examples, found.num_classes) == (5, 10)
    assert found.error == pytest.approx(2 / 5)
    expected = -sum(p * log(p) for p in (1 / 5, 3 / 5, 1 / 5))
    assert found.loss == pytest.approx(expected)
    assert found.chance_error == pytest.approx(0.9)


def test_only_the_labels_of_batches_are_read():
    class Unread:
        def __len__(self):
            return 4

        def __getitem__(self, rows):
            raise AssertionError

    labels = torch.tensor([0, 0, 1, 1])
    assert baseline_of(Batches(Unread(), labels)).error == 0.5
    assert baseline_of([(None, labels)]).error == 0.5


def test_data_with_ignored_labels_only_are_rejected():
    with pytest.raises(OneBasinError, match="all labels are ignored or missing"):
        baseline_of([(torch.ones(2, 1), torch.tensor([-100, -100]))])


def test_pair_of_tensors_is_one_batch_and_empty_batches_do_not_count():
    inputs, labels = torch.ones(4, 2), torch.tensor([0, 0, 0, 1])
    assert baseline_of((inputs, labels)) == baseline_of([(inputs, labels), (inputs[:0], [])])


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (torch.ones(2), "the data is one tensor"),
        ([torch.ones(2, 1)], "batch 0 of the data .* has no labels"),
        ([(None, torch.tensor([0, -1]))], "labels are -1 to 0, but .* or -100"),
        ([(None, torch.tensor([0.0, 0.5]))], "labels are float32; pass integer classes"),
    ],
    ids=["tensor", "unlabeled", "negative", "float"],
)
def test_wrong_data_are_rejected(data, message):
    with pytest.raises(OneBasinError, match=f"^baseline_of: {message}"):
        baseline_of(data)


def test_large_labels_need_no_memory():
    found = baseline_of([(None, torch.tensor([0, 2**40]))])
    assert (found.error, found.num_classes) == (0.5, 2**40 + 1)


@pytest.mark.parametrize(
    ("error", "is_better"), [(0.05, True), (0.86, True), (0.89, False), (0.9, False), (1.0, False)]
)
def test_differences_within_two_standard_errors_are_chance(error, is_better):
    baseline = Baseline(loss=log(10), error=0.9, num_examples=1000, num_classes=10)
    assert baseline.has_lower_error(Evaluation(0.1, error, 1000)) == is_better


def test_losses_are_compared():
    baseline = Baseline(loss=log(10), error=0.9, num_examples=1000, num_classes=10)
    assert baseline.has_lower_loss(Evaluation(2.2))
    assert not baseline.has_lower_loss(Evaluation(7.0))
    assert not baseline.has_lower_loss(Evaluation(nan))
    assert not baseline.has_lower_error(Evaluation(nan, nan))


def test_single_class_data_accept_a_perfect_network():
    baseline = Baseline(loss=0.0, error=0.0, num_examples=10, num_classes=2)
    assert baseline.has_lower_error(Evaluation(0.1, 0.0))
    assert baseline.has_lower_loss(Evaluation(0.1, 0.0))
    assert not baseline.has_lower_error(Evaluation(0.1, 0.1))
