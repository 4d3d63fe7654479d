"""Write the permutation spec of a model by hand, and verify it.

    python examples/hand_written_symmetry.py

The control flow of the model depends on its data, so torch.export cannot trace it.
"""

import torch
from torch import Tensor, nn

import onebasin


class Gated(nn.Module):
    """Two layers; the sign of the sum of the inputs selects the nonlinearity."""

    def __init__(self) -> None:
        super().__init__()
        self.up = nn.Linear(8, 32)
        self.down = nn.Linear(32, 4)

    def forward(self, x: Tensor) -> Tensor:
        """Return `(n, 4)` for `(n, 8)`."""
        hidden = self.up(x)
        return self.down(hidden.relu() if x.sum() > 0 else hidden.tanh())


def main() -> None:
    """Verify a correct spec and a wrong one."""
    model, x = Gated(), torch.randn(5, 8, generator=torch.Generator().manual_seed(0))
    try:
        onebasin.infer_symmetry(model, x)
    except onebasin.OneBasinError as error:
        print(f"not inferred: {str(error).split(';')[0]}")

    # One group name for each dimension; None for a fixed dimension.
    spec = {
        "up.weight": ("hidden", None),
        "up.bias": ("hidden",),
        "down.weight": (None, "hidden"),
        "down.bias": (None,),
    }
    verification = onebasin.verify(onebasin.Symmetry.from_spec(spec, model), model, x)
    print(
        f"correct: {list(verification.symmetry.groups)}, largest error {verification.max_error:.0e}"
    )

    wrong = spec | {"up.bias": (None,)}
    verification = onebasin.verify(onebasin.Symmetry.from_spec(wrong, model), model, x)
    print(
        f"wrong: {list(verification.symmetry.groups)}, dropped {list(verification.failed_groups)}"
    )


if __name__ == "__main__":
    main()
