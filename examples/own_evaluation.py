"""Measure a barrier with a model, a loss and an evaluation of one's own.

    python examples/own_evaluation.py

The model learns a curve; there are no classes and no dataset of onebasin's.
"""

import torch
from torch import Tensor, nn

import onebasin

X = torch.linspace(-3, 3, 256)[:, None]
Y = torch.sin(2 * X)


def network(seed: int) -> nn.Module:
    """Train a small network by full-batch Adam."""
    torch.manual_seed(seed)
    model = nn.Sequential(
        nn.Linear(1, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 1)
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(300):
        optimizer.zero_grad()
        nn.functional.mse_loss(model(X), Y).backward()
        optimizer.step()
    return model


def largest_miss(model: nn.Module) -> float:
    """Anything that makes one number of a model can be measured along the path."""
    with torch.no_grad():
        missed: Tensor = (model(X) - Y).abs().max()
    return missed.item()


def main() -> None:
    """Compare the path to B as it was trained with the path to B aligned."""
    model = network(0)
    a, b = model.state_dict(), network(1).state_dict()
    symmetry = onebasin.verify(onebasin.infer_symmetry(model, X), model, X).symmetry
    aligned = onebasin.matching.match_weights(symmetry, a, b).permutation.apply(b)
    for name, other in {"as trained": b, "aligned": aligned}.items():
        curve = onebasin.evaluation.interpolate(model, a, other, largest_miss, num_points=9)
        print(f"{name}: {curve.barrier():.2f} above the chord")


if __name__ == "__main__":
    main()
