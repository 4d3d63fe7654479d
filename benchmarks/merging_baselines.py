"""Published formulas for merging with data, which the refit is compared with.

Both work on the linear layers and two-dimensional convolutions of aligned networks, and reset the
statistics of BatchNorm layers afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from onebasin.evaluation import reset_statistics
from onebasin.graph.batches import inputs_of
from onebasin.graph.binding import evaluation_mode

RIDGE = 1e-6
"""Ridge of PLeaS relative to the mean diagonal entry, because its equations may be singular."""

OFF_DIAGONAL = 0.9
"""Factor of the off-diagonal entries of RegMean's Gram matrices (Jin et al. 2023, Sec. 3.3)."""

Rows = tuple[Tensor, Tensor]


def pleas(
    model: nn.Module, networks: Sequence[Mapping[str, Tensor]], data: Iterable[Any]
) -> dict[str, Tensor]:
    """Merge by PLeaS (Nasery et al. 2025): mean inputs are mapped to mean outputs.

    Args:
        model: the architecture.
        networks: two aligned networks.
        data: batches; labels are ignored.
    """
    grams: dict[str, Tensor] = {}
    crosses: dict[str, Tensor] = {}

    def add(name: str, layer: nn.Module, both: Sequence[Rows]) -> None:
        inputs = torch.stack([rows for rows, _ in both]).mean(0)
        outputs = torch.stack([rows for _, rows in both]).mean(0)
        grams[name] = grams.get(name, 0) + (inputs.T @ inputs).double()
        crosses[name] = crosses.get(name, 0) + (inputs.T @ outputs).double()

    _run(model, networks, data, add)
    merged = _mean(networks)
    for name, layer in _layers(model).items():
        gram = grams[name]
        gram.diagonal().add_(RIDGE * gram.diagonal().mean())
        _write(merged, name, layer, torch.linalg.solve(gram, crosses[name]))
    return _reset(model, merged, data)


def regmean(
    model: nn.Module, networks: Sequence[Mapping[str, Tensor]], data: Iterable[Any]
) -> dict[str, Tensor]:
    """Merge by RegMean (Jin et al. 2023, Eq. 2): averages weighted by Gram matrices of inputs.

    Args:
        model: the architecture.
        networks: two aligned networks.
        data: batches; labels are ignored.
    """
    grams: dict[str, list[Tensor]] = {}

    def add(name: str, layer: nn.Module, both: Sequence[Rows]) -> None:
        found = [(rows.T @ rows).double() for rows, _ in both]
        known = grams.get(name, [torch.zeros_like(gram) for gram in found])
        grams[name] = [x + y for x, y in zip(known, found, strict=True)]

    _run(model, networks, data, add)
    merged = _mean(networks)
    for name, layer in _layers(model).items():
        shrunk = [OFF_DIAGONAL * g + (1 - OFF_DIAGONAL) * g.diagonal().diag() for g in grams[name]]
        weights = [_matrix(params, name, layer) for params in networks]
        cross = torch.stack(
            [gram @ weight for gram, weight in zip(shrunk, weights, strict=True)]
        ).sum(0)
        total = torch.stack(shrunk).sum(0)
        total.diagonal().add_(RIDGE * total.diagonal().mean())
        _write(merged, name, layer, torch.linalg.solve(total, cross))
    return _reset(model, merged, data)


BASELINES: Mapping[str, Callable[..., dict[str, Tensor]]] = {"PLeaS": pleas, "RegMean": regmean}
"""The formulas by name."""


def _layers(model: nn.Module) -> dict[str, nn.Module]:
    kinds = (nn.Linear, nn.Conv2d)
    return {name: each for name, each in model.named_modules() if isinstance(each, kinds)}


def _run(
    model: nn.Module,
    networks: Sequence[Mapping[str, Tensor]],
    data: Iterable[Any],
    add: Callable[[str, nn.Module, Sequence[Rows]], None],
) -> None:
    """Run the networks on all batches, and pass the rows of each layer to a function."""
    layers = _layers(model)
    for batch in data:
        rows: list[dict[str, Rows]] = []
        for params in networks:
            found: dict[str, Rows] = {}
            hooks = [
                layer.register_forward_hook(_recorder(found, name))
                for name, layer in layers.items()
            ]
            with torch.no_grad(), evaluation_mode(model):
                torch.func.functional_call(model, dict(params), (inputs_of(batch),))
            for hook in hooks:
                hook.remove()
            rows.append(found)
        for name, layer in layers.items():
            add(name, layer, [found[name] for found in rows])


def _recorder(found: dict[str, Rows], name: str) -> Callable[[nn.Module, Any, Tensor], None]:
    def hook(layer: nn.Module, inputs: Any, output: Tensor) -> None:
        x = inputs[0]
        if isinstance(layer, nn.Conv2d):
            assert not isinstance(layer.padding, str), "padding must be numbers"
            x = F.unfold(x, layer.kernel_size, layer.dilation, layer.padding, layer.stride)
            x, output = x.transpose(1, 2), output.flatten(2).transpose(1, 2)
        x, output = x.flatten(0, -2), output.flatten(0, -2)
        if layer.bias is not None:
            x = torch.cat((x, torch.ones_like(x[:, :1])), 1)
        found[name] = x, output

    return hook


def _matrix(params: Mapping[str, Tensor], name: str, layer: nn.Module) -> Tensor:
    """Return weight and bias of a layer as `(in, out)`."""
    matrix = params[f"{name}.weight"].flatten(1).T.double()
    if layer.bias is None:
        return matrix
    return torch.cat((matrix, params[f"{name}.bias"][None].double()))


def _write(merged: dict[str, Tensor], name: str, layer: nn.Module, solution: Tensor) -> None:
    weight = merged[f"{name}.weight"]
    inner = weight[0].numel()
    merged[f"{name}.weight"] = solution[:inner].T.reshape(weight.shape).to(weight.dtype)
    if layer.bias is not None:
        merged[f"{name}.bias"] = solution[inner].to(weight.dtype)


def _mean(networks: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    return {
        name: torch.stack([params[name] for params in networks]).mean(0)
        if tensor.is_floating_point()
        else tensor
        for name, tensor in networks[0].items()
    }


def _reset(model: nn.Module, merged: dict[str, Tensor], data: Iterable[Any]) -> dict[str, Tensor]:
    has_statistics = any(name.endswith("running_mean") for name in merged)
    return dict(reset_statistics(model, merged, data)) if has_statistics else merged
