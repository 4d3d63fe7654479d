"""Measure a barrier with a custom model, loss and evaluation function.

    python examples/custom_evaluation.py

The model fits a curve: there are no classes and no dataset.
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


def max_abs_error(model: nn.Module) -> float:
    """Return the quantity to measure: any function of a module that returns a number works."""
    with torch.no_grad():
        error: Tensor = (model(X) - Y).abs().max()
    return error.item()


def main() -> None:
    """Compare the barrier before and after alignment."""
    model = network(0)
    a, b = model.state_dict(), network(1).state_dict()
    aligned = onebasin.align(model, a, b, example_inputs=X).state_dict
    for name, other in {"unaligned": b, "aligned": aligned}.items():
        curve = onebasin.evaluation.interpolate(model, a, other, max_abs_error, num_points=9)
        print(f"{name}: {curve.barrier():.2f} above the line between the ends")


if __name__ == "__main__":
    main()
