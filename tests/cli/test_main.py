import contextlib
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import onebasin
from onebasin.checkpoints.save import TORCH_OUTPUT_SUFFIXES
from onebasin.cli.main import main
from tests.cli.run import TINY, fail, run, succeed

COMMANDS = ("demo", "inspect", "align", "merge", "barrier")
SOURCE = Path(onebasin.__file__).parent.parent


def python(code: str, **environment) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(SOURCE), **environment},
    )


def test_without_a_command_it_lists_the_commands(capsys):
    out = succeed(capsys).out
    assert all(re.search(rf"^  {command} ", out, re.MULTILINE) for command in COMMANDS)
    assert out == succeed(capsys, "--help").out


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_examples_and_the_options_of_all(capsys, command):
    out = succeed(capsys, command, "--help").out
    assert f"onebasin {command} " in out.split("Example", 1)[1]
    assert all(option in out for option in ("--json", "--seed", "--quiet"))


def test_help_describes_checkpoints_and_seeds(capsys):
    out = " ".join(succeed(capsys, "align", "--help").out.split())
    assert all(suffix in out for suffix in (*TORCH_OUTPUT_SUFFIXES, ".safetensors"))
    assert ".safetensors file that train, align, merge or demo wrote" in out
    assert "Use N training examples, drawn at random with --seed" in out
    train = " ".join(succeed(capsys, "train", "--help").out.split())
    assert "All seeds use the same examples" in train
    assert "with --seed." not in train


def test_the_version_is_printed(capsys):
    assert succeed(capsys, "--version").out == f"onebasin {onebasin.__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing"], "No such command 'nothing'; see onebasin --help"),
        (["merge", "--seed", "-1"], "Invalid value for '--seed': '-1'; it must be at least 0; see"),
        (["plane", "--margin", "x"], "Invalid value for '--margin': 'x'; it must be a number; see"),
        (["merge", "--seed", "1.5"], "Invalid value for '--seed': '1.5'; it must be a whole numb"),
        (["merge", "--repair", "x"], "Invalid value for '--repair': 'x' is not one of 'auto',"),
        (["align", "-o", "o"], "Missing argument '[ARCH] A B'; see onebasin align --help"),
        (["align", "mlp", "a", "b"], "Missing option '--output' / '-o'; see onebasin align --help"),
        (["inspect", "mlp", "--fast"], "No such option"),
        (["inspect", "mlp", "--seed", "x"], "Invalid value for '--seed'"),
        (["inspect", "mlp", "--seed", "-1"], "Invalid value for '--seed'"),
        (["barrier", "mlp", "a", "b", "--data", "digits", "--num-points", "1"], "'--num-points'"),
        (["barrier", "mlp", "a", "b", "--data", "digits", "--baseline", "x"], "'--baseline'"),
    ],
)
def test_bad_usage_is_one_line(capsys, arguments, message):
    line = fail(capsys, *arguments)
    assert message in line
    assert " --help" in line


def test_help_does_not_wait_for_torch():
    code = (
        "import sys; from onebasin.cli.main import main; main(['align', '--help']); "
        "print(*sys.modules)"
    )
    loaded = python(code).stdout.split()
    assert "onebasin.cli.app" in loaded
    assert "torch" not in loaded
    assert "matplotlib" not in loaded


def test_ctrl_c_ends_with_130_and_leaves_nothing(capsys, monkeypatch, tmp_path, a, b):
    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr("onebasin.symmetry.Permutation.apply_tensor", interrupted)
    found = run(capsys, "align", "mlp", a, b, "-o", tmp_path / "out.safetensors", *TINY)
    assert (found.code, found.out, found.err) == (130, "", "onebasin: interrupted\n")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.safetensors", "b.safetensors"]


def test_ctrl_c_that_is_swallowed_by_an_import_is_still_ctrl_c(capsys, monkeypatch):
    def swallowing(*args, **kwargs):
        with contextlib.suppress(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        raise AttributeError("module 'numpy' has no attribute 'minimum'")

    monkeypatch.setattr("onebasin.api.inspect", swallowing)
    # Where the tests run in the background of a shell, the signal is ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        found = run(capsys, "inspect", "mlp")
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
    assert (found.code, found.out, found.err) == (130, "", "onebasin: interrupted\n")


def test_ctrl_c_while_the_command_line_is_imported_is_a_line():
    code = """
import builtins, sys
usual = builtins.__import__
def interrupted(name, *args, **kwargs):
    if name == "typer":
        raise KeyboardInterrupt
    return usual(name, *args, **kwargs)
builtins.__import__ = interrupted
from onebasin.__main__ import start
sys.exit(start())
"""
    found = python(code)
    assert (found.returncode, found.stderr) == (130, "onebasin: interrupted\n")


@pytest.mark.parametrize(("given", "policy"), [(None, "PASSIVE"), ("ACTIVE", "ACTIVE")])
def test_idle_threads_sleep_unless_the_environment_says_otherwise(given, policy, monkeypatch):
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    if given is not None:
        monkeypatch.setenv("OMP_WAIT_POLICY", given)
    code = """
import os, sys
import onebasin.__main__
assert "torch" not in sys.modules, "it reads the environment when it is imported"
sys.argv[1:] = ["--version"]
onebasin.__main__.start()
print(os.environ["OMP_WAIT_POLICY"])
"""
    assert python(code).stdout.splitlines()[-1] == policy


def test_a_fault_of_onebasin_is_one_line_too(capsys, monkeypatch):
    def broken(*args, **kwargs):
        raise TypeError("two\nlines")

    monkeypatch.setattr("onebasin.api.inspect", broken)
    monkeypatch.delenv("ONEBASIN_TRACEBACK", raising=False)
    found = run(capsys, "inspect", "mlp")
    assert (found.code, found.out) == (1, "")
    assert found.err.startswith("onebasin: error: TypeError: two lines; an internal error")
    assert found.err.count("\n") == 1
    monkeypatch.setenv("ONEBASIN_TRACEBACK", "1")
    with pytest.raises(TypeError, match="two\nlines"):
        main(["inspect", "mlp"])


def test_a_closed_pipe_is_not_an_error():
    code = (
        "import sys; from onebasin.cli.main import main; "
        "sys.exit(main(['inspect', 'mlp', '--all']))"
    )
    # Stdout is a pipe without a reader.
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-c", code],
        stdout=writer,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, "")


def test_what_a_model_prints_does_not_end_up_in_the_json(capsys, tmp_path, monkeypatch):
    (tmp_path / "chatty.py").write_text(
        "import torch\ndef build():\n    print('building')\n    return torch.nn.Sequential("
        "torch.nn.Linear(3, 4), torch.nn.Linear(4, 2))\n"
    )
    monkeypatch.chdir(tmp_path)
    found = succeed(capsys, "inspect", "chatty:build", "--input", "2x3", "--json")
    assert list(found.data["groups"]) == ["0"]
    assert "building" in found.err


def test_the_package_can_be_run_as_a_module():
    arguments = [sys.executable, "-m", "onebasin", "inspect", "nothing"]
    environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
    done = subprocess.run(arguments, capture_output=True, text=True, env=environment)
    assert done.returncode == 2
    assert done.stderr.startswith("onebasin: error: unknown architecture 'nothing'")


@pytest.mark.parametrize(
    ("arguments", "place"),
    [
        (["train", "mlp", "--data", "digits", "-o", ""], "-o"),
        (["compare-features", "mlp", "a", "b", "--data", "digits", "--output="], "--output"),
        (["align", "mlp", "a", "b", "-o", ""], "-o"),
        (["merge", "mlp", "a", "", "-o", "c.safetensors"], "a"),
        (["barrier", "mlp", "a", "b", "--data", "digits", "--plot", ""], "--plot"),
        (["plane", "mlp", "a", "b", "--data", "digits", "-o", ""], "-o"),
        (["inspect", "mlp", "--save", ""], "--save"),
        (["demo", "--out", ""], "--out"),
        (["study", "run", "llfc", "--out", ""], "--out"),
        ([""], "onebasin"),
    ],
)
def test_empty_arguments_are_refused(capsys, tmp_path, monkeypatch, arguments, place):
    monkeypatch.chdir(tmp_path)
    line = fail(capsys, *arguments)
    assert line.startswith(f"the argument after {place} is empty; give a value")
    assert not any(tmp_path.iterdir())


def test_values_that_end_with_an_equals_sign_are_none_of_them(capsys):
    found = fail(capsys, "inspect", "mlp", "--arch-arg", "width=")
    assert "is empty; give a value" not in found
