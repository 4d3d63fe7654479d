"""Graphs of small modules, about twenty times faster than with torch.export.

Used to test typing rules on many programs. The graphs have the same core operators, without
the checks, serialization and names of torch.export.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, functionalize
from torch.fx import Node
from torch.fx.experimental.proxy_tensor import make_fx

from onebasin.symmetry._inference.export import Exported, _decompositions, _live
from onebasin.symmetry._modules import select_outputs


@cache
def decompositions() -> Any:
    """Return the decomposition table of `onebasin.infer_symmetry`."""
    return _decompositions()


def quick_export(
    model: nn.Module,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    outputs: Callable[[Any], Any] | None,
) -> Exported:
    """Replace `export_model`, without keyword inputs and selection of outputs."""
    assert not kwargs and outputs is None
    state = dict(model.state_dict(keep_vars=True))
    own = {id(tensor): name for name, tensor in reversed(state.items())}
    names = list(dict.fromkeys(own[id(tensor)] for tensor in state.values()))

    def run(tensors: list[Tensor], inputs: list[Tensor]) -> list[Tensor]:
        given = dict(zip(names, tensors, strict=True))
        values = {name: given[own[id(tensor)]] for name, tensor in state.items()}
        return select_outputs(functional_call(model, values, tuple(inputs)))

    with torch.no_grad():
        graph_module = make_fx(
            functionalize(run, remove="mutations"),
            decomposition_table=decompositions(),
            tracing_mode="fake",
            _allow_non_fake_inputs=True,
        )([state[name].detach() for name in names], list(args))
    placeholders = [node.name for node in graph_module.graph.find_nodes(op="placeholder")]
    returned = [n for n in graph_module.graph.output_node().args[0] if isinstance(n, Node)]
    return Exported(
        graph_module=graph_module,
        tensors=dict(zip(placeholders, names, strict=False)),
        constants={},
        live=_live(returned),
        outputs=returned,
        inputs=placeholders[len(names) :],
    )


def quick_variant(*call: Any, training: bool = False) -> Exported | None:
    """Replace `export_variant`."""
    try:
        return None if training else quick_export(*call)
    except Exception:  # the program does not run at these shapes
        return None
