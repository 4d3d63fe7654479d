"""Balanced networks: one representative of all networks that differ by scales and shears.

Gains that can be folded become one. Each general linear map is chosen such that the tensors before
and after it have equal Gram matrices, and each scale such that the norm of the network is
smallest. Balanced networks of the same function differ by permutations, signs and orthogonal maps
only, which can be matched like permutations.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from functools import cached_property

import torch
from jaxtyping import Float64
from torch import Tensor

from onebasin.symmetry._transforming import TensorTransformer
from onebasin.symmetry.actions import Axis, GroupAction
from onebasin.symmetry.permutation import Permutation
from onebasin.symmetry.symmetry import Symmetry
from onebasin.symmetry.transformation import Transformation, gains_are_safe, units_of

SMALLEST = 1e-10
"""Smallest eigenvalue of a Gram matrix that counts, as a fraction of the largest."""

MAX_NEWTON_STEPS = 100
"""Maximum number of steps of Newton's method."""

LARGEST_STEP = 1.0
"""Largest change of the logarithm of a scale in one step."""

TOLERANCE = 1e-7
"""Change of the logarithm of a scale below which the network is balanced."""

MAX_VISITS = 100
"""Maximum number of visits of each group."""


def mixing_groups(symmetry: Symmetry, params_list: Iterable[Mapping[str, Tensor]]) -> list[str]:
    """Return the groups whose units can be mixed in all networks: no gain is almost zero."""
    found = [name for name, action in symmetry.actions.items() if action.mixes]
    for params in params_list:
        found = [name for name in found if _is_foldable(symmetry, symmetry.actions[name], params)]
    return found


def _is_foldable(symmetry: Symmetry, action: GroupAction, params: Mapping[str, Tensor]) -> bool:
    return all(
        gains_are_safe(units_of(symmetry, gain.axis, params[gain.axis.tensor]) + gain.offset)
        for gain in action.gains
    )


def balanced(
    symmetry: Symmetry, params: Mapping[str, Tensor], mixing: Iterable[str]
) -> Transformation:
    """Return the transformation that balances a network.

    Args:
        symmetry: the symmetry.
        params: the network.
        mixing: the groups whose units can be mixed.
    """
    balance = _Balance(symmetry, params, list(mixing))
    balance.run()
    return balance.element


class _Balance:
    """One network, and the maps and scales found so far."""

    def __init__(self, symmetry: Symmetry, params: Mapping[str, Tensor], mixing: list[str]) -> None:
        self.symmetry, self.params, self.mixing = symmetry, params, set(mixing)
        self.maps: dict[str, Tensor] = {}
        self.scales: dict[str, Tensor] = {}
        self.gained: set[str] = set()
        for name in mixing:
            self._fold(name, symmetry.actions[name])
        self.free = [name for name in symmetry.actions if self._is_free(name)]

    def _fold(self, name: str, action: GroupAction) -> None:
        """Let the gains of a group be one."""
        gains = [
            units_of(self.symmetry, gain.axis, self.params[gain.axis.tensor])[..., 0].double()
            + gain.offset
            for gain in action.gains
        ]
        if gains:
            self.scales[name] = 1 / torch.stack(gains)
            self.gained.add(name)
        if action.symmetry_class == "general linear":
            shape = (*self.symmetry.outer_shape(name), self.symmetry.size_of(name))
            identity = torch.eye(shape[-1], dtype=torch.float64)
            self.maps[name] = identity.expand(*shape, shape[-1]).contiguous()

    def _is_free(self, name: str) -> bool:
        action = self.symmetry.actions[name]
        return name in self.maps or (name not in self.mixing and bool(action.scales))

    @property
    def element(self) -> Transformation:
        """The transformation found so far."""
        identity = Permutation.identity(self.symmetry)
        return Transformation(self.symmetry, identity, self.maps, self.scales)

    def run(self) -> None:
        """Balance one group after the other until none changes."""
        pending = dict.fromkeys(self.free)
        for _ in range(MAX_VISITS * len(self.free)):
            if not pending:
                return
            name = next(iter(pending))
            del pending[name]
            if name in self.maps:
                change = self._balance_map(name)
            else:
                change = self._balance_scales(name)
            if change > TOLERANCE:
                pending.update(dict.fromkeys(self._neighbors[name]))
                if self._occurs_twice(name):
                    pending[name] = None

    def _occurs_twice(self, name: str) -> bool:
        blocks = (block for _, block in self.symmetry.carried_blocks[name])
        return any(block.groups.count(name) > 1 for block in blocks)

    @cached_property
    def _neighbors(self) -> dict[str, list[str]]:
        """For each group the others that share a tensor with it."""
        tensors = {name: set(self.symmetry.tensors_of[name]) for name in self.free}
        return {
            name: [other for other in self.free if other != name and tensors[other] & own]
            for name, own in tensors.items()
        }

    def _balance_map(self, name: str) -> float:
        """Let the Gram matrices of both sides be equal; return the change of the map."""
        grams: dict[int, Tensor] = {}
        for axis, variance in self.symmetry.actions[name].variances.items():
            rows = self._values(axis)
            gram = rows @ rows.mT
            grams[variance] = grams[variance] + gram if variance in grams else gram
        if len(grams) < 2:
            return 0.0
        step = _balancing_map(grams[1], grams[-1])
        self.maps[name] = step @ self.maps[name]
        identity = torch.eye(step.shape[-1], dtype=step.dtype)
        return float((step - identity).abs().max())

    def _balance_scales(self, name: str) -> float:
        """Let the norm be smallest in all scales of a group; return the change of logarithms."""
        action = self.symmetry.actions[name]
        axes = list(dict.fromkeys(axis for each in action.scales for axis in each))
        norms = torch.stack([self._square_norms(axis, action) for axis in axes], -1)
        powers = [[each.get(axis, 0) for each in action.scales] for axis in axes]
        logarithms = _balancing_logarithms(norms, torch.tensor(powers, dtype=torch.float64))
        if self._occurs_twice(name):  # units of one tensor scale each other
            logarithms = logarithms / 2
        before = self.scales.get(name, torch.ones_like(logarithms))
        self.scales[name] = before * logarithms.exp()
        return float(logarithms.abs().max())

    def _square_norms(self, axis: Axis, action: GroupAction) -> Float64[Tensor, "*outer n"]:
        offset = (action.offsets or {}).get(axis, 0.0)
        return (self._values(axis) + offset).square().sum(-1)

    def _values(self, axis: Axis) -> Float64[Tensor, "*outer n values"]:
        """Return the values of units of the network balanced so far."""
        actions = {name: self.symmetry.actions[name] for name in self._acting[axis.tensor]}
        gains = {name: 1 / self.scales[name] for name in actions if name in self.gained}
        transformer = TensorTransformer(self.symmetry, self.maps, self.scales, {}, gains, actions)
        tensor = self.params[axis.tensor].detach().cpu()
        return units_of(self.symmetry, axis, transformer.apply(axis.tensor, tensor)).double()

    @cached_property
    def _acting(self) -> dict[str, list[str]]:
        """The groups that act on each tensor."""
        found: dict[str, list[str]] = defaultdict(list)
        for name in self.symmetry.actions:
            for tensor in self.symmetry.tensors_of[name]:
                found[tensor].append(name)
        return found


def _balancing_map(first: Tensor, second: Tensor) -> Float64[Tensor, "*outer n n"]:
    """Return the symmetric map `T` with `T first T = T⁻¹ second T⁻¹`.

    Its square is the geometric mean of `first⁻¹` and `second`.
    """
    root = _power(first, 0.5)
    inverse = _power(first, -0.5)
    return _power(inverse @ _power(root @ second @ root, 0.5) @ inverse, 0.5)


def _power(matrix: Tensor, exponent: float) -> Tensor:
    values, vectors = torch.linalg.eigh((matrix + matrix.mT) / 2)
    least = SMALLEST * values.amax(-1, keepdim=True).clamp(min=1e-300)
    return (vectors * values.clamp(min=least).pow(exponent).unsqueeze(-2)) @ vectors.mT


def _balancing_logarithms(
    norms: Float64[Tensor, "*outer n axes"], powers: Float64[Tensor, "axes scales"]
) -> Float64[Tensor, "scales *outer n"]:
    """Return the logarithms `t` that minimize the sum of `norms · exp(2 powers · t)`.

    A scale of a unit without weights on one side stays one. Newton's method.
    """
    rates = 2 * powers
    sides = [(norms @ (rates * sign).clamp(min=0)).gt(0) for sign in (1, -1)]
    is_free = (sides[0] & sides[1]).double()
    total = torch.zeros_like(is_free)
    fixed = torch.diag_embed(1 - is_free)
    for _ in range(MAX_NEWTON_STEPS):
        terms = norms * (total @ rates.T).exp()
        slope = (terms @ rates) * is_free
        curvature = torch.einsum("...a,as,at->...st", terms, rates, rates)
        curvature = curvature * is_free.unsqueeze(-1) * is_free.unsqueeze(-2) + fixed
        ridge = SMALLEST * curvature.diagonal(dim1=-2, dim2=-1).mean(-1)[..., None, None]
        curvature = curvature + ridge * torch.eye(rates.shape[-1], dtype=rates.dtype)
        step = torch.linalg.solve(curvature, slope.unsqueeze(-1)).squeeze(-1)
        total = total - step.clamp(-LARGEST_STEP, LARGEST_STEP)
        if float(step.abs().max()) < TOLERANCE / 100:
            break
    return total.movedim(-1, 0)
