"""Runs of several networks on all batches, which go on from layer to layer.

Values that later nodes need are kept in memory up to a limit, and otherwise in temporary files.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from onebasin.evaluation._refit.targets import Targets
from onebasin.graph._network_run import Bound, NetworkRun
from onebasin.graph.features import BatchContext, Features

MAX_BYTES = 1 << 26
"""Maximum number of bytes of values in memory."""


class LiveRuns:
    """Runs of networks on all batches of the data, which are read once.

    Args:
        features: the model of the merged network and the data.
        networks: tensors of the sources, and of the merged network as the last.
        targets: gives the graph of the sources.
    """

    def __init__(self, features: Features, networks: Sequence[Bound], targets: Targets) -> None:
        """Initialize without reading the data."""
        self._features, self._networks, self._targets = features, networks, targets
        self._runs: list[tuple[BatchContext, list[NetworkRun]]] = []
        self._sizes: dict[int, int] = {}
        self._folder: TemporaryDirectory[str] | None = None

    def __iter__(self) -> Iterator[tuple[BatchContext, list[NetworkRun]]]:
        """Yield the runs of each batch, ready to go on; their values are kept afterwards."""
        for number, (context, runs) in enumerate(list(self._runs) or self._start()):
            self._restore(number, runs)
            yield context, runs
            self._keep(number, runs)

    @property
    def num_batches(self) -> int | None:
        """The number of batches; None before the data have been read."""
        return len(self._runs) or None

    def close(self) -> None:
        """Delete the temporary files."""
        if self._folder is not None:
            self._folder.cleanup()

    def _start(self) -> Iterator[tuple[BatchContext, list[NetworkRun]]]:
        """Yield the runs of each batch before their first node."""
        for number, (context, inputs, _) in enumerate(self._features.batches()):
            *sources, merged = self._networks
            runs = self._targets.source_graph(context.graph, inputs).start(sources, inputs)
            runs += context.graph.start([merged], inputs)
            self._runs.append((context, runs))
            self._sizes[number] = 0
            yield self._runs[-1]

    def _keep(self, number: int, runs: Sequence[NetworkRun]) -> None:
        """Keep the values of a batch in memory, or write them to a file."""
        size = _num_bytes(runs)
        if sum(self._sizes.values()) + size <= MAX_BYTES:
            self._sizes[number] = size
        else:
            torch.save([run.take_values() for run in runs], self._path(number))

    def _restore(self, number: int, runs: Sequence[NetworkRun]) -> None:
        """Read the values of a batch if they are in a file."""
        if self._sizes.pop(number, None) is None:
            # The file was written by this object, so it may hold any type.
            values = torch.load(self._path(number), weights_only=False)
            for run, each in zip(runs, values, strict=True):
                run.restore_values(each)

    def _path(self, number: int) -> Path:
        if self._folder is None:
            self._folder = TemporaryDirectory(prefix="onebasin-refit-")
        return Path(self._folder.name, f"{number}.pt")


def _num_bytes(runs: Sequence[NetworkRun]) -> int:
    """Return the memory of the values of runs, without parameters."""
    leaves = pytree.tree_leaves([list(run.values()) for run in runs])
    storages = (leaf.untyped_storage() for leaf in leaves if isinstance(leaf, Tensor))
    return sum({storage.data_ptr(): storage.nbytes() for storage in storages}.values())
