"""Wrong, ineffective and small classes are detected on the module."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from onebasin import Symmetry, infer_symmetry
from onebasin.symmetry import verify
from onebasin.symmetry.actions import SymmetryClass
from tests.symmetry.classes.modules import Attention, convolutions, stream

X = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
IMAGES = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def mlp(act: nn.Module) -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 6), act, nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3))


def with_action(symmetry: Symmetry, name: str, kind: SymmetryClass, **fields: Any) -> Symmetry:
    """Return a symmetry with another action of one group."""
    action = replace(symmetry.actions[name], symmetry_class=kind, **fields)
    group = replace(symmetry.groups[name], symmetry_class=kind)
    return replace(
        symmetry,
        groups={**symmetry.groups, name: group},
        actions={**symmetry.actions, name: action},
    )


@pytest.mark.parametrize(
    ("build", "inputs"),
    [
        (lambda: mlp(nn.Tanh()), X),
        (lambda: stream(lambda: nn.LayerNorm(6)), X),
        (lambda: Attention(heads=4), torch.randn(2, 5, 4)),
        (
            lambda: convolutions(
                nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 4, 3)
            ),
            IMAGES,
        ),
    ],
    ids=["mlp", "stream", "attention", "batch norm"],
)
def test_inferred_classes_pass(build: Callable[[], nn.Module], inputs: Tensor) -> None:
    model = build()
    symmetry = infer_symmetry(model, inputs)
    found = verify(symmetry, model, inputs)
    assert found.failed_classes == {}
    assert found.unverified_classes == ()
    assert found.possibly_larger_classes == {}
    assert found.symmetry.actions == symmetry.actions
    assert found.max_error <= found.tolerance


def test_wrong_class_fails_and_the_group_is_still_permuted() -> None:
    model = mlp(nn.GELU())
    symmetry = infer_symmetry(model, X)
    variances = symmetry.actions["0"].variances
    wrong = with_action(symmetry, "0", "positive scales", scales=(variances,))
    found = verify(wrong, model, X)
    assert list(found.failed_classes) == ["0"]
    assert "maps of class 'positive scales' change the output" in found.failed_classes["0"]
    assert found.failed_groups == {}
    assert found.symmetry.groups["0"].symmetry_class == "permutation"
    assert found.symmetry.groups["2"].symmetry_class == "positive scales"
    assert list(found.symmetry.actions) == ["2"]
    assert "failed class: 0" in repr(found)


def test_wrong_variance_fails() -> None:
    model = nn.Sequential(nn.Linear(4, 6), nn.Linear(6, 3))
    symmetry = infer_symmetry(model, X)
    action = symmetry.actions["0"]
    wrong = with_action(
        symmetry, "0", "general linear", variances=dict.fromkeys(action.variances, 1)
    )
    assert list(verify(wrong, model, X).failed_classes) == ["0"]


def test_class_without_effect_is_unverified() -> None:
    model = mlp(nn.GELU())
    idle = with_action(infer_symmetry(model, X), "0", "positive scales", scales=({},))
    found = verify(idle, model, X)
    assert found.failed_classes == {}
    assert found.unverified_classes == ("0",)


@pytest.mark.parametrize(
    ("act", "kind", "larger"),
    [
        (nn.ReLU(), "permutation", "positive scales"),
        (nn.Tanh(), "permutation", "signed permutation"),
        (nn.Identity(), "monomial", "orthogonal with ones"),
        (nn.Identity(), "orthogonal with ones", "orthogonal"),
        (nn.Identity(), "orthogonal", "general linear"),
    ],
)
def test_small_class_is_reported(act: nn.Module, kind: SymmetryClass, larger: str) -> None:
    model = mlp(act)
    symmetry = infer_symmetry(model, X)
    variances = symmetry.actions["0"].variances
    scaled = kind == "monomial"
    small = with_action(
        symmetry,
        "0",
        kind,
        scales=(variances,) if scaled else (),
        signs=(dict.fromkeys(variances, 1),) if scaled else (),
    )
    assert verify(small, model, X).possibly_larger_classes == {"0": larger}
