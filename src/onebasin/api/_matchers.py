"""The matching method of a job, checked before any long work."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any

from torch import Tensor

from onebasin._checks import described
from onebasin.api._data import laid_out
from onebasin.checkpoints import Architecture
from onebasin.data.data import Data
from onebasin.errors import ArgumentError
from onebasin.matching import ManyMatching, Matching
from onebasin.matching._method_names import canonical_name
from onebasin.matching.registry import MATCHERS, MatcherInfo, check_options, find_method
from onebasin.symmetry import Permutation, Symmetry
from onebasin.symmetry.transformation import Transformation

AUTO = "auto"
WITH_DATA = "combined"
"""The default method for two networks with data: the best of benchmarks/matchers.py that needs no
labels."""

ROTATED = {"weights": "rotations", WITH_DATA: "rotations", "many": "rotations-many"}
"""The default methods, and what replaces them for symmetries with rotations."""

LARGEST_ROTATED = 2**29
"""Largest number of parameters for which rotations are the default, since they need memory."""


@dataclass(frozen=True)
class MethodOptions:
    """The matching method that the user chose.

    Args:
        name: name of the method; "auto" for the default.
        options: its options.
        init: name of the method that runs first, and whose permutation initializes the search.
        seed: random seed of the search.
    """

    name: str = AUTO
    options: Mapping[str, Any] = field(default_factory=dict)
    init: str | None = None
    seed: int = 0

    @property
    def given(self) -> str | None:
        """The first argument that the user gave, for messages; None without one."""
        if self.name != AUTO:
            return "method="
        if self.options:
            name = next(iter(self.options))
            return "restarts=" if name == "restarts" else f"the method option {name}"
        return None if self.init is None else "init="

    def prepare(
        self,
        num_networks: int = 2,
        *,
        data: Data | None = None,
        data_is_used: bool = False,
        default_with_data: str = WITH_DATA,
    ) -> Matcher:
        """Return the matcher with checked options.

        Args:
            num_networks: number of networks to match.

        Raises:
            OneBasinError: a name is unknown, or the method does not suit the number
                of networks or the data.
        """
        default = "weights" if data is None else default_with_data
        chosen = None if self.name == AUTO else self.name
        name = canonical_name(chosen or (default if num_networks == 2 else "many"))
        method = _find(name, num_networks)
        options = check_options(name, self.options)
        init = self._prepare_init(name, method, num_networks, data=data)
        if not (data_is_used or (init is not None and init.uses_data)):
            _check_data(name, method, options, data)
        used = None if method.uses_data == "no" else data
        is_default = chosen is None and init is None
        return Matcher(name, method, options, used, self.seed, init, is_default)

    def _prepare_init(
        self, name: str, method: MatcherInfo, num_networks: int, *, data: Data | None
    ) -> Matcher | None:
        """Check `init`, and return the matcher that it names, with its default options."""
        if self.init is None:
            return None
        if "init" not in method.parameters:
            known = ", ".join(known for known, m in MATCHERS.items() if "init" in m.parameters)
            raise ArgumentError(
                f"method {name} takes no initial permutation; remove init= or choose a "
                f"method= that takes one: {known}"
            )
        init = canonical_name(self.init)
        first = _find(init, num_networks)
        if data is None:
            _check_data(init, first, {}, data)
        return Matcher(init, first, {}, None if first.uses_data == "no" else data, self.seed)


def _check_data(
    name: str, method: MatcherInfo, options: Mapping[str, Any], data: Data | None
) -> None:
    uses = method.uses_data_with(options)
    objective = options.get("objective")
    named = f"method {name}" + (f" with objective={objective}" if objective else "")
    if uses and data is None:
        raise ArgumentError(f"{named} needs data; pass data=, such as data='digits'")
    if data is not None and method.uses_data == "no":
        known = ", ".join(known for known, m in MATCHERS.items() if m.uses_data != "no")
        raise ArgumentError(
            f"{named} uses no data; remove data= or choose a method= that uses it: {known}"
        )
    if data is not None and uses is False:
        raise ArgumentError(f"{named} uses no data; remove data= or choose another objective")


@dataclass(frozen=True)
class Matcher:
    """A matching method with its options and data, ready to run.

    Args:
        name: name of the method.
        method: its entry in the catalogue.
        options: checked options.
        data: data whose training split is used; None for methods without data.
        seed: random seed of the search.
        init: the matcher that runs first, or None.
        is_default: whether the user left the choice of the method open.
    """

    name: str
    method: MatcherInfo
    options: Mapping[str, Any] = field(default_factory=dict)
    data: Data | None = None
    seed: int = 0
    init: Matcher | None = None
    is_default: bool = False

    @property
    def runs_model(self) -> bool:
        """Whether the module is run, and so needs memory."""
        return any(each.data is not None or each.method.needs_model for each in self._all)

    @property
    def uses_data(self) -> bool:
        """Whether the method or its initialization uses data."""
        return any(each.data is not None for each in self._all)

    @property
    def _all(self) -> list[Matcher]:
        return [self] if self.init is None else [self.init, self]

    def suited(self, symmetry: Symmetry) -> Matcher:
        """Return the matcher, or for a symmetry with rotations the one that the default stands for.

        Args:
            symmetry: the symmetry of the networks.
        """
        rotated = ROTATED.get(self.name) if self.is_default else None
        mixes = any(action.mixes for action in symmetry.actions.values())
        num_entries = sum(prod(shape) for shape in symmetry.shapes.values())
        if rotated is None or not mixes or num_entries > LARGEST_ROTATED:
            return self
        method = find_method(rotated)
        if not self.options.keys() <= method.options.keys():
            return self
        return replace(self, name=rotated, method=method)

    def with_defaults(self, **options: Any) -> Matcher:
        """Return the matcher with further options, if the method has them and none is given."""
        known = {name: value for name, value in options.items() if name in self.method.options}
        init = None if self.init is None else self.init.with_defaults(**options)
        return replace(self, options={**known, **self.options}, init=init)

    def with_data(self, data: Data) -> Matcher:
        """Return the matcher with other data, if it uses any."""
        init = None if self.init is None else self.init.with_data(data)
        return replace(self, data=None if self.data is None else data, init=init)

    def fitted(self, architecture: Architecture) -> Matcher:
        """Return the matcher with data in a form that the architecture takes.

        Raises:
            OneBasinError: the architecture cannot be run on them, or the method uses a loss and
                the labels do not fit the outputs.
        """
        with_data = [each for each in self._all if each.data is not None]
        data = with_data[0].data if with_data else None
        if data is None:
            return self
        has_classes = any(each.method.uses_labels_with(each.options) for each in with_data)
        remedy = "other arch_args=" + (", or a method= without a loss" if has_classes else "")
        data = laid_out(architecture, data, has_classes=has_classes, remedy=remedy)
        return self.with_data(data)

    def run(
        self,
        symmetry: Symmetry,
        params_list: Sequence[Mapping[str, Tensor]],
        architecture: Architecture,
        progress: Callable[..., object] | None = None,
    ) -> Matching | ManyMatching:
        """Match networks to the first one."""
        data, options = self.data, dict(self.options)
        if self.init is not None:
            first = self.init.run(symmetry, params_list, architecture, progress)
            options["init"] = _initial(first, self.method)
        return self.method.match(
            symmetry,
            params_list,
            model=architecture.module,
            data=None if data is None else data.batches(),
            seed=self.seed,
            progress=progress,
            **options,
        )


def transformation_of(matching: Matching | ManyMatching) -> Transformation:
    """Return the transformation that aligns B to A, of a matching of two networks."""
    if isinstance(matching, Matching):
        return matching.transformation
    first, second = matching.transformations
    return first.inverse() @ second


def permutation_of(matching: Matching | ManyMatching) -> Permutation:
    """Return the permutation that aligns B to A, of a matching of two networks."""
    return matching.permutation if isinstance(matching, Matching) else matching.between(1, 0)


def _initial(
    matching: Matching | ManyMatching, method: MatcherInfo
) -> Permutation | Sequence[Permutation]:
    """Return the initial permutation of a method, from the result of another one."""
    if method.num_networks is not None:
        return permutation_of(matching)
    if isinstance(matching, ManyMatching):
        return matching.permutations
    return Permutation.identity(matching.permutation.symmetry), matching.permutation


def checked_name(method: Any) -> str:
    """Return the name of a method; None stands for the default.

    Raises:
        OneBasinError: the name is not a string.
    """
    if method is not None and not isinstance(method, str):
        raise ArgumentError(
            f"method is {described(method)}; pass the name of a method, such as 'weights'"
        )
    return method or AUTO


def joined_options(given: Any, keywords: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of a method that are given as a mapping and as keywords.

    Raises:
        OneBasinError: the first argument is not a mapping.
    """
    if given is not None and not isinstance(given, Mapping):
        raise ArgumentError(
            f"method_options is {described(given)}; pass a mapping, such as {{'restarts': 5}}"
        )
    return {**(given or {}), **keywords}


def _find(name: str, num_networks: int) -> MatcherInfo:
    """Return a method by name, if it takes this number of networks."""
    if num_networks > 2:
        _check_many(name, num_networks)
    return find_method(name)


def _check_many(name: str, num_networks: int) -> None:
    known = [known for known, method in MATCHERS.items() if method.num_networks is None]
    if name in known or name not in MATCHERS:
        return
    raise ArgumentError(
        f"{num_networks} networks given, but method {name} matches two; choose a method= "
        f"for more: {', '.join(known)}"
    )
