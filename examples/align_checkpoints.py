"""Align one checkpoint file to another, and measure what that did to the barrier.

    python examples/align_checkpoints.py [FOLDER]

The two networks are trained here on scikit-learn's digits, so that the example runs alone.
"""

import sys
import tempfile
from pathlib import Path

import onebasin
from onebasin_studies.training import load_digits, train


def main(folder: Path) -> None:
    """Train two networks into a folder, align b.safetensors to a.safetensors."""
    architecture = onebasin.build_architecture("mlp", arch_args={"width": 128})
    network, data = architecture.module, load_digits()
    for name, seed in {"a": 0, "b": 1}.items():
        (trained,) = train(network, data, seeds=[seed], epochs=10)
        onebasin.write_checkpoint(folder / f"{name}.safetensors", trained.params)

    # Any module will do here: no permutation spec is needed. A symmetry that was inferred is
    # tested on the module itself before anything relies on it.
    inputs = data.train_inputs[:2]
    proof = onebasin.verify(onebasin.infer_symmetry(network, inputs), network, inputs)
    print(f"groups: {', '.join(proof.symmetry.groups)}; largest error {proof.max_error:.0e}")

    a = onebasin.open_checkpoint(folder / "a.safetensors")
    b = onebasin.open_checkpoint(folder / "b.safetensors")
    matching = onebasin.matching.match_weights(proof.symmetry, a, b, seed=0)
    aligned = matching.permutation.apply(b)
    onebasin.write_checkpoint(folder / "aligned.safetensors", aligned, like=b, inputs=[a])
    print(f"objective {matching.objective[0]:.1f} -> {matching.objective[-1]:.1f}")

    evaluate = onebasin.evaluation.evaluator(data.test_inputs, data.test_labels)
    for name, other in {"as trained": b, "aligned": aligned}.items():
        curve = onebasin.evaluation.interpolate(network, a, other, evaluate, num_points=11)
        print(f"barrier, {name}: {curve.barrier():.3f}")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp()))
