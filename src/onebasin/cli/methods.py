"""Methods: what the user said about matching, checked before any long work."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from onebasin.checkpoints import Architecture
from onebasin.checkpoints.arguments import parse_arguments
from onebasin.cli.data import check_data
from onebasin.errors import OneBasinError
from onebasin.forward.batches import Batches
from onebasin.matching import ManyMatching, Matching
from onebasin.matching.catalogue import METHODS, Method, check_options, find_method
from onebasin.symmetry import Symmetry
from onebasin.training.datasets.catalogue import load_dataset
from onebasin.training.datasets.dataset import Dataset


@dataclass(frozen=True)
class MethodChoice:
    """What the user said about the method.

    Args:
        name: `--method`; None for the one that suits the number of networks.
        arguments: texts of `--method-arg`.
        restarts: `--restarts`, an option like those, or None.
        data: `--data`, or None.
        data_root: `--data-root`, or None.
        seed: of the search.
    """

    name: str | None = None
    arguments: Sequence[str] | None = None
    restarts: int | None = None
    data: str | None = None
    data_root: Path | None = None
    seed: int = 0

    def prepare(
        self,
        num_networks: int = 2,
        *,
        call: str,
        data: Dataset | None = None,
        is_of_use: bool = False,
        default: str = "weights",
    ) -> Matcher:
        """Check all of it; the data go to a method that looks at data.

        Args:
            num_networks: how many are to be matched.
            call: the command, for messages.
            data: what `load` returned, fitted to the architecture.
            is_of_use: whether the data are there for another reason, too.
            default: the method for two networks where the user named none.

        Raises:
            OneBasinError: when there is no such method, it has no such option, does not take
                so many networks, needs data and has none, or has data and no use for it.
        """
        name = self.name or (default if num_networks == 2 else "many")
        if num_networks > 2:
            _check_many(name, num_networks, call)
        method = find_method(name, call=call)
        options = parse_arguments(self.arguments, option="--method-arg", example=_example(method))
        if self.restarts is not None:
            options |= {"restarts": self.restarts}
        options = check_options(name, options, call=call)
        if not is_of_use:
            self._check_data(name, method, options, call)
        return Matcher(name, method, options, data if method.takes_data else None, self.seed)

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

    def load(self) -> Dataset | None:
        """Return the data, if any was named; the same whatever the seed is."""
        if self.data is None:
            return None
        return load_dataset(self.data, root=self.data_root)


@dataclass(frozen=True)
class Matcher:
    """A method with its options and data, ready to run.

    Args:
        name: of the method.
        method: from the catalogue.
        options: checked ones.
        data: the training set of which it sees, or None.
        seed: of the search.
    """

    name: str
    method: Method
    options: Mapping[str, Any] = field(default_factory=dict)
    data: Dataset | None = None
    seed: int = 0

    @property
    def runs_model(self) -> bool:
        """Whether the module must be there with its memory."""
        return self.data is not None or self.method.needs_model

    def preferring(self, **options: Any) -> Matcher:
        """Return the same with further options, where the method has them and none is given."""
        known = {name: value for name, value in options.items() if name in self.method.options}
        return replace(self, options={**known, **self.options})

    def check(self, architecture: Architecture, *, call: str) -> None:
        """Check that the architecture can be run on the data, where there is any.

        Raises:
            OneBasinError: when it cannot.
        """
        if self.data is not None:
            check_data(architecture, self.data, call=call)

    def run(
        self,
        symmetry: Symmetry,
        params_list: Sequence[Mapping[str, Tensor]],
        architecture: Architecture,
        progress: Callable[..., object] | None = None,
    ) -> Matching | ManyMatching:
        """Match networks, the first being the reference; return what the method returns."""
        data = self.data
        return self.method.match(
            symmetry,
            params_list,
            model=architecture.module,
            data=None if data is None else Batches(data.train_inputs, data.train_labels),
            seed=self.seed,
            progress=progress,
            **self.options,
        )


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
