"""Computed networks: written to a file, or in memory."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from onebasin.api._job import Job
from onebasin.api._networks import Networks
from onebasin.api._outputs import write_network
from onebasin.api.results import ComputedNetwork
from onebasin.checkpoints import open_checkpoint_for


def finished(
    job: Job,
    networks: Networks,
    tensors: Mapping[str, Tensor],
    metadata: Mapping[str, str],
    output: Any,
    *,
    like: int,
) -> ComputedNetwork:
    """Return a network that is written to a file or read into memory.

    Args:
        job: the input networks.
        networks: the open networks.
        tensors: the network, possibly lazy.
        metadata: metadata of safetensors files.
        output: the output, or None to keep the network in memory.
        like: index of the network whose names and dtypes are used.
    """
    if output is None:
        state_dict = {name: tensors[name] for name in tensors}
    else:
        state_dict = None
        write_network(job, output, tensors, metadata, like=networks.checkpoints[like])
    architecture = networks.architecture

    def load() -> Mapping[str, Tensor]:
        if state_dict is not None:
            return state_dict
        return open_checkpoint_for(architecture, Path(str(output)))

    def write(path: str | os.PathLike[str], tensors: Mapping[str, Tensor]) -> None:
        with job.sources[like].open(architecture) as reference:
            write_network(job, path, tensors, metadata, like=reference)

    return ComputedNetwork(load, None if output is None else Path(output), write)
