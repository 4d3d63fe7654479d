"""A command and its function do the same, option by option."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest

import onebasin
from onebasin import api
from tests.cli.run import TINY, WIDTH, succeed

pytestmark = pytest.mark.filterwarnings("ignore::onebasin.OneBasinWarning")

SIZES = {"arch_args": {"width": WIDTH, "depth": 2}}
DIGITS = ("--data", "digits")

NETWORKS: list[tuple[tuple[Any, ...], dict[str, Any]]] = [
    ((), {}),
    (("--seed", 3), {"seed": 3}),
    (("--no-verify",), {"verify": False}),
    (("--method", "frank-wolfe"), {"method": "frank-wolfe"}),
    (("--method-arg", "max_sweeps=1"), {"max_sweeps": 1}),
    (("--restarts", 3), {"restarts": 3}),
    (
        ("--method", "frank-wolfe", "--init", "weights"),
        {"method": "frank-wolfe", "init": "weights"},
    ),
    (DIGITS, {"data": "digits"}),
    (
        (*DIGITS, "--max-train-examples", 100, "--max-test-examples", 50, "--seed", 2),
        {
            "data": onebasin.DataSource("digits", max_train_examples=100, seed=2),
            "max_test_examples": 50,
            "seed": 2,
        },
    ),
    (
        (*DIGITS, "--normalize", "none", "--no-evaluate"),
        {"data": onebasin.DataSource("digits", normalize="none"), "evaluate": False},
    ),
    (("--input", "4x64"), {"example_inputs": "4x64"}),
    (("--key", "."), {"key": "."}),
]
MERGES: list[tuple[tuple[Any, ...], dict[str, Any]]] = [
    *NETWORKS,
    (("--weights", "0.7,0.3"), {"weights": [0.7, 0.3]}),
    (("--no-align",), {"align": False}),
    ((*DIGITS, "--repair", "none"), {"data": "digits", "repair": "none"}),
    ((*DIGITS, "--repair", "rescale"), {"data": "digits", "repair": "rescale"}),
    ((*DIGITS, "--repair", "refit"), {"data": "digits", "repair": "refit"}),
]


def plain(value: Any) -> Any:
    """Return a result without durations, paths and words that only a command has."""
    if isinstance(value, dict):
        left_out = ("seconds", "command", "inputs", "output", "permutations", "files")
        return {key: plain(each) for key, each in value.items() if key not in left_out}
    return [plain(each) for each in value] if isinstance(value, list | tuple) else value


def check(capsys: Any, result: Any, *command: Any) -> None:
    ran = succeed(capsys, *command, *TINY, "--json")
    assert plain(ran.data) == plain(result.to_json())


@pytest.mark.parametrize(("options", "keywords"), NETWORKS, ids=lambda each: str(each)[:40])
def test_align(capsys: Any, tmp_path: Path, a: Path, b: Path, options: Any, keywords: Any) -> None:
    files = [tmp_path / f"{name}.safetensors" for name in ("function", "p", "command", "q")]
    out, permutation, other_out, other_permutation = files
    result = onebasin.align(
        "mlp", a, b, output=out, save_permutation=permutation, **SIZES, **keywords
    )
    command = ("align", "mlp", a, b, "-o", other_out, "--save-permutation", other_permutation)
    check(capsys, result, *command, *options)
    assert out.read_bytes() == other_out.read_bytes()
    assert permutation.read_bytes() == other_permutation.read_bytes()


@pytest.mark.parametrize(("options", "keywords"), MERGES, ids=lambda each: str(each)[:40])
def test_merge(capsys: Any, tmp_path: Path, a: Path, b: Path, options: Any, keywords: Any) -> None:
    out, other_out = tmp_path / "function.safetensors", tmp_path / "command.safetensors"
    result = onebasin.merge("mlp", [a, b], output=out, **SIZES, **keywords)
    check(capsys, result, "merge", "mlp", a, b, "-o", other_out, *options)
    assert out.read_bytes() == other_out.read_bytes()


@pytest.mark.parametrize(
    ("options", "keywords"),
    [
        ((), {"align": True}),
        (("--no-align", "--split", "test"), {"split": "test"}),
        (("--no-align", "--normalization", "repair"), {"normalization": "repair"}),
        (("--no-align", "--baseline", "mean"), {"baseline": "mean"}),
        (("--method", "activations"), {"align": True, "method": "activations"}),
    ],
)
def test_barrier(
    capsys: Any, tmp_path: Path, a: Path, b: Path, options: Any, keywords: Any
) -> None:
    tables = [tmp_path / "function.csv", tmp_path / "command.csv"]
    function = {"num_points": 3, "save": tables[0], **SIZES, **keywords}
    result = onebasin.barrier("mlp", a, b, "digits", **function)
    command = ("barrier", "mlp", a, b, *DIGITS, "--num-points", 3, "--save", tables[1])
    check(capsys, result, *command, *options)
    assert tables[0].read_bytes() == tables[1].read_bytes()


def test_the_other_measurements(capsys: Any, tmp_path: Path, a: Path, b: Path) -> None:
    names = [str(a), str(b)]
    check(
        capsys, onebasin.evaluate("mlp", names, "digits", **SIZES), "evaluate", "mlp", a, b, *DIGITS
    )
    features = api.compare_features("mlp", a, b, "digits", **SIZES)
    check(capsys, features, "compare-features", "mlp", a, b, *DIGITS, "-o", tmp_path / "features")
    check(capsys, onebasin.inspect("mlp", verify=True, **SIZES), "inspect", "mlp", "--verify")
    plane = api.plane("mlp", names, "digits", num_points=3, **SIZES)
    picture = tmp_path / "plane.png"
    options = ("--num-points", 3, "-o", picture)
    check(capsys, plane, "plane", "mlp", a, b, *DIGITS, *options)


@pytest.mark.parametrize(
    ("function", "command"),
    [("align", "align"), ("merge", "merge"), ("barrier", "barrier"), ("evaluate", "evaluate")],
)
def test_defaults_are_those_of_the_command(function: str, command: str) -> None:
    from onebasin.cli.app import create_app

    declared = next(
        each.callback
        for each in create_app().registered_commands
        if each.callback.__name__ == command
    )
    options = inspect.signature(declared).parameters
    parameters = inspect.signature(getattr(onebasin, function)).parameters
    shared = [name for name in parameters if name in options and name not in ("data", "output")]
    differing = {"align"} if function == "barrier" else set()  # the command also aligns
    assert len(shared) > 5
    for name in shared:
        if name not in differing:
            default = options[name].default
            assert parameters[name].default in (default, "auto" if default is None else default), (
                name
            )
