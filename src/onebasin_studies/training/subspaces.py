"""Subspaces: lines and simplices of networks that are trained as a whole (Wortsman et al. 2021)."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call

from onebasin._random import check_seed, forked, generator_for, seeded
from onebasin.data._fitting import check_fits
from onebasin.data.dataset import Dataset
from onebasin.errors import ArgumentError, OneBasinError, check_amount, check_whole, public
from onebasin.evaluation._paths import Weights, point_at
from onebasin.evaluation.results import Result, axes_for
from onebasin.evaluation.statistics import reset_statistics
from onebasin.graph.batches import Batches, device_of, output_of
from onebasin.graph.binding import bind_params
from onebasin_studies.training.compatibility import check_trainable, needs_two, takes_single
from onebasin_studies.training.stacks import initialized

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MakeOptimizer = Callable[[Sequence[Tensor]], torch.optim.Optimizer]


@dataclass(frozen=True, eq=False)
class Subspace(Result):
    """A line or simplex of trained networks; the result of `train_subspace`.

    Args:
        seed: random seed of the corners and of the order of examples.
        corners: parameters and buffers of each corner.
        losses: mean training cross-entropy of each epoch, at the sampled points.
        cosines: mean squared cosine between corners over the steps of each epoch.
        seconds: duration of the training.
    """

    seed: int
    corners: tuple[dict[str, Tensor], ...]
    losses: tuple[float, ...]
    cosines: tuple[float, ...]
    seconds: float

    def point(self, shares: Sequence[float] | None = None) -> dict[str, Tensor]:
        """Return the network at a point: the weighted mean of the corners.

        Statistics of normalization layers do not interpolate: recompute them with
        `reset_statistics`.

        Args:
            shares: one weight per corner, with a sum of 1; default: equal weights.

        Raises:
            OneBasinError: if the number of weights or their sum is wrong.
        """
        num = len(self.corners)
        shares = [1 / num] * num if shares is None else list(shares)
        if len(shares) != num or abs(sum(shares) - 1) > 1e-6:
            listed = ", ".join(f"{share:g}" for share in shares)
            raise OneBasinError(
                f"point: shares {listed} for {num} corners; give one for each, with a sum of 1"
            )
        mixed: Weights = dict(enumerate(shares))
        return dict(point_at(self.corners, mixed))

    def rows(self) -> list[dict[str, Any]]:
        """Return one row per epoch."""
        epochs = zip(self.losses, self.cosines, strict=True)
        return [
            {"seed": self.seed, "epoch": epoch, "loss": loss, "cosine_squared": cosine}
            for epoch, (loss, cosine) in enumerate(epochs, 1)
        ]

    def plot(self, ax: Axes | None = None) -> Axes:
        """Plot the loss and the squared cosine of each epoch.

        Args:
            ax: target axes; default: a new figure.

        Returns:
            The axes with both curves.
        """
        ax = axes_for(ax)
        epochs = range(1, len(self.losses) + 1)
        ax.plot(epochs, self.losses, label="training loss")
        ax.plot(epochs, self.cosines, linestyle="--", label="cos² between corners")
        ax.set_xlabel("epoch")
        ax.legend(frameon=False)
        return ax


@public
def train_subspace(
    network: nn.Module,
    data: Dataset,
    *,
    num_corners: int = 2,
    start: Sequence[Mapping[str, Tensor]] | None = None,
    seed: int = 0,
    epochs: int = 50,
    batch_size: int = 100,
    learning_rate: float = 1e-3,
    optimizer: MakeOptimizer | None = None,
    penalty: float = 1.0,
    progress: Callable[[int, int], None] | None = None,
) -> Subspace:
    r"""Train a line (two corners) or a simplex of networks (Wortsman et al. 2021, Algorithm 1).

    Every batch draws a point \(\theta = \sum_i \alpha_i \omega_i\) with \(\alpha\) uniform on the
    simplex (Dirichlet(1); for a line \(\alpha \sim U[0, 1]\)), and the corners \(\omega_i\)
    minimize its loss plus \(\beta \cos^2(\omega_i, \omega_j)\), which keeps them distinct.

    Differs from the paper:
        - For more than two corners the penalty is the mean over all pairs, not one random pair.
        - Cosines use only parameters of two or more dimensions: no biases, scales or shifts.
        - The default optimizer is Adam.

    Args:
        network: the architecture, which is copied. Its frozen parameters are not trained.
        data: the dataset.
        num_corners: 2 for a line, 3 for a triangle, and so on.
        start: initial corners, such as a network and another one aligned to it; default:
            independent random initializations.
        seed: random seed of the initialization, the points and the order of examples.
        epochs: passes over the training set.
        batch_size: examples per step; a last step of a single example is skipped if batch
            normalization rejects it.
        learning_rate: learning rate of Adam.
        optimizer: a function from the stacked parameters, `(num_corners, ...)` each, to an
            optimizer, such as `lambda params: torch.optim.SGD(params, lr=0.1)`.
        penalty: \(\beta\).
        progress: a callback with the number of completed epochs and their total.

    Returns:
        The subspace. Statistics of normalization layers are recomputed for every corner.

    Raises:
        OneBasinError: if a number is out of range, or the data or the start do not fit.

    Example:
        >>> from onebasin.checkpoints import MLP
        >>> from onebasin.data.datasets import load_digits
        >>> line = train_subspace(MLP(depth=1, width=8), load_digits(), epochs=2)
        >>> len(line.corners), line.losses[1] < line.losses[0]
        (2, True)
    """
    num = _check(num_corners if start is None else len(start), epochs, batch_size)
    seed = check_seed(seed)
    check_amount("learning_rate", learning_rate)
    check_amount("penalty", penalty)
    began = time.perf_counter()
    seeds = [generator_for(seed, f"corner {i}").initial_seed() for i in range(num)]
    model = initialized(network, seeds[0]).train()
    check_trainable(model)
    takes_one = _check_data(model, data, batch_size)
    own = [initialized(network, each).state_dict() for each in seeds] if start is None else start
    params, buffers = _stacked(model, own)
    learner = _Learner(model, params, buffers, penalty)
    if optimizer is None:
        step: torch.optim.Optimizer = torch.optim.Adam(params.values(), lr=learning_rate)
    else:
        step = optimizer(list(params.values()))
    generator = generator_for(seed, "order")
    losses, cosines = [], []
    with seeded(seed):  # for dropout
        for epoch in range(epochs):
            order = torch.randperm(len(data.train_labels), generator=generator)
            steps = [rows for rows in order.split(batch_size) if takes_one or len(rows) > 1]
            loss, cosine = learner.epoch(data, step, steps, generator)
            losses.append(loss)
            cosines.append(cosine)
            if progress is not None:
                progress(epoch + 1, epochs)
    batches = _whole_batches(data, max(batch_size, 2), takes_one)
    corners = tuple(reset_statistics(model, each, batches) for each in learner.corners())
    seconds = time.perf_counter() - began
    return Subspace(seed, corners, tuple(losses), tuple(cosines), seconds)


def _check(num_corners: Any, epochs: Any, batch_size: Any) -> int:
    for name, value, least in (("epochs", epochs, 0), ("batch_size", batch_size, 1)):
        check_whole(name, value, least=least)
    return check_whole("the number of corners", num_corners, least=2)


def _check_data(model: nn.Module, data: Dataset, batch_size: int) -> bool:
    """Check that the model fits the data; return whether it accepts a single example."""
    if not len(data.train_labels):
        raise ArgumentError(f"{data.name} has no training examples; choose other data")
    examples = data.train_examples[:2].to(device_of(model))
    with forked():
        check_fits(
            copy.deepcopy(model).eval(),
            examples,
            data,
            name="the network",
            remedy="fit the network to it",
        )
    takes_one = takes_single(model, examples[:1])
    if not takes_one and min(batch_size, len(data.train_labels)) < 2:
        raise needs_two(batch_size, data)
    return takes_one


def _whole_batches(data: Dataset, size: int, takes_one: bool) -> Batches:
    """Return the training set without a last batch of one example, if the model rejects it."""
    number = len(data.train_labels)
    number -= not takes_one and number % size == 1
    return Batches(data.train_inputs[:number], data.train_labels[:number], size)


class _Learner:
    """The corners during training, with their tensors stacked."""

    def __init__(
        self,
        model: nn.Module,
        params: dict[str, Tensor],
        buffers: dict[str, Tensor],
        penalty: float,
    ) -> None:
        self._model, self._params, self._buffers = model, params, buffers
        self._penalty = penalty
        self._num = len(next(iter(params.values())))

    def epoch(
        self,
        data: Dataset,
        optimizer: torch.optim.Optimizer,
        batches: Iterable[Tensor],
        generator: torch.Generator,
    ) -> tuple[float, float]:
        """Train on every batch; return the mean loss and the mean squared cosine."""
        device = device_of(self._model)
        total, cosines, count = 0.0, [], 0
        for rows in batches:
            inputs, labels = data.train_inputs[rows].to(device), data.train_labels[rows].to(device)
            loss = F.cross_entropy(output_of(self._run(inputs, generator)), labels)
            cosine = self._cosine()
            optimizer.zero_grad()
            (loss + self._penalty * cosine).backward()
            optimizer.step()
            total += loss.item() * len(rows)
            count += len(rows)
            cosines.append(cosine.item())
        return total / count, sum(cosines) / len(cosines)

    def _run(self, inputs: Tensor, generator: torch.Generator) -> Any:
        # Normalized exponential samples are uniform on the simplex.
        draws = torch.empty(self._num).exponential_(generator=generator)
        alphas = (draws / draws.sum()).to(inputs.device)
        point = {
            name: torch.tensordot(alphas.to(corners.dtype), corners, 1)
            for name, corners in self._params.items()
        }
        return functional_call(self._model, {**point, **self._buffers}, (inputs,))

    def _cosine(self) -> Float[Tensor, ""]:
        """Return the squared cosine between corners, averaged over all pairs."""
        flat = [each.flatten(1) for each in self._params.values() if each.ndim > 2]
        weights = torch.cat(flat or [each.flatten(1) for each in self._params.values()], 1)
        unit = weights / weights.norm(dim=1, keepdim=True)
        products = unit @ unit.T
        pairs = list(combinations(range(self._num), 2))
        return torch.stack([products[i, j].square() for i, j in pairs]).mean()

    def corners(self) -> Iterator[dict[str, Tensor]]:
        """Yield parameters and buffers of each corner under all names of the state dict."""
        state = self._model.state_dict(keep_vars=True)
        tensors = {
            id(own): name
            for own_named in (self._model.named_parameters(), self._model.named_buffers())
            for name, own in own_named
        }
        for i in range(self._num):
            corner = {name: each.detach()[i].clone() for name, each in self._params.items()}
            corner |= {name: each.clone() for name, each in self._buffers.items()}
            yield {name: corner[tensors[id(own)]] for name, own in state.items()}


def _stacked(
    model: nn.Module, start: Sequence[Mapping[str, Tensor]]
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return the stacked parameters of all corners, and one set of buffers."""
    bound = [bind_params(model, params) for params in start]
    device = device_of(model)
    params = {
        name: torch.stack([each[name].detach().to(device) for each in bound]).requires_grad_(
            own.requires_grad
        )
        for name, own in model.named_parameters()
    }
    buffers = {
        name: bound[0].get(name, own).detach().clone().to(device)
        for name, own in model.named_buffers()
    }
    return params, buffers
