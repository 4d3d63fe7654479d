"""The score of a batch."""

import torch

from onebasin_studies.training.engines.engine import score_of


def wrong(logits, labels):
    return score_of(logits, labels).wrong.tolist()


def test_ties_resolve_to_the_first_class():
    labels = torch.arange(10).expand(2, 10)
    constant = torch.zeros(2, 10, 10)
    constant[1, 3] = constant[1, 5] = 1.0  # the second network ties two classes
    assert wrong(constant, labels) == [9, 9]
    assert wrong(constant[1:], torch.full((1, 10), 3)) == [0]
    assert wrong(constant[1:], torch.full((1, 10), 5)) == [10]


def test_largest_logit_is_the_prediction():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(3, 7, 50, generator=generator)
    labels = torch.randint(7, (3, 50), generator=generator)
    assert wrong(logits, labels) == (logits.argmax(1) != labels).sum(1).tolist()


def test_nan_outputs_are_errors():
    logits = torch.zeros(1, 4, 6)
    logits[:, 0] = torch.nan
    assert wrong(logits, torch.zeros(1, 6, dtype=torch.long)) == [6]


def test_diverged_network_does_not_affect_the_others():
    logits, labels = torch.zeros(2, 2, 6), torch.ones(2, 6, dtype=torch.long)
    logits[0] = torch.nan
    assert wrong(logits, labels) == [6, 6]
    assert wrong(logits[1:], labels[1:]) == [6]
