"""Registry of the matching methods.

A matcher is registered with one entry in `MATCHERS`, which declares its properties. Its options
are read from the signature of its function.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from inspect import Parameter, signature
from types import MappingProxyType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from torch import Tensor, nn

from onebasin.errors import ArgumentError
from onebasin.matching._method_names import canonical_name, unknown_name
from onebasin.matching.activations import match_activations
from onebasin.matching.annealing import match_annealing, match_many_annealing
from onebasin.matching.combined import match_combined
from onebasin.matching.commutativity import match_commutativity
from onebasin.matching.cycle_consistent import match_cycle_consistent
from onebasin.matching.exhaustive import match_exhaustive
from onebasin.matching.frank_wolfe import match_frank_wolfe
from onebasin.matching.functional_difference import match_functional_difference
from onebasin.matching.learned import match_learned
from onebasin.matching.merge_many import match_many
from onebasin.matching.result import ManyMatching, Matching
from onebasin.matching.rotations import match_rotations
from onebasin.matching.rotations_many import match_many_rotations
from onebasin.matching.sinkhorn import match_sinkhorn
from onebasin.matching.straight_through import match_straight_through
from onebasin.matching.weights import match_weights
from onebasin.symmetry.symmetry import Symmetry

COMMON = frozenset({"seed", "model", "data", "progress", "init"})
"""Keyword arguments that are not options of a method."""

PLAIN_TYPES = (bool, int, float, str, types.NoneType)


@dataclass(frozen=True)
class MatcherInfo:
    """A matching method and its properties.

    The function takes a symmetry and either two networks (`params_a`, `params_b`) or a sequence
    of networks. All other arguments are keywords: `model`, `data`, `seed`, `progress`, `init`
    and the options.

    Args:
        function: the matching function.
        description: the objective in a few words.
        uses_data: whether the method needs data. "optional": data are used for some objectives.
        uses_labels: whether the method computes a loss, if it uses data.
        num_networks: number of networks, or None for any number.
        can_converge: whether the search can stop before its last step.
        step_name: unit of `num_sweeps` of the result.
    """

    function: Callable[..., Any]
    description: str
    uses_data: Literal["no", "optional", "required"] = "no"
    uses_labels: bool = False
    num_networks: int | None = 2
    can_converge: bool = True
    step_name: Literal["sweep", "step", "epoch"] = "sweep"

    @cached_property
    def parameters(self) -> Mapping[str, Parameter]:
        """The parameters of the function by name."""
        return MappingProxyType(dict(signature(self.function).parameters))

    @property
    def needs_model(self) -> bool:
        """Whether the function requires `model`."""
        parameter = self.parameters.get("model")
        return parameter is not None and parameter.default is Parameter.empty

    def uses_data_with(self, options: Mapping[str, Any]) -> bool | None:
        """Return whether the method uses data with these options; None if data are optional.

        Args:
            options: checked options. `objective` decides for a method with optional data.
        """
        if self.uses_data != "optional":
            return self.uses_data == "required"
        if "objective" not in self.parameters:
            return None
        objective = options.get("objective", self.parameters["objective"].default)
        return None if objective is None else objective != "weights"

    def uses_labels_with(self, options: Mapping[str, Any]) -> bool:
        """Return whether the method computes a loss with these options, if it has data.

        Args:
            options: checked options.
        """
        without = options.get("targets") == "outputs" or self.uses_data_with(options) is False
        return self.uses_labels and not without

    @cached_property
    def options(self) -> Mapping[str, Any]:
        """Type hints of the options: keyword arguments that are numbers, text or booleans."""
        hints = get_type_hints(self.function)
        return MappingProxyType(
            {
                name: hints[name]
                for name, parameter in self.parameters.items()
                if parameter.kind is Parameter.KEYWORD_ONLY
                and name not in COMMON
                and _is_plain(hints.get(name, Any))
            }
        )

    @property
    def defaults(self) -> list[str]:
        """The options with their defaults, such as `max_sweeps=100`.

        With `none` the matcher chooses the value.
        """
        return [f"{name}={_format(self.parameters[name].default)}" for name in self.options]

    def match(
        self,
        symmetry: Symmetry,
        params_list: Sequence[Mapping[str, Tensor]],
        *,
        model: nn.Module | None = None,
        data: Iterable[Any] | None = None,
        seed: int = 0,
        progress: Callable[..., object] | None = None,
        **options: Any,
    ) -> Matching | ManyMatching:
        """Run the matcher with the arguments that its function takes.

        Args:
            symmetry: symmetry of the architecture.
            params_list: the networks, the reference first.
            model: the architecture, if the function takes one.
            data: batches, if the function takes them.
            seed: random seed, if the function takes one.
            progress: callback for each step, if the function takes one.
            **options: options that `check_options` returned.

        Returns:
            The result of the function: one permutation, or one for each network.
        """
        common = {"model": model, "data": data, "seed": seed, "progress": progress}
        taken = {name: value for name, value in common.items() if name in self.parameters}
        params = [params_list] if self.num_networks is None else params_list
        return self.function(symmetry, *params, **taken, **options)


MATCHERS: Mapping[str, MatcherInfo] = MappingProxyType(
    {
        "weights": MatcherInfo(match_weights, "most similar weights"),
        "activations": MatcherInfo(
            match_activations, "most similar features", uses_data="required"
        ),
        "combined": MatcherInfo(
            match_combined, "most similar weights and features", uses_data="required"
        ),
        "functional-difference": MatcherInfo(
            match_functional_difference,
            "units with the most similar functions of their inputs",
            uses_data="required",
        ),
        "commutativity": MatcherInfo(
            match_commutativity, "smallest commutator of the layers", uses_data="required"
        ),
        "straight-through": MatcherInfo(
            match_straight_through,
            "lowest loss at the midpoint",
            uses_data="required",
            uses_labels=True,
            step_name="epoch",
        ),
        "sinkhorn": MatcherInfo(
            match_sinkhorn,
            "soft permutations, optimized for weights or a loss",
            uses_data="optional",
            uses_labels=True,
            step_name="step",
        ),
        "frank-wolfe": MatcherInfo(
            match_frank_wolfe, "most similar weights, all groups at once", step_name="step"
        ),
        "annealing": MatcherInfo(
            match_annealing,
            "lowest loss at the midpoint, by random swaps",
            uses_data="required",
            uses_labels=True,
            can_converge=False,
            step_name="step",
        ),
        "annealing-many": MatcherInfo(
            match_many_annealing,
            "lowest loss of the mean, by random swaps",
            uses_data="required",
            uses_labels=True,
            num_networks=None,
            can_converge=False,
            step_name="step",
        ),
        "exhaustive": MatcherInfo(
            match_exhaustive,
            "global optimum, for tiny groups",
            uses_data="optional",
            uses_labels=True,
        ),
        "many": MatcherInfo(
            match_many,
            "MergeMany: each network matched to the mean of the others",
            num_networks=None,
        ),
        "cycle-consistent": MatcherInfo(
            match_cycle_consistent,
            "C2M3: cycle-consistent matching via a shared reference frame",
            num_networks=None,
            step_name="step",
        ),
        "rotations": MatcherInfo(
            match_rotations,
            "most similar weights, with rotations and scales of units",
            uses_data="optional",
        ),
        "rotations-many": MatcherInfo(
            match_many_rotations,
            "rotations of each network to the mean of the others",
            num_networks=None,
        ),
        "learned": MatcherInfo(
            match_learned,
            "lowest loss between the networks, by training rotations and scales",
            uses_data="required",
            uses_labels=True,
            can_converge=False,
            step_name="epoch",
        ),
    }
)
"""The matchers by name, the values of `method=`."""


def find_method(name: str) -> MatcherInfo:
    """Return a matcher by name.

    Args:
        name: a key of `MATCHERS`, or an alias such as "git-rebasin".

    Raises:
        OneBasinError: the name is unknown; the message suggests similar names.

    Example:
        >>> find_method("weights").uses_data
        'no'
    """
    method = MATCHERS.get(canonical_name(name))
    if method is None:
        raise ArgumentError(f"{unknown_name(name, MATCHERS)}")
    return method


def check_options(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Check the options of a matcher against its signature.

    Args:
        name: name of the matcher.
        options: values by name.

    Returns:
        The options, with integers converted to float for float options.

    Raises:
        OneBasinError: the matcher has no option of that name, or the value is invalid.

    Example:
        >>> check_options("weights", {"max_sweeps": 3})
        {'max_sweeps': 3}
    """
    method = find_method(name)
    checked = {}
    for option, value in options.items():
        if option not in method.options:
            listed = ", ".join(method.defaults) or "none"
            raise ArgumentError(
                f"method {name} has no option {option!r}; options and defaults: {listed}"
            )
        hint = method.options[option]
        if type(value) is int and int not in _alternatives(hint):
            value = float(value) if float in _alternatives(hint) else value
        if not _fits(value, hint):
            raise ArgumentError(
                f"invalid value {value!r} for option {option} of method {name}; "
                f"expected {' or '.join(_describe(hint))}"
            )
        checked[option] = value
    return checked


def _alternatives(hint: Any) -> tuple[Any, ...]:
    """Return the types of a union, or the single type."""
    is_union = get_origin(hint) in (Union, types.UnionType)
    return get_args(hint) if is_union else (hint,)


def _is_plain(hint: Any) -> bool:
    return all(t in PLAIN_TYPES or get_origin(t) is Literal for t in _alternatives(hint))


def _fits(value: Any, hint: Any) -> bool:
    return any(
        value in get_args(t) if get_origin(t) is Literal else type(value) is t
        for t in _alternatives(hint)
    )


def _format(value: Any) -> str:
    """Return the spelling of an option value on the command line."""
    return str(value).lower() if value is None or isinstance(value, bool) else str(value)


def _describe(hint: Any) -> list[str]:
    """Return the allowed values of a type as the command line spells them."""
    names = {bool: "true or false", int: "an integer", float: "a number", str: "text"}
    words: list[str] = []
    for t in _alternatives(hint):
        if get_origin(t) is Literal:
            words += map(str, get_args(t))
        else:
            words.append(names.get(t, "none"))
    return words
