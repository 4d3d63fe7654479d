"""Verification on further inputs: rejected inputs, failures and reports."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from onebasin import OneBasinError
from onebasin.symmetry import Symmetry
from onebasin.symmetry._verification import verification as verification_module
from onebasin.symmetry._verification.verification import verify
from tests.symmetry.verification.cases import RIGHT, Body, verified


class ClosureForLargeInputs(Body):
    """Calls a closure over one of its layers for large inputs only."""

    def __init__(self, *, is_symmetric: bool) -> None:
        super().__init__()
        a = self.a
        self.large = lambda x: torch.relu(a(x))
        self.is_symmetric = is_symmetric

    def forward(self, x: Tensor) -> Tensor:
        if x.max() <= 10:
            return super().forward(x)
        hidden = self.large(x)
        return self.b(hidden) if self.is_symmetric else hidden[:, :2]


@pytest.mark.parametrize("is_symmetric", [True, False])
def test_closures_of_other_branches_use_the_permuted_tensors(is_symmetric: bool) -> None:
    verification = verified(ClosureForLargeInputs(is_symmetric=is_symmetric))
    assert list(verification.symmetry.groups) == ["h"] * is_symmetric


class RaisesForAnotherOrder(Body):
    """Raises on some inputs unless the first bias is the largest."""

    def __init__(self, *, batch_size: int) -> None:
        super().__init__()
        self.batch_size = batch_size
        with torch.no_grad():
            self.a.bias[0] = 5.0

    def forward(self, x: Tensor) -> Tensor:
        if len(x) == self.batch_size and self.a.bias.argmax() != 0:
            raise ValueError("wrong order")
        return super().forward(x)


@pytest.mark.parametrize("batch_size", [4, 1])
def test_exception_of_the_permuted_model_fails_the_group(batch_size: int) -> None:
    assert list(verified(RaisesForAnotherOrder(batch_size=batch_size)).failed_groups) == ["h"]


class OutOfMemory(Body):
    def forward(self, x: Tensor) -> Tensor:
        if len(x) == 1:
            raise torch.OutOfMemoryError
        return super().forward(x)


def test_out_of_memory_on_other_shapes_is_an_error() -> None:
    with pytest.raises(OneBasinError, match="not enough memory"):
        verified(OutOfMemory())


class NotANumber(Body):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * (torch.nan if len(x) == 7 else 1.0)


def test_other_inputs_that_give_nan_raise() -> None:
    with pytest.raises(OneBasinError, match="NaN or nothing on inputs 7x4; pass other inputs"):
        verified(NotANumber(), other_inputs=[((torch.randn(7, 4),), {})])


class Unsymmetric(Body):
    def forward(self, x: Tensor) -> Tensor:
        hidden = torch.relu(self.a(x))
        return hidden if len(x) == 1 else self.b(hidden)


def test_inputs_after_the_last_group_failed_are_not_reported() -> None:
    assert verified(Unsymmetric()).inputs == ("4x4", "1x4")


WRONG_PAIRS = [[torch.randn(2, 4)], [(torch.randn(2, 4),)], [(torch.randn(2, 4), 3)]]


@pytest.mark.parametrize("other_inputs", WRONG_PAIRS)
def test_other_inputs_must_be_pairs(other_inputs: Any) -> None:
    with pytest.raises(OneBasinError, match=r"verify: other_inputs.*pairs"):
        verified(Body(), other_inputs=other_inputs)


def test_checkpoints_with_other_buffers_share_the_parameters(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Ordered(Body):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("order", torch.arange(4))

        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x.index_select(1, self.get_buffer("order")))

    trials: list[Any] = []
    run_controls = verification_module.control_groups

    def keep_trials(seen: Any, *args: Any, **options: Any) -> Any:
        trials.extend(seen)
        return run_controls(seen, *args, **options)

    monkeypatch.setattr(verification_module, "control_groups", keep_trials)
    model = Ordered()
    symmetry = Symmetry.from_spec({**RIGHT, "order": (None,)}, model)
    states = [{"order": torch.arange(4).roll(shift)} for shift in (1, 2, 3)]
    verify(symmetry, model, torch.randn(4, 4), states=states)
    weights = {
        trial.probe.randomized_param("a.weight").data_ptr()
        for trial in trials
        if trial.place != "at random parameters"
    }
    assert len(trials) > 4
    assert len(weights) == 1


class Centered(Body):
    """Subtracts the mean of the batch, which is zero for a batch of one."""

    def forward(self, x: Tensor) -> Tensor:
        hidden = torch.relu(self.a(x[..., :4]))
        return self.b(hidden - hidden.mean(0))


class AnyWidth(Body):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x[..., :4])


@pytest.mark.parametrize(("kind", "batch_size"), [(AnyWidth, 1), (Centered, 3)])
def test_one_entry_of_the_batch_is_used_if_entries_are_independent(
    kind: type[nn.Module], batch_size: int
) -> None:
    model = kind()
    verification = verify(Symmetry.from_spec(RIGHT, model), model, torch.randn(3, 6))
    assert list(verification.controls) == ["h"]
    assert verification.inputs == ("3x6", "1x6", "4x6", f"{batch_size}x5", f"{batch_size}x7")
