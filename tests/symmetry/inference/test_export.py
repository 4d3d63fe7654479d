"""What export says of a model that it cannot take: one line, and nothing on the side."""

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
        (Branching, r"cannot take Branching at .*test_export.py:\d+ in forward: GuardOnData"),
        (Picking, r"cannot take Picking at .*test_export.py:\d+ in forward: GuardOnData"),
        (
            Failing,
            r"Failing cannot be run on the example inputs at .*test_export.py:\d+ in forward: "
            r"RuntimeError: a data-dependent failure of two lines; give inputs that it takes",
        ),
        (Missing, r"Missing cannot be run on the example inputs at .* in forward: KeyError: 0; gi"),
    ],
)
def test_a_refused_model_is_one_line_and_prints_nothing(capfd, kind, message):
    with pytest.raises(OneBasinError, match=message) as caught:
        infer_symmetry(kind(3, 3), torch.ones(2, 3))
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


class Sampling(nn.Module):
    """Distributions check their parameters where data are, which has no graph."""

    def __init__(self):
        super().__init__()
        self.hidden, self.scale, self.head = nn.Linear(3, 8), nn.Linear(8, 6), nn.Linear(6, 2)

    def forward(self, x):
        code = torch.distributions.Normal(self.scale(torch.relu(self.hidden(x))), 1.0)
        return torch.distributions.Categorical(logits=self.head(code.mean)).entropy()


@pytest.mark.parametrize("checks", [True, False])
def test_distributions_are_exported_without_their_checks(checks):
    before = torch.distributions.Distribution._validate_args
    torch.distributions.Distribution.set_default_validate_args(checks)
    try:
        symmetry = infer_symmetry(Sampling(), torch.ones(2, 3))
        assert torch.distributions.Distribution._validate_args is checks
    finally:
        torch.distributions.Distribution.set_default_validate_args(before)
    assert sorted(group.size for group in symmetry.groups.values()) == [2, 6, 8]


def test_inputs_of_another_shape_are_blamed_on_the_inputs():
    message = r"^infer_symmetry: Linear cannot be run on the example inputs: RuntimeError: mat1"
    with pytest.raises(OneBasinError, match=message):
        infer_symmetry(nn.Linear(3, 3), torch.ones(2, 4))


def test_a_model_without_memory_is_not_run():
    with pytest.raises(OneBasinError, match=r"torch\.export cannot take Branching"):
        infer_symmetry(Branching(3, 3).to("meta"), torch.ones(2, 3, device="meta"))


def test_the_error_in_the_model_is_the_cause():
    with pytest.raises(OneBasinError) as caught:
        infer_symmetry(Failing(3, 3), torch.ones(2, 3))
    cause = caught.value.__cause__
    assert type(cause) is RuntimeError
    assert str(cause).startswith("a data-dependent failure")


@pytest.mark.parametrize("level", [logging.DEBUG, logging.WARNING, logging.ERROR])
@pytest.mark.parametrize("kind", [nn.Linear, Branching])
def test_levels_of_loggers_stay_what_they_were(kind, level):
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
