"""The score of a batch: what counts as right."""

import torch

from onebasin_studies.training.engines.loss import loss_and_grad, score_of


def wrong(logits, labels):
    both = score_of(logits, labels).wrong, loss_and_grad(logits.clone(), labels)[0].wrong
    assert torch.equal(*both)
    return both[0].tolist()


def test_of_equal_classes_the_first_is_the_answer():
    labels = torch.arange(10).expand(2, 10)
    constant = torch.zeros(2, 10, 10)
    constant[1, 3] = constant[1, 5] = 1.0  # the second network ties two classes
    assert wrong(constant, labels) == [9, 9]
    assert wrong(constant[1:], torch.full((1, 10), 3)) == [0]
    assert wrong(constant[1:], torch.full((1, 10), 5)) == [10]


def test_it_is_what_the_largest_says():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(3, 7, 50, generator=generator)
    labels = torch.randint(7, (3, 50), generator=generator)
    assert wrong(logits, labels) == (logits.argmax(1) != labels).sum(1).tolist()


def test_outputs_that_are_no_numbers_are_wrong():
    logits = torch.zeros(1, 4, 6)
    logits[:, 0] = torch.nan
    assert wrong(logits, torch.zeros(1, 6, dtype=torch.long)) == [6]


def test_what_is_right_does_not_depend_on_a_network_that_has_diverged():
    logits, labels = torch.zeros(2, 2, 6), torch.ones(2, 6, dtype=torch.long)
    logits[0] = torch.nan
    assert wrong(logits, labels) == [6, 6]
    assert wrong(logits[1:], labels[1:]) == [6]
