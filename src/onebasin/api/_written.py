"""The network that a function computed: written to a file, or kept in memory."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from onebasin.api._job import Job
from onebasin.api._networks import Networks
from onebasin.api._outputs import write_network
from onebasin.api.results import ComputedNetwork
from onebasin.checkpoints import open_checkpoint_for, with_unsaved


def finished(
    job: Job,
    networks: Networks,
    tensors: Mapping[str, Tensor],
    metadata: Mapping[str, str],
    output: Any,
    *,
    like: int,
) -> ComputedNetwork:
    """Write a network or read it into memory; return it.

    Args:
        job: the networks it was computed from.
        networks: the same, open.
        tensors: the network, possibly lazy.
        metadata: metadata of safetensors files.
        output: the output, or None to keep the network in memory.
        like: index of the network whose names and dtypes are used.
    """
    if output is None:
        state_dict = {name: tensors[name] for name in tensors}

        def load() -> Mapping[str, Tensor]:
            return state_dict
    else:
        stored = with_unsaved(tensors, networks.checkpoints[like])
        write_network(job, networks, output, stored, metadata, like=like)

        def load() -> Mapping[str, Tensor]:
            return open_checkpoint_for(networks.architecture, output)

    def write(path: str | os.PathLike[str], tensors: Mapping[str, Tensor]) -> None:
        with job.sources[like].open(networks.architecture) as reference:
            reopened = list(networks.checkpoints)
            reopened[like] = reference
            stored = with_unsaved(tensors, reference)
            again = replace(networks, checkpoints=tuple(reopened))
            write_network(job, again, path, stored, metadata, like=like)

    return ComputedNetwork(load, None if output is None else Path(output), write)
