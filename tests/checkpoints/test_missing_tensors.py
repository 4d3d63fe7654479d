"""Optional buffers, tied tensors with different values, and wrapped architectures."""

from collections.abc import Mapping

import pytest
import torch
from torch import Tensor, nn

from onebasin.checkpoints import (
    build_architecture,
    check_fits,
    check_same_architecture,
    completed,
    load_module,
    optional_names,
    with_unsaved,
)
from onebasin.errors import OneBasinError


class Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(3)
        self.embed, self.head = nn.Embedding(4, 3), nn.Linear(3, 4, bias=False)
        self.head.weight = self.embed.weight
        self.register_buffer("position_ids", torch.arange(4), persistent=False)


def stored(*without: str, **extra: Tensor) -> dict[str, Tensor]:
    """The state dict of a network without some tensors and with others."""
    state = {name: tensor.clone() for name, tensor in Network().state_dict().items()}
    state["head.weight"] = state["embed.weight"]
    return {name: tensor for name, tensor in state.items() if name not in without} | extra


def test_optional_names() -> None:
    assert optional_names(Network()) == {"position_ids", "norm.num_batches_tracked"}
    with torch.device("meta"):
        assert optional_names(Network()) == {"position_ids", "norm.num_batches_tracked"}


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_files_without_optional_buffers_are_accepted(device: str) -> None:
    with torch.device(device):
        module = Network()
    old = stored("norm.num_batches_tracked")
    full = stored(position_ids=torch.arange(4), **{"norm.num_batches_tracked": torch.tensor(7)})
    for params in (old, full):
        check_fits(params, module)
    with pytest.raises(OneBasinError, match="only in"):
        check_same_architecture(old, full)
    check_same_architecture(old, full, optional=optional_names(module))
    for params in completed([old, full], module):
        assert params.keys() == module.state_dict().keys()
        assert params["norm.num_batches_tracked"].item() == 7
    (alone,) = completed([old], module)
    assert alone["norm.num_batches_tracked"].item() == 0
    assert with_unsaved(alone, full)["position_ids"] is full["position_ids"]
    assert with_unsaved(alone, full)["norm.bias"] is old["norm.bias"]


def test_a_buffer_of_another_shape_raises() -> None:
    with pytest.raises(OneBasinError, match=r"'position_ids' is \(5,\) in .* but \(4,\) in"):
        check_fits(stored(position_ids=torch.arange(5)), Network())


def test_a_module_is_loaded_without_counters() -> None:
    architecture = build_architecture(f"{__name__}:Network", input_spec="2x3")
    old = stored("norm.num_batches_tracked")
    module = load_module(architecture, old)
    assert torch.equal(module.state_dict()["norm.running_var"], old["norm.running_var"])


@pytest.mark.parametrize("name", ["head.weight", "embed.weight"])
def test_different_values_of_a_tied_tensor_raise(name: str) -> None:
    both: Mapping[str, Tensor] = stored()
    check_fits(both, Network())
    check_fits({**both, name: both[name].clone()}, Network())
    with pytest.raises(OneBasinError, match=r"'embed\.weight' and 'head\.weight' differ in"):
        check_fits({**both, name: both[name] + 1}, Network())


def test_a_prefix_of_the_tensors_is_suggested() -> None:
    params = {f"student.{name}": tensor for name, tensor in stored().items()}
    with pytest.raises(OneBasinError, match="pass key='student' to read only"):
        check_fits({**params, "teacher.weight": torch.ones(1)}, Network())


def parallel() -> nn.Module:
    return nn.DataParallel(nn.Linear(2, 2))


def compiled() -> nn.Module:
    module: nn.Module = torch.compile(parallel())
    return module


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("name", ["parallel", "compiled"])
def test_wrapped_architectures_are_unwrapped(name: str) -> None:
    module = build_architecture(f"{__name__}:{name}", input_spec="2x2").module
    assert type(module) is nn.Linear
    assert not module.training
