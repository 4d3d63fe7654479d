"""Export of unsupported models: one-line errors, and no other output."""

import logging

import pytest
import torch
from torch import nn

from onebasin import OneBasinError, infer_symmetry


class Branching(nn.Linear):
    def forward(self, x):
        return super().forward(x if x.sum() > 0 else -x)


class Picking(nn.Linear):
    def forward(self, x):
        return super().forward(x)[: int(x.abs().max())]


class Failing(nn.Linear):
    def forward(self, x):
        raise RuntimeError("a data-dependent failure\nof two lines")


class Missing(nn.Linear):
    def forward(self, x):
        return super().forward({}[0])


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (Branching, r"support Branching at .*test_export.py:\d+ in forward \(got GuardOnData"),
        (Picking, r"support Picking at .*test_export.py:\d+ in forward \(got GuardOnData"),
        (
            Failing,
            r"Failing failed on the example inputs at .*test_export.py:\d+ in forward \(got "
            r"RuntimeError: a data-dependent failure of two lines\); pass inputs that it accepts",
        ),
        (
            Missing,
            r"Missing failed on the example inputs at .* in forward \(got KeyError: 0\); pass",
        ),
    ],
)
def test_unsupported_model_raises_one_line_and_prints_nothing(capfd, kind, message):
    with pytest.raises(OneBasinError, match=message) as caught:
        infer_symmetry(kind(3, 3), torch.ones(2, 3))
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


class Sampling(nn.Module):
    """Distributions validate their parameters, which cannot be exported."""

    def __init__(self):
        super().__init__()
        self.hidden, self.scale, self.head = nn.Linear(3, 8), nn.Linear(8, 6), nn.Linear(6, 2)

    def forward(self, x):
        code = torch.distributions.Normal(self.scale(torch.relu(self.hidden(x))), 1.0)
        return torch.distributions.Categorical(logits=self.head(code.mean)).entropy()


@pytest.mark.parametrize("checks", [True, False])
def test_distributions_are_exported_without_validation(checks):
    before = torch.distributions.Distribution._validate_args
    torch.distributions.Distribution.set_default_validate_args(checks)
    try:
        symmetry = infer_symmetry(Sampling(), torch.ones(2, 3))
        assert torch.distributions.Distribution._validate_args is checks
    finally:
        torch.distributions.Distribution.set_default_validate_args(before)
    assert sorted(group.size for group in symmetry.groups.values()) == [2, 6, 8]


def test_error_for_inputs_of_another_shape_names_the_inputs():
    message = r"^infer_symmetry: Linear failed on the example inputs \(got RuntimeError: mat1"
    with pytest.raises(OneBasinError, match=message):
        infer_symmetry(nn.Linear(3, 3), torch.ones(2, 4))


def test_meta_model_is_not_run():
    with pytest.raises(OneBasinError, match=r"torch\.export does not support Branching"):
        infer_symmetry(Branching(3, 3).to("meta"), torch.ones(2, 3, device="meta"))


def test_exception_of_the_model_is_the_cause():
    with pytest.raises(OneBasinError) as caught:
        infer_symmetry(Failing(3, 3), torch.ones(2, 3))
    cause = caught.value.__cause__
    assert type(cause) is RuntimeError
    assert str(cause).startswith("a data-dependent failure")


@pytest.mark.parametrize("level", [logging.DEBUG, logging.WARNING, logging.ERROR])
@pytest.mark.parametrize("kind", [nn.Linear, Branching])
def test_logger_levels_are_restored(kind, level):
    logger = logging.getLogger("torch")
    before = logger.level
    logger.setLevel(level)
    try:
        try:
            infer_symmetry(kind(3, 3), torch.ones(2, 3))
        except OneBasinError:
            pass
        assert logger.level == level
    finally:
        logger.setLevel(before)
