import pytest
import torch
from torch import nn

from onebasin import build_architecture
from onebasin.errors import OneBasinError, check_choice
from onebasin.networks import NETWORKS, build_network
from onebasin.networks.layers import Norm, ResidualNorm
from tests.networks.cases import CASES, LIGHT, small


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_is_an_architecture_of_the_command_line(name):
    arguments = [f"{key}={value}" for key, value in small(name).items()]
    architecture = build_architecture(name, arch_args=[*arguments, "num_classes=7"])
    (inputs,) = architecture.example_args
    assert architecture.module(inputs).shape == (2, 7)
    assert inputs.shape[1:] == architecture.module.input_shape


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32), (1, 8, 8)])
def test_networks_are_fitted_to_data(name, shape):
    arguments = {key: value for key, value in small(name).items() if key != "image_size"}
    with torch.device("meta"):
        network = build_network(name, input_shape=shape, num_classes=4, **arguments)
        assert network(torch.empty(2, *shape)).shape == (2, 4)


@pytest.mark.parametrize("case", CASES)
def test_every_module_with_parameters_draws_them(case):
    name, arguments = CASES[case]
    for module in build_network(name, **arguments).modules():
        if next(module.parameters(recurse=False), None) is not None:
            assert callable(getattr(module, "reset_parameters", None)), type(module)


@pytest.mark.parametrize("case", LIGHT)
def test_weights_are_the_seeds(case):
    from onebasin_studies.training.stacks import initialized

    name, arguments = CASES[case]
    network = build_network(name, **arguments)
    first, again, other = (initialized(network, seed) for seed in (1, 1, 2))
    weights = {n: p for n, p in first.named_parameters() if p.dim() > 1}
    for key, weight in weights.items():
        assert torch.equal(weight, again.get_parameter(key))
        assert not torch.equal(weight, other.get_parameter(key))


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("shallow-cnn", {"depth": 8}),
        ("vgg16", {"norm": "none"}),
        ("vgg19", {"norm": "layer"}),
        ("resnet18", {"norm": "batch"}),
        ("resnet20", {"width": 0.5}),
        ("vit", {"width": 24}),
    ],
)
def test_the_signal_of_deep_fresh_networks_neither_vanishes_nor_explodes(name, arguments):
    torch.manual_seed(0)
    network = build_network(name, **{"width": 16, **arguments}).train()
    outputs = network(torch.randn(8, 3, 32, 32)).detach()
    assert 2e-3 < float((outputs - outputs.mean(0)).std()) < 5


def test_unknown_names_list_the_known_ones():
    with pytest.raises(OneBasinError, match="network: unknown 'lenet'; known are mlp, shallow-cnn"):
        build_network("lenet")


@pytest.mark.parametrize(
    ("name", "arguments", "text"),
    [
        ("mlp", {"width": 0}, "^mlp: width is 0; it must be a whole number of at least 1$"),
        ("mlp", {"depth": -1}, "^mlp: depth is -1; it must be a whole number of at least 0$"),
        ("shallow-cnn", {"depth": 1}, "^shallow-cnn: depth is 1; .* at least 2$"),
        ("shallow-cnn", {"image_size": 6}, "^shallow-cnn: image_size is 6; .* at least 7$"),
        ("vgg11", {"width": 0}, "^vgg11: width is 0"),
        ("vgg11", {"input_shape": (4,)}, r"^vgg11: inputs are \(4,\), but it takes square images"),
        ("vit", {"input_shape": (3, 8, 6)}, r"^vit: inputs are \(3, 8, 6\), but it takes square"),
        ("vit", {"num_heads": 5}, "^vit: width is 192 and num_heads 5; width must be a multiple"),
        ("vit", {"image_size": 30}, "^vit: image_size is 30 and patch_size 4; .* multiple of pat"),
        ("resnet20", {"width": 0.3}, r"^resnet20: width is 0\.3; it must be a factor that makes"),
        ("resnet20", {"width": 0}, "^resnet20: width is 0; it must be a factor"),
        ("resnet18", {"widht": 3}, r"^resnet18: cannot be built with \(widht=3\): .*'widht'"),
    ],
)
def test_bad_arguments_are_named(name, arguments, text):
    with pytest.raises(OneBasinError, match=text):
        build_network(name, **arguments)


@pytest.mark.parametrize(
    ("kinds", "text"),
    [
        (Norm, "^norm is 'group'; it must be 'batch' or 'layer' or 'none'"),
        (ResidualNorm, "^norm is 'group'; it must be 'batch' or 'layer'$"),
    ],
)
def test_unknown_normalization_is_rejected(kinds, text):
    with pytest.raises(OneBasinError, match=text):
        check_choice("norm", "group", kinds)


def test_networks_made_for_other_images_say_so():
    network = build_network("shallow-cnn", width=2, image_size=28)
    with pytest.raises(OneBasinError, match=r"shallow-cnn: was built for images of .*28, 28"):
        network(torch.zeros(1, 3, 32, 32))


def test_no_network_changes_its_input():
    for name, arguments in (CASES[case] for case in LIGHT):
        network: nn.Module = build_network(name, **arguments)
        inputs = torch.randn(3, *network.input_shape)
        kept = inputs.clone()
        network(inputs)
        assert torch.equal(inputs, kept), name
