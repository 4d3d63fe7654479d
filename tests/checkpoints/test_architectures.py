"""`build_architecture` and `load_module`: built-in architectures, callables and errors."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from onebasin.checkpoints import (
    BUILTIN_ARCHITECTURES,
    MLP,
    BuiltinArchitecture,
    InputSpec,
    build_architecture,
    load_module,
    open_checkpoint,
)
from onebasin.checkpoints._sources.recipe import suggestion
from onebasin.errors import OneBasinError

USER_MODULE = """
import os
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, width=4, bias=True):
        super().__init__()
        import lazily_imported
        self.fc = nn.Linear(3, width, bias=bias)
        self.drop = nn.Dropout()

    def forward(self, x):
        return self.drop(self.fc(x))

    @staticmethod
    def wide():
        return Net(width=9)

def fails():
    raise RuntimeError("no such\\nfile")

def number():
    return 3

ready = nn.Linear(1, 1)
constant = 5
"""


@pytest.fixture
def user_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working folder with modules of a user, which are unloaded afterwards."""
    (tmp_path / "usernets.py").write_text(USER_MODULE)
    (tmp_path / "lazily_imported.py").write_text("")
    (tmp_path / "broken.py").write_text("raise OSError('cannot start')")
    (tmp_path / "needy.py").write_text("import a_package_nobody_has")
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    for name in ("usernets", "lazily_imported", "broken", "needy"):
        sys.modules.pop(name, None)


def test_mlp_by_default() -> None:
    mlp = build_architecture("mlp")
    assert mlp.name == "mlp"
    assert not mlp.module.training
    shapes = {name: tuple(p.shape) for name, p in mlp.module.named_parameters()}
    assert shapes == {
        "layers.0.weight": (512, 64),
        "layers.0.bias": (512,),
        "layers.1.weight": (512, 512),
        "layers.1.bias": (512,),
        "layers.2.weight": (512, 512),
        "layers.2.bias": (512,),
        "layers.3.weight": (10, 512),
        "layers.3.bias": (10,),
    }
    assert mlp.module(*mlp.example_args, **mlp.example_kwargs).shape == (2, 10)


def test_mlp_with_arguments() -> None:
    arguments = ["depth=1", "width=7", "in_features=5", "num_classes=3"]
    mlp = build_architecture("mlp", arch_args=arguments)
    assert [tuple(p.shape) for p in mlp.module.parameters()] == [(7, 5), (7,), (3, 7), (3,)]
    assert mlp.example_args[0].shape == (2, 5)
    linear = build_architecture("mlp", arch_args={"depth": 0})
    assert [tuple(p.shape) for p in linear.module.parameters()] == [(10, 64), (10,)]


def test_outputs_of_the_mlp() -> None:
    mlp = MLP(depth=1, width=3, in_features=2, num_classes=2)
    x = torch.randn(4, 2)
    first, last = mlp.layers
    expected = last.weight @ torch.relu(first.weight @ x.T + first.bias[:, None])
    torch.testing.assert_close(mlp(x), expected.T + last.bias)


def test_the_seed_determines_weights_and_inputs_and_the_global_state_does_not_change() -> None:
    state = torch.random.get_rng_state()
    one, two, other = (build_architecture("mlp", seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), state)
    for name, tensor in one.module.state_dict().items():
        assert torch.equal(tensor, two.module.state_dict()[name])
        assert not torch.equal(tensor, other.module.state_dict()[name])
    assert torch.equal(one.example_args[0], two.example_args[0])
    assert not torch.equal(one.example_args[0], other.example_args[0])


def test_meta_takes_no_memory() -> None:
    mlp = build_architecture("mlp", arch_args={"width": 1 << 20}, device="meta")
    assert all(p.is_meta for p in mlp.module.parameters())
    assert mlp.example_args[0].is_meta
    assert mlp.module(*mlp.example_args).shape == (2, 10)


def test_inputs_can_be_given() -> None:
    mlp = build_architecture("mlp", input_spec="5x64:float64")
    assert mlp.example_args[0].shape == (5, 64)
    assert mlp.example_args[0].dtype == torch.float64
    named = build_architecture("mlp", input_spec="x=3x64")
    assert named.example_args == ()
    assert named.module(**named.example_kwargs).shape == (3, 10)


def test_further_builtin_architectures_are_passed_in() -> None:
    entry = BuiltinArchitecture(lambda: nn.Linear(3, 2), lambda module: (InputSpec((2, 3)),))
    linear = build_architecture("linear", builtin={**BUILTIN_ARCHITECTURES, "linear": entry})
    assert isinstance(linear.module, nn.Linear)
    with pytest.raises(
        OneBasinError, match="unknown architecture 'linear'; known are mlp, resnet18, "
    ):
        build_architecture("linear")


@pytest.mark.parametrize("spec", ["resnet51", "", ":", "torchvision:", ":resnet50"])
def test_an_unknown_name_raises(spec: str) -> None:
    text = (
        rf"^unknown architecture '{spec}'; (did you mean '\w+'\? K|k)nown are mlp, .*, vit, and "
        r"torchvision:NAME, "
        r"timm:NAME, hf:FOLDER, package\.module:callable$"
    )
    with pytest.raises(OneBasinError, match=text):
        build_architecture(spec)


@pytest.mark.parametrize("prefix", ["torchvison", "Torchvision", "tim"])
def test_a_misspelled_prefix_raises(prefix: str) -> None:
    with pytest.raises(OneBasinError, match=r"did you mean '(torchvision|timm):resnet50'\? Known"):
        build_architecture(f"{prefix}:resnet50")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["width"], "arch_args='width': expected KEY=VALUE"),
        (["widht=3"], r"mlp: building it with \(widht=3\) raised TypeError: .*'widht'"),
        (["width=0"], r"mlp: width is 0; it must be a whole number of at least 1"),
        (["width=many"], r"mlp: building it with \(width='many'\) raised Type\w+: "),
    ],
)
def test_invalid_arguments_raise(arguments: list[str], text: str) -> None:
    with pytest.raises(OneBasinError, match=text):
        build_architecture("mlp", arch_args=arguments)


def test_an_invalid_input_raises() -> None:
    with pytest.raises(OneBasinError, match="example_inputs='2y3': expected a shape"):
        build_architecture("mlp", input_spec="2y3")


def test_callable_of_the_current_folder(user_folder: Path) -> None:
    path_before = list(sys.path)
    net = build_architecture("usernets:Net", arch_args=["width=6", "bias=false"], input_spec="2x3")
    assert sys.path == path_before
    assert [tuple(p.shape) for p in net.module.parameters()] == [(6, 3)]
    assert net.name == "usernets:Net"
    assert not net.module.drop.training
    assert net.module(*net.example_args).shape == (2, 6)
    wide = build_architecture("usernets:Net.wide", input_spec="2x3")
    assert wide.module.fc.weight.shape == (9, 3)


def test_callable_of_an_installed_package() -> None:
    arguments = ["in_features=3", "out_features=2"]
    linear = build_architecture("torch.nn:Linear", arch_args=arguments, input_spec="4x3")
    assert linear.module(*linear.example_args).shape == (4, 2)


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        ("absent:Net", r"absent:Net: no module named 'absent'; check the spelling"),
        ("usernets.sub:Net", r"no module named 'usernets.sub'; check|failed"),
        ("needy:Net", r"needy:Net: importing needy needs the module 'a_package_nobody_has'"),
        ("broken:Net", r"broken:Net: importing broken failed \(OSError: cannot start\)"),
        ("usernets:Nett", r"usernets:Nett: usernets has no 'Nett'; did you mean 'Net'\?"),
        ("usernets:torhc", r"usernets has no 'torhc'; known are '(?!torch|nn)"),
        ("torch.nn:Linaer", r"torch.nn has no 'Linaer'; did you mean 'Linear'"),
        ("usernets:Net.wid", r"usernets has no 'Net.wid'; did you mean 'wide'"),
        ("usernets:constant", r"usernets:constant: is of type int, not a callable"),
        ("usernets:ready", r"usernets:ready: is a module; name a callable that builds"),
        ("usernets:number", r"usernets:number: returned int; it must return an nn.Module"),
        ("usernets:fails", r"raised RuntimeError: no such file; .*fix the callable"),
        (
            "usernets:Net",
            r"usernets:Net: has no default input; pass .*example_inputs='2x3x224x224'",
        ),
    ],
)
def test_invalid_callables_raise(user_folder: Path, spec: str, text: str) -> None:
    path_before = list(sys.path)
    with pytest.raises(OneBasinError, match=text) as caught:
        build_architecture(spec)
    assert "\n" not in str(caught.value)
    assert sys.path == path_before


def test_callable_that_needs_values_on_meta(user_folder: Path) -> None:
    (user_folder / "usernets.py").write_text(
        "import torch\ndef net():\n    return torch.nn.Linear(int(torch.tensor(3)), 1)\n"
    )
    build_architecture("usernets:net", input_spec="2x3")
    with pytest.raises(OneBasinError, match=r"raised .* on the meta device; build it on the cpu"):
        build_architecture("usernets:net", input_spec="2x3", device="meta")


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_load_module_returns_a_new_module(tmp_path: Path, device: str) -> None:
    trained = build_architecture("mlp", arch_args=["width=8"], seed=1).module
    save_file(trained.state_dict(), tmp_path / "a.safetensors")
    mlp = build_architecture("mlp", arch_args=["width=8"], device=device)
    before = {name: p.detach().clone() for name, p in mlp.module.named_parameters()}
    with open_checkpoint(tmp_path / "a.safetensors") as checkpoint:
        loaded = load_module(mlp, checkpoint)
    assert loaded is not mlp.module
    assert not loaded.training
    for name, tensor in trained.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor)
    with torch.no_grad():
        loaded.layers[0].weight.zero_()
    for name, tensor in mlp.module.named_parameters():
        assert tensor.is_meta if device == "meta" else torch.equal(tensor, before[name])
    with open_checkpoint(tmp_path / "a.safetensors") as checkpoint:
        assert torch.equal(checkpoint["layers.0.weight"], trained.layers[0].weight)


def test_load_module_keeps_the_dtype_of_the_module() -> None:
    mlp = build_architecture("mlp", arch_args=["width=8"])
    half = {name: tensor.half() for name, tensor in mlp.module.state_dict().items()}
    loaded = load_module(mlp, half)
    for name, tensor in loaded.state_dict().items():
        assert tensor.dtype == torch.float32
        assert torch.equal(tensor, half[name].float())


def test_load_module_raises_for_other_shapes() -> None:
    mlp = build_architecture("mlp", arch_args=["width=8"])
    params = dict(mlp.module.state_dict())
    del params["layers.0.bias"]
    with pytest.raises(
        OneBasinError, match=r"^load_module: 1 tensor missing in the parameters \('layers\.0\.bias'"
    ):
        load_module(mlp, params)


def test_no_files_are_written_to_the_working_folder(user_folder: Path) -> None:
    before = set(os.listdir(user_folder))
    build_architecture("mlp")
    assert set(os.listdir(user_folder)) == before


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        ("small_models:Small_Net", "did you mean 'SmallNet'"),
        ("small_models.py:SmallNet", "not a file; write small_models:SmallNet and run in the fol"),
        ("nets/small.py:Net", "not a file; write nets.small:Net and run in the folder"),
        ("mpl", r"^unknown architecture 'mpl'; did you mean 'mlp'\? Known are mlp, "),
    ],
)
def test_similar_names_are_suggested(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spec: str, text: str
) -> None:
    code = "from torch import nn\nclass SmallNet(nn.Linear): pass\nsmall = 3\n"
    (tmp_path / "small_models.py").write_text(code)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OneBasinError, match=text):
        build_architecture(spec, input_spec="2x3")


def test_suggestions_ignore_the_case() -> None:
    assert suggestion("Cnn", ["nn", "torch", "CNN"]) == "did you mean 'CNN' or 'nn'?"
    assert suggestion("cnn", ["Cnn", "CNN"]) == "did you mean 'Cnn' or 'CNN'?"


def test_an_unknown_device_raises() -> None:
    with pytest.raises(OneBasinError, match="device is 'gpu'; it must be a device of torch"):
        build_architecture("mlp", device="gpu")
