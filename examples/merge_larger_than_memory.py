"""Merge two checkpoints without ever holding either of them in memory.

    python examples/merge_larger_than_memory.py [FOLDER]

The module is built on the meta device, where it takes no memory; checkpoints are read, moved
and written one tensor at a time. The networks here are small, so that the example runs alone.
"""

import sys
import tempfile
from pathlib import Path

import torch

import onebasin
from onebasin.merging import average_tensors
from onebasin.merging.moved import LazyPermuted


def write_shards(folder: Path, seed: int) -> Path:
    """Write a network as a folder of shards with an index, as large models come."""
    network = onebasin.build_architecture("mlp", seed=seed).module
    onebasin.write_checkpoint(folder, network.state_dict(), max_shard_size=1_000_000)
    return folder


def main(folder: Path) -> None:
    """Merge folder/a and folder/b into folder/merged."""
    sources = [write_shards(folder / name, seed) for seed, name in enumerate("ab")]

    architecture = onebasin.build_architecture("mlp", device="meta")
    symmetry = onebasin.infer_symmetry(architecture.module, architecture.example_args)
    print(f"traced without memory: {len(symmetry.groups)} groups")

    with onebasin.open_checkpoint(sources[0]) as a, onebasin.open_checkpoint(sources[1]) as b:
        permutation = onebasin.matching.match_weights(symmetry, a, b).permutation
        # Both are lazy: a tensor is moved and averaged when the writer asks for it.
        pairs = average_tensors([a, LazyPermuted(b, permutation)], weights=[0.5, 0.5])
        onebasin.write_checkpoint(folder / "merged", pairs, like=a, inputs=[b])

    merged = onebasin.open_checkpoint(folder / "merged")
    entries = sum(tensor.numel() for tensor in merged.values())
    assert all(torch.isfinite(tensor).all() for tensor in merged.values())
    print(f"merged: {len(merged)} tensors, {entries:,} entries")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp()))
