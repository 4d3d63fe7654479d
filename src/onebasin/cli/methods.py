"""Methods: what the user said about matching, checked before any long work."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor

from onebasin.checkpoints import Architecture
from onebasin.checkpoints.arguments import parse_arguments
from onebasin.cli.data import laid_out
from onebasin.cli.measuring import DataChoice
from onebasin.errors import OneBasinError
from onebasin.matching import ManyMatching, Matching
from onebasin.matching.catalogue import METHODS, Method, check_options, find_method
from onebasin.matching.method_names import canonical_name
from onebasin.symmetry import Permutation, Symmetry
from onebasin.training.datasets.data import Data

WITH_DATA = "combined"
"""The method for two networks where there is data: the best of benchmarks/matchers.py that needs
no labels.

Options and docs/matching.md tell the user.
"""


@dataclass(frozen=True)
class MethodChoice:
    """What the user said about the method.

    Args:
        name: `--method`; None for the one that suits the number of networks, and whether there
            is data.
        arguments: texts of `--method-arg`.
        restarts: `--restarts`, an option like those, or None.
        init: `--init`: the method whose permutation the search starts from, or None.
        data: what the user says about data, or None.
        seed: of the search.
    """

    name: str | None = None
    arguments: Sequence[str] | None = None
    restarts: int | None = None
    init: str | None = None
    data: DataChoice | None = None
    seed: int = 0

    def prepare(
        self,
        num_networks: int = 2,
        *,
        call: str,
        data: Data | None = None,
        is_of_use: bool = False,
        with_data: str = WITH_DATA,
    ) -> Matcher:
        """Check all of it; the data go to a method that looks at data.

        Args:
            num_networks: how many are to be matched.
            call: the command, for messages.
            data: as loaded, fitted to the architecture.
            is_of_use: whether the data are there for another reason, too.
            with_data: the method for two networks where there are data and the user named none.

        Raises:
            OneBasinError: when there is no such method, it has no such option, does not take
                so many networks, needs data and has none, or has data and no use for it.
        """
        default = "weights" if data is None else with_data
        name = canonical_name(self.name or (default if num_networks == 2 else "many"))
        method = _find(name, num_networks, call)
        options = parse_arguments(self.arguments, option="--method-arg", example=_example(method))
        if self.restarts is not None:
            options |= {"restarts": self.restarts}
        options = check_options(name, options, call=call)
        init = self._prepare_init(name, method, num_networks, call=call, data=data)
        if not (is_of_use or (init is not None and init.sees_data)):
            self._check_data(name, method, options, call)
        seen = data if method.takes_data else None
        return Matcher(name, method, options, seen, self.seed, init)

    def _prepare_init(
        self, name: str, method: Method, num_networks: int, *, call: str, data: Data | None
    ) -> Matcher | None:
        """Check `--init`, and return the matcher that it names, with its defaults."""
        if self.init is None:
            return None
        if "init" not in method.parameters:
            known = ", ".join(known for known, m in METHODS.items() if "init" in m.parameters)
            raise OneBasinError(
                f"{call}: method {name} starts from no permutation; leave --init out or choose a "
                f"--method that does: {known}"
            )
        init = canonical_name(self.init)
        first = _find(init, num_networks, call)
        if data is None:
            self._check_data(init, first, {}, call)
        return Matcher(init, first, {}, data if first.takes_data else None, self.seed)

    def _check_data(self, name: str, method: Method, options: Mapping[str, Any], call: str) -> None:
        looks = method.looks_at_data(options)
        objective = options.get("objective")
        named = f"method {name}" + (f" with objective={objective}" if objective else "")
        if looks and self.data is None:
            raise OneBasinError(
                f"{call}: {named} looks at data; name it with --data, such as --data digits"
            )
        if self.data is not None and not method.takes_data:
            known = ", ".join(known for known, m in METHODS.items() if m.takes_data)
            raise OneBasinError(
                f"{call}: {named} uses no data; leave --data out or choose a --method that "
                f"does: {known}"
            )
        if self.data is not None and looks is False:
            raise OneBasinError(
                f"{call}: {named} uses no data; leave --data out or choose another objective"
            )


@dataclass(frozen=True)
class Matcher:
    """A method with its options and data, ready to run.

    Args:
        name: of the method.
        method: from the catalogue.
        options: checked ones.
        data: the training set of which it sees, or None.
        seed: of the search.
        init: what runs first, and whose permutation this one starts from, or None.
    """

    name: str
    method: Method
    options: Mapping[str, Any] = field(default_factory=dict)
    data: Data | None = None
    seed: int = 0
    init: Matcher | None = None

    @property
    def runs_model(self) -> bool:
        """Whether the module must be there with its memory."""
        return any(each.data is not None or each.method.needs_model for each in self._all)

    @property
    def sees_data(self) -> bool:
        """Whether it, or what it starts from, sees data."""
        return any(each.data is not None for each in self._all)

    @property
    def _all(self) -> list[Matcher]:
        return [self] if self.init is None else [self.init, self]

    def preferring(self, **options: Any) -> Matcher:
        """Return the same with further options, where the method has them and none is given."""
        known = {name: value for name, value in options.items() if name in self.method.options}
        init = None if self.init is None else self.init.preferring(**options)
        return replace(self, options={**known, **self.options}, init=init)

    def seeing(self, data: Data) -> Matcher:
        """Return the same with other data, where it sees any."""
        init = None if self.init is None else self.init.seeing(data)
        return replace(self, data=None if self.data is None else data, init=init)

    def laid_out(self, architecture: Architecture, *, call: str) -> Matcher:
        """Return the same with data as the architecture takes them, where there are any.

        Raises:
            OneBasinError: when the architecture cannot be run on them, or the method looks at
                a loss and the outputs are not one for each class.
        """
        seeing = [each for each in self._all if each.data is not None]
        data = seeing[0].data if seeing else None
        if data is None:
            return self
        has_classes = any(each.method.looks_at_loss(each.options) for each in seeing)
        remedy = "another --arch-arg" + (", or a --method without a loss" if has_classes else "")
        data = laid_out(architecture, data, call=call, has_classes=has_classes, remedy=remedy)
        return self.seeing(data)

    def run(
        self,
        symmetry: Symmetry,
        params_list: Sequence[Mapping[str, Tensor]],
        architecture: Architecture,
        progress: Callable[..., object] | None = None,
    ) -> Matching | ManyMatching:
        """Match networks, the first being the reference; return what the method returns."""
        data, options = self.data, dict(self.options)
        if self.init is not None:
            found = self.init.run(symmetry, params_list, architecture, progress)
            options["init"] = _start(found, self.method)
        return self.method.match(
            symmetry,
            params_list,
            model=architecture.module,
            data=None if data is None else data.batches(),
            seed=self.seed,
            progress=progress,
            **options,
        )


def permutation_of(matching: Matching | ManyMatching) -> Permutation:
    """Return what moves B to A, where there are these two."""
    return matching.permutation if isinstance(matching, Matching) else matching.between(1, 0)


def _start(found: Matching | ManyMatching, method: Method) -> Permutation | Sequence[Permutation]:
    """Return where a method is to start, given what another one found."""
    if not method.takes_many:
        return permutation_of(found)
    if isinstance(found, ManyMatching):
        return found.permutations
    return Permutation.identity(found.permutation.symmetry), found.permutation


def _find(name: str, num_networks: int, call: str) -> Method:
    """Return a method by name, if it takes so many networks."""
    if num_networks > 2:
        _check_many(name, num_networks, call)
    return find_method(name, call=call)


def _check_many(name: str, num_networks: int, call: str) -> None:
    """Check that a method takes more than two networks.

    Raises:
        OneBasinError: naming the methods that do.
    """
    known = [known for known, method in METHODS.items() if method.takes_many]
    if name in known:
        return
    if known and name in METHODS:
        raise OneBasinError(
            f"{call}: {num_networks} checkpoints given, but method {name} matches two; "
            f"choose a --method for more: {', '.join(known)}"
        )
    if not known:
        raise OneBasinError(
            f"{call}: {num_networks} checkpoints given; no method matches more than two yet: "
            "give two, the reference first, or average them as they are with --no-align"
        )


def _example(method: Method) -> str:
    option = next(iter(method.options), "")
    return f"{option}=1" if option else "KEY=VALUE"
