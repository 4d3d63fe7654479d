"""Merge two checkpoints that are larger than memory.

    python examples/merge_larger_than_memory.py [FOLDER]

The symmetry is inferred on the meta device, without memory. Checkpoints are read, permuted and
written one tensor at a time. The networks of this example are small.
"""

import sys
import tempfile
from pathlib import Path

import torch

import onebasin


def write_shards(folder: Path, seed: int) -> Path:
    """Write a network as a folder of shards with an index."""
    network = onebasin.build_architecture("mlp", seed=seed).module
    onebasin.write_checkpoint(folder, network.state_dict(), max_shard_size=1_000_000)
    return folder


def main(folder: Path) -> None:
    """Merge folder/a and folder/b into folder/merged."""
    sources = [write_shards(folder / name, seed) for seed, name in enumerate("ab")]

    inspected = onebasin.inspect("mlp", meta=True)
    print(f"inferred without memory: {len(inspected.symmetry.groups)} groups")

    # Without verification and data, the model is never run.
    onebasin.merge(
        "mlp",
        sources,
        symmetry=inspected.symmetry,
        verify=False,
        output=folder / "merged",
    )

    merged = onebasin.open_checkpoint(folder / "merged")
    entries = sum(tensor.numel() for tensor in merged.values())
    assert all(torch.isfinite(tensor).all() for tensor in merged.values())
    print(f"merged: {len(merged)} tensors, {entries:,} entries")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp()))
