"""Align one checkpoint file to another, and measure the barrier before and after.

    python examples/align_checkpoints.py [FOLDER]

The example first trains two networks on scikit-learn's digits.
"""

import sys
import tempfile
from pathlib import Path

import onebasin
from onebasin_studies.training import load_digits, train


def main(folder: Path) -> None:
    """Train two networks into a folder, and align b.safetensors to a.safetensors."""
    model = onebasin.build_architecture("mlp", arch_args={"width": 128}).module
    for name, seed in {"a": 0, "b": 1}.items():
        (network,) = train(model, load_digits(), seeds=[seed], epochs=10)
        onebasin.write_checkpoint(folder / f"{name}.safetensors", network.params)

    # Any module works here. Its symmetry is inferred, and verified on the module itself.
    a, b = folder / "a.safetensors", folder / "b.safetensors"
    aligned = onebasin.align(model, a, b, data="digits", output=folder / "aligned.safetensors")
    print(f"groups: {', '.join(aligned.symmetry.groups)}")
    print(aligned)

    for name, other in {"unaligned": b, "aligned": aligned}.items():
        curve = onebasin.barrier(model, a, other, "digits", split="test", num_points=11)
        print(f"barrier, {name}: {curve.barrier():.3f}")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp()))
