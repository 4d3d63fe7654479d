"""The network that a function computed: written to a file, or kept in memory."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from onebasin.api._job import Job
from onebasin.api._networks import Networks
from onebasin.api._outputs import write_network
from onebasin.api.results import Writer
from onebasin.checkpoints import open_checkpoint_for, with_unsaved


def finished(
    job: Job,
    networks: Networks,
    tensors: Mapping[str, Tensor],
    metadata: Mapping[str, str],
    output: Any,
    *,
    like: int,
) -> tuple[Mapping[str, Tensor], Path | None, Writer]:
    """Write a network or read it into memory; return the first fields of its `NetworkResult`.

    Args:
        job: the networks it was computed from.
        networks: the same, open.
        tensors: the network, possibly lazy.
        metadata: metadata of safetensors files.
        output: the output, or None to keep the network in memory.
        like: index of the network whose names and dtypes are used.
    """
    if output is None:
        state_dict: Mapping[str, Tensor] = {name: tensors[name] for name in tensors}
    else:
        stored = with_unsaved(tensors, networks.checkpoints[like])
        write_network(job, networks, output, stored, metadata, like=like)
        state_dict = open_checkpoint_for(networks.architecture, output)

    def write(path: str | os.PathLike[str], tensors: Mapping[str, Tensor]) -> None:
        with job.sources[like].open(networks.architecture) as reference:
            from dataclasses import replace

            reopened = list(networks.checkpoints)
            reopened[like] = reference
            stored = with_unsaved(tensors, reference)
            again = replace(networks, checkpoints=tuple(reopened))
            write_network(job, again, path, stored, metadata, like=like)

    return state_dict, None if output is None else Path(output), write
