"""Invalid symmetries that hold on the example, and valid ones that are hard to verify."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from onebasin.symmetry._verification.verification import verify
from onebasin.symmetry.layouts import Fixed, Product, Sum, Units
from onebasin.symmetry.symmetry import Symmetry
from tests.symmetry.verification.cases import RIGHT, Body, verified

WRONG = {**RIGHT, "a.bias": (None,)}


def dead_on_small_inputs() -> nn.Module:
    model = Body()
    with torch.no_grad():
        model.a.weight.abs_()
        model.a.bias.copy_(-60 + 10 * torch.randn(8))
    return model


class Gated(Body):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("gate", torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        return x[:, :3] + self.gate * super().forward(x)


class Branch(Body):
    def forward(self, x: Tensor) -> Tensor:
        return torch.where(x.abs().amax(1, keepdim=True) > 10, super().forward(x), x[:, :3])


class Masked(Body):
    def __init__(self, value: float = -1e9) -> None:
        super().__init__()
        self.value = value

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([super().forward(x), x.new_full((len(x), 9), self.value)], 1)


class InTuple(Body):
    def __init__(self) -> None:
        super().__init__()
        self.kept = (self.a.weight, {"bias": self.a.bias}, self.b.weight, self.b.bias)

    def forward(self, x: Tensor) -> Tensor:
        hidden = torch.relu(functional.linear(x, self.kept[0], self.kept[1]["bias"]))
        return functional.linear(hidden, self.kept[2], self.kept[3])


class InClosure(Body):
    def __init__(self) -> None:
        super().__init__()
        a, b = self.a, self.b
        self.function = lambda x: b(torch.relu(a(x)))

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


HIDDEN: dict[str, Callable[[], nn.Module]] = {
    "units that are dead on small inputs": dead_on_small_inputs,
    "a gate that is zero": Gated,
    "a branch for large inputs": Branch,
    "masked outputs": Masked,
    "masks of another size": lambda: Masked(-1e30),
    "parameters in a tuple and a dict": InTuple,
    "modules in a closure": InClosure,
}


@pytest.mark.parametrize("case", HIDDEN)
def test_invalid_groups_that_hold_on_the_example_fail(case: str) -> None:
    model = HIDDEN[case]()
    gate = {"gate": (None,)} if isinstance(model, Gated) else {}
    wrong = verified(model, WRONG | gate)
    assert list(wrong.failed_groups) == ["h"]
    right = verified(model, RIGHT | gate)
    assert list(right.controls) == ["h"]


class Argmax(Body):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x)[:, :2].argmax(-1)


def test_integer_outputs_verify_nothing() -> None:
    assert verified(Argmax(), RIGHT).unverified == ("h",)


def test_groups_with_even_permutations_only_fail() -> None:
    class Alternating(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Linear(4, 5)

        def forward(self, x: Tensor) -> Tensor:
            hidden = self.a(x)
            i, j = torch.triu_indices(5, 5, 1)
            return torch.tanh(3 * (hidden[:, i] - hidden[:, j]).prod(1, keepdim=True))

    for seed in range(8):
        verification = verified(
            Alternating(), {"a.weight": ("h", None), "a.bias": ("h",)}, seed=seed
        )
        assert list(verification.failed_groups) == ["h"]


def test_pairs_of_units_with_joint_permutations_fail() -> None:
    class Pairs(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(4, 2), nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            return (self.a(x) * self.b(x)).sum(-1)

    spec = {"a.weight": ("p", None), "a.bias": ("p",), "b.weight": ("q", None), "b.bias": ("q",)}
    assert verified(Pairs(), spec).failed_groups


class Positions(nn.Module):
    """A position table; a short input reads only its first rows."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.out = nn.Parameter(torch.randn(12, 4)), nn.Linear(4, 2)

    def forward(self, x: Tensor, *, mask: Tensor) -> Tensor:
        return self.out(torch.tanh(x + self.table[: x.shape[1]])) * mask[..., None]


def unread_rows(model: nn.Module) -> Symmetry:
    spec = {"table": (Sum((Fixed(5), Units("rows", 7))), None), "out.bias": (None,)}
    return Symmetry.from_spec({**spec, "out.weight": (None, None)}, model)


def test_other_lengths_are_tested() -> None:
    model = Positions()
    inputs, mask = torch.randn(2, 5, 4), {"mask": torch.ones(2, 5)}
    verification = verify(unread_rows(model), model, inputs, mask)
    assert "on inputs 1x6x4, mask=1x6" in verification.failed_groups["rows"]


def test_other_inputs_are_tested() -> None:
    class Short(Positions):
        def forward(self, x: Tensor, *, mask: Tensor) -> Tensor:
            assert x.shape[1] in (5, 12)
            return super().forward(x, mask=mask)

    model = Short()
    example = torch.randn(2, 5, 4), {"mask": torch.ones(2, 5)}
    further = torch.randn(2, 12, 4), {"mask": torch.ones(2, 12)}
    assert verify(unread_rows(model), model, *example).unverified == ("rows",)
    verification = verify(unread_rows(model), model, *example, other_inputs=[further])
    assert list(verification.failed_groups) == ["rows"]


def test_the_result_states_the_inputs() -> None:
    verification = verified(Body(), RIGHT)
    assert verification.inputs == ("4x4", "1x4", "5x4")


def test_buffers_of_checkpoints_are_tested() -> None:
    class Selects(Body):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("order", torch.arange(8))

        def forward(self, x: Tensor) -> Tensor:
            hidden = torch.relu(self.a(x))
            return self.b(hidden[:, self.order])

    model = Selects()
    spec = {**RIGHT, "order": (None,)}
    state = {**model.state_dict(), "order": torch.arange(7, -1, -1)}
    assert list(verified(model, spec, states=[model.state_dict()]).controls) == ["h"]
    verification = verified(model, spec, states=[model.state_dict(), state])
    assert "with the buffers of checkpoint 2" in verification.failed_groups["h"]


class Dropout(Body):
    def forward(self, x: Tensor) -> Tensor:
        return self.b(functional.dropout(torch.relu(self.a(x)), 0.5, training=True))


class Noise(Body):
    def forward(self, x: Tensor) -> Tensor:
        hidden = self.a(x)
        return self.b(torch.relu(hidden) + 0.1 * torch.randn_like(hidden))


class Nothing(Body):
    """Two outputs, one of which is zero up to rounding."""

    def forward(self, x: Tensor) -> Tensor:
        hidden = torch.relu(self.a(x)) + 1e3
        return self.b(hidden), hidden.mean(1) - hidden.sum(1) / 8


class Refuses(Body):
    def forward(self, x: Tensor) -> Tensor:
        if x.dtype != torch.float32:
            raise TypeError("only float32")
        return super().forward(x)


@pytest.mark.parametrize("kind", [Dropout, Noise, Nothing, Refuses])
def test_valid_groups_of_inexact_models_are_verified(kind: type[nn.Module]) -> None:
    verification = verified(kind(), RIGHT)
    assert verification.failed_groups == {}
    assert list(verification.controls) == ["h"]
    assert verification.precision == ("float32" if kind is Refuses else "float64")
    assert list(verified(kind(), WRONG).failed_groups) == ["h"]


def test_chaotic_model_is_unverified() -> None:
    class Chaos(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.a, self.r, self.b = nn.Linear(4, 32), nn.Linear(32, 32), nn.Linear(32, 3)

        def forward(self, x: Tensor) -> Tensor:
            hidden = torch.tanh(self.a(x))
            for _ in range(100):
                hidden = torch.tanh(4 * self.r(hidden))
            return self.b(hidden)

    spec = {**RIGHT, "r.weight": ("h", "h"), "r.bias": ("h",)}
    verification = verified(Chaos(), spec)
    assert verification.failed_groups == {}
    assert verification.unverified == ("h",)


@pytest.mark.parametrize("seed", [0, 75, 170])
def test_heads_with_joint_permutations_of_two_units_fail(seed: int) -> None:
    """With some seeds the saturated units of large inputs cancel up to rounding."""
    torch.manual_seed(seed)

    class Heads(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.table = nn.Linear(4, 6), nn.Parameter(torch.randn(2))

        def forward(self, x: Tensor) -> Tensor:
            return (self.a(x).view(-1, 3, 2) * self.table).tanh().sum((1, 2))

    layout = Product((Units("h", 3), Units("d", 2)))
    spec = {"a.weight": (layout, None), "a.bias": (layout,), "table": (None,)}
    model = Heads()
    symmetry = Symmetry.from_spec(spec, model, nested_in={"d": ("h",)})
    assert list(verify(symmetry, model, torch.randn(3, 4)).failed_groups) == ["d"]


def test_conditions_are_verified() -> None:
    class Conditional(Body):
        def forward(self, x: Tensor) -> Tensor:
            hidden = torch.cond(x.sum() > 0, torch.relu, torch.tanh, (self.a(x),))
            return self.b(hidden)

    verification = verified(Conditional(), RIGHT)
    assert list(verification.controls) == ["h"]
    assert verification.max_error < 1e-12
    assert list(verified(Conditional(), WRONG).failed_groups) == ["h"]
