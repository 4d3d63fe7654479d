"""Write a symmetry by hand, where a model cannot be traced, and let it be tested.

    python examples/hand_written_symmetry.py

The model branches on its data, so no graph of it can be exported.
"""

import torch
from torch import Tensor, nn

import onebasin


class Gated(nn.Module):
    """Two layers; the sign of the input's sum decides how they are joined."""

    def __init__(self) -> None:
        super().__init__()
        self.up = nn.Linear(8, 32)
        self.down = nn.Linear(32, 4)

    def forward(self, x: Tensor) -> Tensor:
        """Return `(n, 4)` for `(n, 8)`."""
        hidden = self.up(x)
        return self.down(hidden.relu() if x.sum() > 0 else hidden.tanh())


def main() -> None:
    """Show a refusal, a right specification and a wrong one."""
    model, x = Gated(), torch.randn(5, 8, generator=torch.Generator().manual_seed(0))
    try:
        onebasin.infer_symmetry(model, x)
    except onebasin.OneBasinError as error:
        print(f"refused: {str(error).split(';')[0]}")

    # One group name for each dimension; None where nothing may move.
    spec = {
        "up.weight": ("hidden", None),
        "up.bias": ("hidden",),
        "down.weight": (None, "hidden"),
        "down.bias": (None,),
    }
    proof = onebasin.verify(onebasin.symmetry.symmetry_from_spec(spec, model), model, x)
    print(f"right: {list(proof.symmetry.groups)}, largest error {proof.max_error:.0e}")

    wrong = spec | {"up.bias": (None,)}
    proof = onebasin.verify(onebasin.symmetry.symmetry_from_spec(wrong, model), model, x)
    print(f"wrong: {list(proof.symmetry.groups)}, dropped {list(proof.failed_groups)}")


if __name__ == "__main__":
    main()
