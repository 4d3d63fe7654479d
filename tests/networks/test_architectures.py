"""Each network computes what its docstring says: shapes, and oracles written out by hand."""

import pytest
import torch
import torch.nn.functional as F

from onebasin.networks import MLP, VGG, ResNet, ResNet20, ShallowCNN, VisionTransformer
from onebasin.networks.layers import ChannelNorm, Convolution
from onebasin.networks.vit import Attention


def shapes(network, dim=4):
    return [tuple(p.shape) for p in network.parameters() if p.dim() == dim]


def test_the_perceptron_takes_inputs_of_any_shape():
    network = MLP(depth=1, width=5, in_features=12)
    images = torch.randn(4, 3, 2, 2)
    assert torch.equal(network(images), network(images.flatten(1)))


def test_the_channel_norm_is_over_the_channels_of_a_place():
    images = torch.randn(2, 5, 3, 4, dtype=torch.float64)
    norm = ChannelNorm(5).double()
    torch.nn.init.normal_(norm.weight)
    torch.nn.init.normal_(norm.bias)
    for place in [(0, 0), (1, 3), (2, 1)]:
        vectors = images[:, :, place[0], place[1]]
        scaled = (vectors - vectors.mean(1, keepdim=True)) / (
            vectors.var(1, unbiased=False, keepdim=True) + 1e-6
        ).sqrt()
        expected = scaled * norm.weight + norm.bias
        torch.testing.assert_close(norm(images)[:, :, place[0], place[1]], expected)


def test_convolutions_are_drawn_for_relu():
    torch.manual_seed(0)
    convolution = Convolution(64, 128, 3)
    assert convolution.weight.detach().std() == pytest.approx((2 / (64 * 9)) ** 0.5, rel=0.02)
    assert torch.equal(convolution.bias, torch.zeros(128))


def test_the_shallow_cnn_by_hand():
    network = ShallowCNN(depth=4, width=6, in_channels=1, image_size=28)
    assert shapes(network) == [(6, 1, 9, 9), (6, 6, 3, 3), (6, 6, 3, 3), (6, 6, 11, 11)]
    first, second, third, last = network.convolutions
    x = torch.randn(2, 1, 28, 28)
    y = F.relu(F.conv2d(x, first.weight, first.bias, stride=2, padding=1))
    y = F.relu(F.conv2d(y, second.weight, second.bias, padding=1))
    y = F.relu(F.conv2d(y, third.weight, third.bias, padding=1))
    y = F.relu(y.flatten(1) @ last.weight.flatten(1).T + last.bias)
    torch.testing.assert_close(network(x), network.output(y))


@pytest.mark.parametrize(("depth", "convolutions"), [(11, 8), (13, 10), (16, 13), (19, 16)])
def test_vgg_has_as_many_layers_as_its_name(depth, convolutions):
    network = VGG(depth=depth, width=2)
    assert len(shapes(network)) == convolutions
    assert len(shapes(network, dim=2)) == 3
    assert convolutions + 3 == depth


def test_the_widths_of_vgg():
    network = VGG(depth=16, width=4, image_size=64, in_channels=1)
    firsts = [stage[0].convolution.out_channels for stage in network.stages]
    assert firsts == [4, 8, 16, 32, 32]
    assert shapes(network, dim=2) == [(32, 32 * 2 * 2), (32, 32), (10, 32)]
    assert VGG(depth=11, width=4, hidden=5).output.in_features == 5


def test_the_normalization_of_vgg():
    biased = {norm: VGG(depth=11, width=2, norm=norm) for norm in ("batch", "layer", "none")}
    has_bias = {n: net.stages[0][0].convolution.bias is not None for n, net in biased.items()}
    assert has_bias == {"batch": False, "layer": False, "none": True}
    assert not list(biased["layer"].buffers()) and not list(biased["none"].buffers())


@pytest.mark.parametrize(("depth", "convolutions"), [(18, 17), (34, 33), (50, 49)])
def test_resnets_have_as_many_layers_as_their_names(depth, convolutions):
    network = ResNet(depth=depth, width=2)
    inner = [name for name, p in network.named_parameters() if p.dim() == 4]
    assert len([name for name in inner if "shortcut" not in name]) == convolutions
    assert network.output.in_features == 2 * 8 * (4 if depth == 50 else 1)
    kernels = {tuple(p.shape[2:]) for n, p in network.named_parameters() if "shortcut.conv" in n}
    assert kernels == {(1, 1)}


def test_the_resnet20_by_hand():
    network = ResNet20(width=2)
    inner = [name for name, p in network.named_parameters() if p.dim() == 4]
    assert len([name for name in inner if "shortcut" not in name]) == 19
    assert [name for name in inner if "shortcut" in name] == [
        "stages.1.0.shortcut.convolution.weight",
        "stages.2.0.shortcut.convolution.weight",
    ]
    assert network.stages[2][0].shortcut.convolution.weight.shape == (128, 64, 3, 3)
    assert isinstance(network.stages[2][0].shortcut.norm, ChannelNorm)
    assert [stage[0].first.convolution.out_channels for stage in network.stages] == [32, 64, 128]


def test_a_residual_block_by_hand():
    block = ResNet(depth=18, width=3).eval().stages[1][0]
    x = torch.randn(2, 3, 8, 8)

    def convolved(part, images):
        layer = part.convolution
        return part.norm(F.conv2d(images, layer.weight, stride=layer.stride, padding=layer.padding))

    inner = F.relu(convolved(block.first, x))
    expected = F.relu(convolved(block.second, inner) + convolved(block.shortcut, x))
    assert expected.shape == (2, 6, 4, 4)
    torch.testing.assert_close(block(x), expected)


def test_attention_is_that_of_torch():
    torch.manual_seed(0)
    attention = Attention(12, 3).double()
    other = torch.nn.MultiheadAttention(12, 3, batch_first=True).double()
    with torch.no_grad():
        other.in_proj_weight.copy_(attention.inputs.weight)
        other.in_proj_bias.copy_(attention.inputs.bias)
    other.out_proj.load_state_dict(attention.output.state_dict())
    x = torch.randn(2, 5, 12, dtype=torch.float64)
    torch.testing.assert_close(attention(x), other(x, x, x, need_weights=False)[0])


def test_the_places_of_the_transformer():
    network = VisionTransformer(depth=1, width=6, patch_size=4, image_size=12, in_channels=1)
    assert network.positions.weight.shape == (9, 6)
    assert network.blocks[0].hidden.out_features == 24
    images = torch.randn(2, 1, 12, 12)
    moved = images.clone()
    moved[:, :, :4, :4], moved[:, :, 4:8, 8:] = images[:, :, 4:8, 8:], images[:, :, :4, :4]
    assert not torch.allclose(network(images), network(moved))
    torch.nn.init.zeros_(network.positions.weight)
    torch.testing.assert_close(network(images), network(moved))
