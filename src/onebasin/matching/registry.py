"""Catalogue: the matchers that can be asked for by name.

A matcher joins with one line in `MATCHERS`; what it needs, and which options it takes, is
read from its signature.
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

from onebasin.errors import OneBasinError
from onebasin.matching._method_names import canonical_name, unknown_name
from onebasin.matching.activations import match_activations
from onebasin.matching.annealing import match_annealing, match_many_annealing
from onebasin.matching.combined import match_combined
from onebasin.matching.commutativity import match_commutativity
from onebasin.matching.cycle_consistent import match_cycle_consistent
from onebasin.matching.exhaustive import match_exhaustive
from onebasin.matching.frank_wolfe import match_frank_wolfe
from onebasin.matching.functional_difference import match_functional_difference
from onebasin.matching.merge_many import match_many
from onebasin.matching.result import ManyMatching, Matching
from onebasin.matching.sinkhorn import match_sinkhorn
from onebasin.matching.straight_through import match_straight_through
from onebasin.matching.theorem import match_theorem
from onebasin.matching.weights import match_weights
from onebasin.symmetry.symmetry import Symmetry

LIMITS = {"max_epochs": "epoch", "max_steps": "step", "steps": "step", "max_sweeps": "sweep"}
"""Options that say how long a search may take, and what they count: the first one a matcher has.
"""

LOSSES = ("loss", "energy", "objective")
"""Options that say which loss a matcher looks at: one that has none of them needs no labels."""

PLAIN = (bool, int, float, str, types.NoneType)


@dataclass(frozen=True)
class MatcherInfo:
    """A matcher, and what a caller that knows only its name must know of it.

    Its function takes a symmetry and either the parameters of A and of B (`params_a`,
    `params_b`) or a sequence of any number of networks; the rest by keyword: `model` and
    `data` where it needs them, `seed` and `progress`, and options.

    Args:
        function: the matcher.
        description: what it finds, in a few words.
    """

    function: Callable[..., Any]
    description: str

    @cached_property
    def parameters(self) -> Mapping[str, Parameter]:
        """What its function takes, by name."""
        return MappingProxyType(dict(signature(self.function).parameters))

    @property
    def takes_many(self) -> bool:
        """Whether it takes any number of networks, not just A and B."""
        return "params_b" not in self.parameters

    @property
    def needs_model(self) -> bool:
        """Whether it runs the model."""
        return self._needs("model")

    @property
    def needs_data(self) -> bool:
        """Whether it does not do without data."""
        return self._needs("data")

    @property
    def takes_data(self) -> bool:
        """Whether it has a use for data."""
        return "data" in self.parameters

    @property
    def settles(self) -> bool:
        """Whether it can end before its number of steps does."""
        return "steps" not in self.parameters

    @property
    def unit(self) -> str:
        """What `num_sweeps` of its matching counts: sweep, step or epoch."""
        return next((unit for name, unit in LIMITS.items() if name in self.parameters), "sweep")

    def looks_at_data(self, options: Mapping[str, Any]) -> bool | None:
        """Return whether it looks at data with some options; None if it does where there is any.

        Args:
            options: checked ones; `objective` decides where a matcher has that and its data may
                be left out.
        """
        if self.needs_data or not self.takes_data or "objective" not in self.parameters:
            return self.needs_data or (None if self.takes_data else False)
        objective = options.get("objective", self.parameters["objective"].default)
        return None if objective is None else objective != "weights"

    def looks_at_loss(self, options: Mapping[str, Any]) -> bool:
        """Return whether it looks at a loss with some options, and so at labels, if there are any.

        Args:
            options: checked ones.
        """
        has_loss = any(name in self.parameters for name in LOSSES)
        return has_loss and self.looks_at_data(options) is not False

    @cached_property
    def options(self) -> Mapping[str, Any]:
        """Options that are plain numbers, words or switches, with the types they may have."""
        hints = get_type_hints(self.function)
        given = {"seed", "model", "data", "progress", "init"}
        return MappingProxyType(
            {
                name: hints[name]
                for name, parameter in self.parameters.items()
                if parameter.kind is Parameter.KEYWORD_ONLY
                and name not in given
                and _is_plain(hints.get(name, Any))
            }
        )

    @property
    def defaults(self) -> list[str]:
        """Its options with what they are unless told otherwise, such as `max_sweeps=100`.

        `none` leaves the choice to the matcher.
        """
        return [f"{name}={_written(self.parameters[name].default)}" for name in self.options]

    def _needs(self, name: str) -> bool:
        parameter = self.parameters.get(name)
        return parameter is not None and parameter.default is Parameter.empty

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
        """Run the matcher with what it takes of all this.

        Args:
            symmetry: of the architecture of all.
            params_list: the networks, the reference first.
            model: the architecture; passed on where the function takes one.
            data: batches; likewise.
            seed: likewise.
            progress: likewise.
            **options: as `check_options` returns them.

        Returns:
            What the function returns: one permutation, or one for each network.
        """
        offered = {"model": model, "data": data, "seed": seed, "progress": progress}
        taken = {name: value for name, value in offered.items() if name in self.parameters}
        params = [params_list] if self.takes_many else params_list
        return self.function(symmetry, *params, **taken, **options)


MATCHERS: Mapping[str, MatcherInfo] = MappingProxyType(
    {
        "weights": MatcherInfo(match_weights, "most similar weights"),
        "activations": MatcherInfo(match_activations, "most similar features"),
        "combined": MatcherInfo(match_combined, "most similar weights and features"),
        "functional-difference": MatcherInfo(
            match_functional_difference, "least different functions of their inputs"
        ),
        "commutativity": MatcherInfo(match_commutativity, "layers that commute best"),
        "straight-through": MatcherInfo(match_straight_through, "least loss at the midpoint"),
        "sinkhorn": MatcherInfo(match_sinkhorn, "soft permutations, learned on weights or a loss"),
        "frank-wolfe": MatcherInfo(match_frank_wolfe, "most similar weights, all groups at once"),
        "annealing": MatcherInfo(match_annealing, "least loss at the midpoint, by random swaps"),
        "annealing-many": MatcherInfo(
            match_many_annealing, "least loss of the mean, by random swaps"
        ),
        "exhaustive": MatcherInfo(match_exhaustive, "the best of all, for tiny groups"),
        "theorem": MatcherInfo(match_theorem, "cell by cell, for untrained networks"),
        "many": MatcherInfo(match_many, "each moved to the mean of the others"),
        "cycle-consistent": MatcherInfo(match_cycle_consistent, "all through one universe at once"),
    }
)
"""The matchers by the name that `--method` takes."""


def find_method(name: str, *, call: str) -> MatcherInfo:
    """Return a matcher by name.

    Args:
        name: one of `MATCHERS`, or another name that it is known by, such as "git-rebasin".
        call: who asks, for the message.

    Raises:
        OneBasinError: when the name is unknown; the message suggests the nearest ones.

    Example:
        >>> find_method("weights", call="align").needs_data
        False
    """
    method = MATCHERS.get(canonical_name(name))
    if method is None:
        raise OneBasinError(f"{call}: {unknown_name(name, MATCHERS)}")
    return method


def check_options(name: str, options: Mapping[str, Any], *, call: str) -> dict[str, Any]:
    """Check options of a matcher against its signature.

    Args:
        name: of the matcher.
        options: values by name.
        call: who asks, for the message.

    Returns:
        The options; whole numbers given for a float are floats.

    Raises:
        OneBasinError: when the matcher has no option of that name, or not with such a value.

    Example:
        >>> check_options("weights", {"max_sweeps": 3}, call="align")
        {'max_sweeps': 3}
    """
    known = find_method(name, call=call).options
    checked = {}
    for option, value in options.items():
        if option not in known:
            listed = ", ".join(find_method(name, call=call).defaults) or "none"
            raise OneBasinError(
                f"{call}: method {name} has no option {option!r}; its options and their defaults "
                f"are: {listed}"
            )
        if type(value) is int and int not in _alternatives(known[option]):
            value = float(value) if float in _alternatives(known[option]) else value
        if not _fits(value, known[option]):
            raise OneBasinError(
                f"{call}: option {option} of method {name} cannot be {value!r}; "
                f"it must be {' or '.join(_words(known[option]))}"
            )
        checked[option] = value
    return checked


def _alternatives(hint: Any) -> tuple[Any, ...]:
    """Return the types of a union, or the one type."""
    is_union = get_origin(hint) in (Union, types.UnionType)
    return get_args(hint) if is_union else (hint,)


def _is_plain(hint: Any) -> bool:
    return all(t in PLAIN or get_origin(t) is Literal for t in _alternatives(hint))


def _fits(value: Any, hint: Any) -> bool:
    return any(
        value in get_args(t) if get_origin(t) is Literal else type(value) is t
        for t in _alternatives(hint)
    )


def _written(value: Any) -> str:
    """Return how a value of an option is written on the command line."""
    return str(value).lower() if value is None or isinstance(value, bool) else str(value)


def _words(hint: Any) -> list[str]:
    """Return how the values that a type allows are written on the command line."""
    names = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}
    words: list[str] = []
    for t in _alternatives(hint):
        if get_origin(t) is Literal:
            words += map(str, get_args(t))
        else:
            words.append(names.get(t, "none"))
    return words
