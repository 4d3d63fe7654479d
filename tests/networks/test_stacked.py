"""Many networks at once: `functional_call` under `vmap` does what a loop does."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch.func import functional_call, grad_and_value, stack_module_state, vmap

from onebasin.networks import build_network
from tests.networks.cases import CASES, LIGHT

SHARED = ("mlp", "resnet18-batch", "vgg11-layer", "vit")


@pytest.mark.parametrize(
    ("case", "shared"),
    [*((case, False) for case in LIGHT if "50" not in case), *((case, True) for case in SHARED)],
)
def test_a_training_step_of_a_stack_is_that_of_each(case, shared):
    name, arguments = CASES[case]
    torch.manual_seed(0)
    networks = [build_network(name, **arguments).double().train() for _ in range(2)]
    inputs = torch.randn(2, 6, *networks[0].input_shape, dtype=torch.float64)
    labels = torch.randint(0, 10, (2, 6))
    if shared:
        inputs, labels = inputs[:1].expand_as(inputs), labels[:1].expand_as(labels)
    params, buffers = stack_module_state([copy.deepcopy(network) for network in networks])

    def loss(own_params, own_buffers, batch, classes):
        outputs = functional_call(networks[0], (own_params, own_buffers), (batch,))
        return F.cross_entropy(outputs, classes)

    batch = (inputs[0], labels[0]) if shared else (inputs, labels)
    in_dims = (0, 0, None, None) if shared else (0, 0, 0, 0)
    gradients, losses = vmap(grad_and_value(loss), in_dims)(params, buffers, *batch)

    for row, network in enumerate(networks):
        expected = F.cross_entropy(network(inputs[row]), labels[row])
        expected.backward()
        torch.testing.assert_close(losses[row], expected.detach())
        for key, parameter in network.named_parameters():
            torch.testing.assert_close(gradients[key][row], parameter.grad)
        for key, buffer in network.named_buffers():
            torch.testing.assert_close(buffers[key][row], buffer)


def test_running_statistics_of_a_stack_do_move():
    name, arguments = CASES["resnet18-batch"]
    networks = [build_network(name, **arguments).train() for _ in range(2)]
    params, buffers = stack_module_state(networks)
    kept = {key: buffer.clone() for key, buffer in buffers.items()}
    inputs = torch.randn(2, 6, *networks[0].input_shape)
    vmap(lambda p, b, x: functional_call(networks[0], (p, b), (x,)))(params, buffers, inputs)
    for key, buffer in buffers.items():
        assert not torch.equal(buffer[0], kept[key][0]), key
        assert buffer.ndim == 1 or not torch.equal(buffer[0], buffer[1]), key
