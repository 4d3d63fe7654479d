"""Base classes of the results of public functions."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from html import escape
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from onebasin._checks import check_model
from onebasin.errors import ArgumentError, public


class Summarized:
    """A result with a summary in text, which `print` and notebooks show."""

    def summary(self) -> str:
        """Return the text that the command prints."""
        raise NotImplementedError

    def to_json(self) -> dict[str, Any]:
        """Return the result as plain JSON values."""
        raise NotImplementedError

    def __str__(self) -> str:
        return self.summary()

    def __repr__(self) -> str:
        return self.summary()

    def _repr_html_(self) -> str:
        return f"<pre>{escape(self.summary())}</pre>"


Writer = Callable[[str | os.PathLike[str], Mapping[str, Tensor]], None]


@dataclass(frozen=True)
class ComputedNetwork:
    """A network that a public function computed.

    Args:
        load: function that returns parameters and buffers by name.
        output: the file or folder that was written, or None.
        write: function that writes the network to another path.
        permutation_files: the files of permutations that were written.
    """

    load: Callable[[], Mapping[str, Tensor]]
    output: Path | None
    write: Writer
    permutation_files: tuple[Path, ...] = ()

    @cached_property
    def state_dict(self) -> Mapping[str, Tensor]:
        """Parameters and buffers by name."""
        return self.load()


def load_params(state_dict: Mapping[str, Tensor], module: nn.Module) -> nn.Module:
    """Copy a network into a module of the same architecture, and return the module.

    Raises:
        OneBasinError: the tensors do not fit the module.
    """
    from onebasin.checkpoints import TiedView, check_fits, tied_names

    check_model(module)
    try:
        check_fits(state_dict, module)
    except ArgumentError as error:
        problem = str(error).partition(";")[0]
        raise ArgumentError(f"{problem}; pass a module of the same architecture") from error
    params = TiedView(state_dict, tied_names(module))
    try:
        module.load_state_dict({name: params[name] for name in params}, strict=False)
    except RuntimeError as error:
        raise ArgumentError(
            f"{type(module).__name__} does not take the tensors ({' '.join(str(error).split())})"
        ) from error
    return module


class NetworkResult(Summarized):
    """The base of results with a network."""

    network: ComputedNetwork

    @property
    def state_dict(self) -> Mapping[str, Tensor]:
        """Parameters and buffers by name.

        With `output=`, the tensors are read from the file when they are used.
        """
        return self.network.state_dict

    @property
    def output(self) -> Path | None:
        """The file or folder that was written, or None."""
        return self.network.output

    @property
    def permutation_files(self) -> tuple[Path, ...]:
        """The files of permutations that were written."""
        return self.network.permutation_files

    def files_to_json(self) -> dict[str, Any]:
        """Return the paths of the written files as plain JSON values."""
        output = None if self.output is None else str(self.output)
        return {"output": output, "permutations": list(map(str, self.permutation_files))}

    @public
    def load_into(self, module: nn.Module) -> nn.Module:
        """Copy the network into a module of the same architecture, and return the module.

        Raises:
            OneBasinError: the tensors do not fit the module.
        """
        return load_params(self.state_dict, module)

    @public
    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the network as the command does: names and dtypes as in the input file.

        Args:
            path: a `.safetensors` or `.pt` file, or a folder. An existing checkpoint file is
                replaced; inputs, other files and folders with files are not.

        Raises:
            OneBasinError: the path cannot be written, or must not be replaced.
        """
        self.network.write(path, self.state_dict)
