"""Everything a user may hand over that cannot be used: one line, exit code 2, inputs untouched."""

import pickle

import pytest
import torch
from safetensors.torch import save_file

from tests.cli.run import TINY, fail, network, write


def spoiled(name: str, change) -> dict[str, torch.Tensor]:
    """A network with one tensor replaced by a function of it; None removes it."""
    params = network(1)
    tensor = change(params.pop(name))
    return params if tensor is None else {**params, name: tensor}


def with_value(value: float):
    def change(tensor):
        tensor = tensor.clone()
        tensor.view(-1)[3] = value
        return tensor

    return change


@pytest.fixture(params=["align", "merge"])
def refuse(request, capsys, tmp_path, a):
    """Run a command on A and a bad B; check that it left everything as it was."""

    def check(b, *options) -> str:
        before = {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
        out = tmp_path / "out.safetensors"
        options = options or TINY
        line = fail(capsys, request.param, "mlp", a, b, "-o", out, *options)
        after = {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
        assert after == before
        return line

    return check


BAD_TENSORS = {
    "nan": ("layers.1.weight", with_value(torch.nan), "has 1 NaN among its 36 elements; use"),
    "inf": ("layers.1.bias", with_value(torch.inf), "has 1 Inf among its 6 elements; use"),
    "shape": (
        "layers.1.weight",
        lambda t: t[:, :5],
        "is (6, 5) in {b} but (6, 6) in the architecture; check the architecture's name",
    ),
    "missing": (
        "layers.1.bias",
        lambda t: None,
        "1 tensor missing in {b} ('layers.1.bias'); check",
    ),
    "integer": (
        "layers.1.weight",
        lambda t: t.long(),
        "is int64 in {b} but floating-point in the architecture; convert",
    ),
    "complex": ("layers.1.weight", lambda t: t.to(torch.complex64), "complex64"),
}


@pytest.mark.parametrize("case", BAD_TENSORS)
def test_a_bad_tensor(refuse, tmp_path, case):
    name, change, message = BAD_TENSORS[case]
    b = write(tmp_path / "b.safetensors", spoiled(name, change))
    line = refuse(b)
    assert str(b) in line
    assert repr(name) in line
    assert message.format(b=b) in line


def test_an_extra_tensor(refuse, tmp_path):
    b = write(tmp_path / "b.safetensors", {**network(1), "head.weight": torch.zeros(2)})
    assert f"1 tensor unexpected in {b} ('head.weight'); check the arch" in refuse(b)


def test_another_architecture(refuse, tmp_path):
    b = write(tmp_path / "b.safetensors", network(1, width=8))
    line = refuse(b)
    assert f"tensor 'layers.0.bias' is (8,) in {b} but (6,) in the architecture; check" in line


def test_the_wrong_arch_arg_for_both(refuse, tmp_path):
    b = write(tmp_path / "b.safetensors", network(1))
    line = refuse(b, "--arch-arg", "width=9", "--arch-arg", "depth=2")
    assert "but (9,) in the architecture; check the architecture's name and arguments" in line


def test_a_truncated_file(refuse, tmp_path):
    b = write(tmp_path / "b.safetensors", network(1))
    b.write_bytes(b.read_bytes()[:-100])
    line = refuse(b)
    assert line.startswith(f"{b}: truncated, corrupt or not a safetensors file")
    assert "copy or download it again" in line


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
@pytest.mark.parametrize("content", [b"", b"not a checkpoint at all, but some text"])
def test_a_file_of_something_else(refuse, tmp_path, suffix, content):
    b = tmp_path / f"b{suffix}"
    b.write_bytes(content)
    line = refuse(b)
    assert line.startswith(f"{b}: ")
    assert "copy or download it again" in line


def test_a_pickle_that_is_not_plain_tensors(refuse, tmp_path):
    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / "sprung"), "w"))

    b = tmp_path / "b.pt"
    b.write_bytes(pickle.dumps({"layers.0.weight": Trap()}))
    assert refuse(b).startswith(f"{b}: ")
    torch.save({"layers.0.weight": Trap()}, b)
    assert refuse(b).startswith(f"{b}: ")
    assert not (tmp_path / "sprung").exists()


def test_a_checkpoint_without_tensors(refuse, tmp_path):
    b = tmp_path / "b.safetensors"
    save_file({}, b)
    assert refuse(b).startswith(f"{b}: holds no tensors; save a model's state dict there")


def test_the_same_network_twice(refuse, tmp_path, a):
    assert f"{a} is given twice" in refuse(a)
    b = write(tmp_path / "b.safetensors", network(0))
    line = refuse(b)
    assert str(a) in line
    assert str(b) in line
    assert "hold the same tensors" in line
    assert "give independently trained networks" in line


def test_a_missing_file(refuse, tmp_path):
    b = tmp_path / "nothing.safetensors"
    assert refuse(b) == f"{b}: no such file or folder; check the path"


def test_an_unknown_kind_of_file(refuse, tmp_path):
    b = tmp_path / "b.xyz"
    b.write_bytes(b"x")
    assert f"{b}: unknown kind of checkpoint '.xyz'; expected .safetensors" in refuse(b)


ARCHITECTURES = {
    "unknown": (["nonsense"], "unknown architecture 'nonsense'; known are mlp, resnet18, "),
    "misspelt": (["torchvison:resnet18"], "did you mean 'torchvision:resnet18'?"),
    "no such model": (["torchvision:resnet19"], "did you mean 'resnet18'"),
    "no module": (["no_such_module:build"], "no module named 'no_such_module'"),
    "not callable": (["math:pi"], "is of type float, not a callable"),
    "argument": (["mlp", "--arch-arg", "width"], "expected KEY=VALUE with a name before the '='"),
    "unknown argument": (["mlp", "--arch-arg", "depht=2"], "depht"),
    "input": (["mlp", "--input", "two"], "--input two: expected a shape such as 2x3x224x224"),
    "no input": (["torch.nn:Identity"], "pass the shapes of its inputs"),
    "empty": (["torch.nn:Identity", "--input", "2x3"], "has no parameters; pass a model"),
}


@pytest.mark.parametrize("case", ARCHITECTURES)
def test_an_architecture_that_cannot_be_had(capsys, case):
    arguments, message = ARCHITECTURES[case]
    assert message in fail(capsys, "inspect", *arguments)


BROKEN = """
import torch

class Broken(torch.nn.Linear):
    def forward(self, x):
        raise KeyError("no such\\nlayer")

class Branching(torch.nn.Linear):
    def forward(self, x):
        return super().forward(x if x.sum() > 0 else -x)

def fails():
    raise RuntimeError("two\\nlines")

def returns_none():
    return None

def broken():
    return Broken(3, 3)

def branching():
    return Branching(3, 3)
"""


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("fails", "raised RuntimeError: two lines; check --arch-arg"),
        ("fails", "broken_models:fails: fails() in "),
        ("fails", "broken_models.py, line 13, raised "),
        ("returns_none", "returned NoneType; it must return an nn.Module"),
        ("broken", "no such"),
        ("branching", "broken_models.py"),
        ("other", "broken_models has no 'other'"),
    ],
)
def test_a_callable_that_fails(capsys, tmp_path, monkeypatch, function, message):
    (tmp_path / "broken_models.py").write_text(BROKEN)
    monkeypatch.chdir(tmp_path)
    line = fail(capsys, "inspect", f"broken_models:{function}", "--input", "2x3")
    assert message in line


def test_an_output_that_cannot_be_written(capsys, tmp_path, a, b):
    def refused(out):
        before = {path: path.read_bytes() for path in (a, b)}
        line = fail(capsys, "align", "mlp", a, b, "-o", out, *TINY)
        assert {path: path.read_bytes() for path in (a, b)} == before
        return line

    assert "does not exist; create it first" in refused(tmp_path / "no" / "out.safetensors")
    assert "unknown kind of output '.onnx'" in refused(tmp_path / "out.onnx")
    assert "which is never replaced; choose another output" in refused(a)
    assert "which is never replaced; choose another output" in refused(b)
    folder = tmp_path / "full"
    folder.mkdir()
    (folder / "something").write_text("")
    assert "the folder is not empty" in refused(folder)
    (tmp_path / "file").write_text("")
    inside = tmp_path / "file" / "out.safetensors"
    assert refused(inside).startswith(f"{inside}: {tmp_path / 'file'} is a file, not a folder; ")


def test_a_link_to_an_input_is_that_input(capsys, tmp_path, a, b):
    link = tmp_path / "link.safetensors"
    link.symlink_to(a)
    kept = a.read_bytes()
    assert "which is never replaced" in fail(capsys, "merge", "mlp", a, b, "-o", link, *TINY)
    assert a.read_bytes() == kept


def test_a_permutation_that_cannot_be_written(capsys, tmp_path, a, b):
    out = tmp_path / "out.safetensors"
    arguments = ("align", "mlp", a, b, "-o", out, *TINY, "--save-permutation")
    assert "does not exist; create it first" in fail(capsys, *arguments, tmp_path / "no" / "p")
    assert "which is never replaced" in fail(capsys, *arguments, a)
    assert "cannot hold both the network and the permutation" in fail(capsys, *arguments, out)
    assert "a permutation is written as .safetensors" in fail(
        capsys, *arguments, tmp_path / "p.txt"
    )
    assert not out.exists()


@pytest.mark.parametrize("command", ["align", "merge"])
def test_an_existing_output_stays_where_the_run_fails(capsys, tmp_path, a, command):
    out = tmp_path / "out.safetensors"
    out.write_bytes(b"precious")
    b = write(tmp_path / "b.safetensors", spoiled("layers.1.weight", with_value(torch.nan)))
    fail(capsys, command, "mlp", a, b, "-o", out, *TINY)
    assert out.read_bytes() == b"precious"


def test_barrier_refuses_what_the_others_refuse(capsys, tmp_path, a):
    b = write(tmp_path / "b.safetensors", spoiled("layers.1.weight", with_value(torch.nan)))
    assert f"{b}: tensor 'layers.1.weight' has 1 NaN" in fail(
        capsys, "barrier", "mlp", a, b, "--data", "digits", *TINY
    )
