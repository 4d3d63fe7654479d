"""`--method`, its options and its data."""

import inspect
from dataclasses import replace
from typing import get_type_hints

import pytest
import torch

from onebasin import infer_symmetry
from onebasin.api._matchers import MethodOptions, checked_name, joined_options
from onebasin.checkpoints._arguments import parse_arguments
from onebasin.data.data import Data
from onebasin.data.datasets import load_digits
from onebasin.errors import OneBasinError
from onebasin.graph.batches import Batches
from onebasin.matching import match_combined, match_straight_through
from onebasin.matching.registry import MATCHERS
from onebasin.networks import MLP
from tests.cli.run import TINY, fail, network, outputs, read, succeed, write

ALIGN = ("align", "mlp")
QUICK = dict.fromkeys(("annealing", "annealing-many"), ("--method-arg", "steps=50"))
REFUSED = {
    "exhaustive": ("limit", ("--method-arg", "limit=1000")),
}
"""What methods say that cannot match these networks."""

SCALES_UNITS = ("rotations", "rotations-many", "learned")
"""Methods that multiply weights by numbers, which are rounded."""


def test_activations_move_b_to_a_on_data(capsys, tmp_path, a, b):
    out = tmp_path / "out.safetensors"
    options = ("--method", "activations", "--data", "digits", "--json")
    found = succeed(capsys, *ALIGN, a, b, "-o", out, *options, *TINY)
    assert found.data["matching"]["method"] == "activations"
    first, last = found.data["matching"]["objective"]
    assert last > first
    torch.testing.assert_close(outputs(read(out)), outputs(network(1)), atol=1e-12, rtol=0)
    assert not torch.equal(read(out)["layers.0.weight"], network(1)["layers.0.weight"])


@pytest.mark.parametrize("method", [name for name in MATCHERS if name not in REFUSED])
def test_every_method_moves_b_and_keeps_what_it_computes(capsys, tmp_path, a, b, method):
    out = tmp_path / "out.safetensors"
    data = ("--data", "digits") if MATCHERS[method].uses_data == "required" else ()
    succeed(
        capsys,
        *ALIGN,
        a,
        b,
        "-o",
        out,
        "--method",
        method,
        *data,
        *QUICK.get(method, ()),
        "-q",
        *TINY,
    )
    atol = 1e-5 if method in SCALES_UNITS else 1e-12
    torch.testing.assert_close(outputs(read(out)), outputs(network(1)), atol=atol, rtol=0)


@pytest.mark.parametrize("method", REFUSED)
def test_a_method_for_other_networks_says_so(capsys, tmp_path, a, b, method):
    out = tmp_path / "out.safetensors"
    message, options = REFUSED[method]
    assert message in fail(capsys, *ALIGN, a, b, "-o", out, "--method", method, *options, *TINY)
    assert not out.exists()


def test_the_method_is_printed(capsys, tmp_path, a, b):
    found = succeed(capsys, *ALIGN, a, b, "-o", tmp_path / "out.safetensors", *TINY)
    assert "\nweights: objective " in found.out


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("weigths", "unknown method 'weigths'; did you mean weights? Known are: weights, act"),
        ("zipit", "'zipit' is not a matching method of onebasin: ZipIt! merges units within"),
        ("repair", "'repair' is not a matching method of onebasin: REPAIR corrects statistics"),
    ],
)
def test_near_and_foreign_names_are_answered(capsys, tmp_path, a, b, name, answer):
    line = fail(capsys, *ALIGN, a, b, "-o", tmp_path / "o.safetensors", "--method", name, *TINY)
    assert answer in line


def test_names_from_papers_select_the_method(capsys, tmp_path, a, b):
    out = tmp_path / "out.safetensors"
    found = succeed(capsys, *ALIGN, a, b, "-o", out, "--method", "git-rebasin", *TINY)
    assert "\nweights: objective " in found.out


@pytest.mark.parametrize("command", ["align", "merge"])
def test_an_unknown_method_lists_the_known(capsys, tmp_path, a, b, command):
    out = tmp_path / "out.safetensors"
    line = fail(capsys, command, "mlp", a, b, "-o", out, "--method", "nonsense", *TINY)
    assert line.startswith(f"{command}: unknown method 'nonsense'; known are: weights, activat")
    assert len(line) < 300


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--method", "activations"], "method activations needs data; pass --data"),
        (
            ["--method", "sinkhorn", "--method-arg", "objective=path"],
            "align: method sinkhorn with objective=path needs data; pass --data, such",
        ),
        (
            ["--method", "exhaustive", "--method-arg", "objective=loss"],
            "align: method exhaustive with objective=loss needs data; pass --data, such",
        ),
        (
            ["--method-arg", "sweeps=3"],
            "method weights has no option 'sweeps'; options and defaults: max_sweeps"
            "=100, restarts=1, cache_bytes=",
        ),
        (["--method-arg", "seed=3"], "method weights has no option 'seed'"),
        (["--method-arg", "sweeps"], "--method-arg sweeps: expected KEY=VALUE"),
        (
            ["--method-arg", "max_sweeps=no"],
            "invalid value 'no' for option max_sweeps of method weights; expected an integer",
        ),
        (
            ["--method-arg", "max_sweeps=0"],
            "max_sweeps is 0; it must be a whole number of at least 1",
        ),
        (
            ["--method", "activations", "--data", "digits", "--restarts", "2"],
            "method activations has no option 'restarts'",
        ),
        (["--method", "activations", "--data", "digit"], "'digit'"),
        (
            ["--method", "activations", "--data", "mnist", "--data-root", "no-such-folder"],
            "no-such-folder",
        ),
        (
            ["--method", "activations", "--data", "digits", "--arch-arg", "in_features=32"],
            "align: ",
        ),
    ],
)
def test_what_a_method_cannot_take_is_named(capsys, tmp_path, a, b, options, message):
    out = tmp_path / "out.safetensors"
    assert message in fail(capsys, *ALIGN, a, b, "-o", out, *options, *TINY)
    assert not out.exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--method", "weights"], "method weights uses no data; remove --data or choose a --me"),
        (
            ["--method", "exhaustive", "--method-arg", "objective=weights"],
            "align: method exhaustive with objective=weights uses no data; remove --data or cho",
        ),
        (
            ["--method", "sinkhorn", "--method-arg", "objective=weights"],
            "method sinkhorn with objective=weights uses no data; remove --data or choose anoth",
        ),
    ],
)
def test_data_must_be_of_use(capsys, tmp_path, a, b, options, message):
    out = tmp_path / "out.safetensors"
    given = ("-o", out, "--data", "digits", *options, *TINY)
    assert message in fail(capsys, "align", "onebasin.networks.mlp:MLP", a, b, *given)
    assert not out.exists()
    # A built-in architecture is fitted to them: 64 inputs and 10 classes.
    succeed(capsys, *ALIGN, a, b, *given)
    assert out.exists()


def test_what_is_stopped_by_its_limit_says_what_more_of_would_help(capsys, tmp_path, a, b):
    out = tmp_path / "out.safetensors"
    given = (*ALIGN, a, b, "-o", out, *TINY)
    steps = ("--method", "frank-wolfe", "--method-arg", "max_steps=1")
    more = "onebasin: note: the matching did not converge; more {} could improve it\n"
    assert succeed(capsys, *given, *steps).notes == more.format("steps")
    sweeps = ("--method", "weights", "--method-arg", "max_sweeps=1")
    assert succeed(capsys, *given, *sweeps).notes == more.format("sweeps")


@pytest.mark.parametrize("method", ["annealing", "annealing-many"])
def test_a_method_that_ends_by_its_steps_gives_no_advice(capsys, tmp_path, a, b, method):
    out = tmp_path / "out.safetensors"
    given = ("--method", method, "--data", "digits", *QUICK[method])
    found = succeed(capsys, *ALIGN, a, b, "-o", out, *given, *TINY)
    assert found.notes == ""
    assert " in 50 steps and " in found.out
    assert "converged" not in found.out
    assert " of 12 permutable units moved\n" in found.out


def test_options_reach_the_method(capsys, tmp_path, a, b):
    out = tmp_path / "out.safetensors"
    options = ("--method-arg", "max_sweeps=1", "--method-arg", "restarts=2", "--json", "-q")
    found = succeed(capsys, *ALIGN, a, b, "-o", out, *options, *TINY)
    assert len(found.data["matching"]["restarts"]) == 2
    assert found.data["matching"]["sweeps"] == 1


@pytest.mark.parametrize(
    ("method", "arguments", "options"),
    [
        ("straight-through", None, {"normalization": "batch"}),
        ("straight-through", ["normalization=interpolated"], {"normalization": "interpolated"}),
        ("combined", None, {}),
    ],
)
def test_a_preference_is_taken_where_the_method_has_it_and_none_is_given(
    method, arguments, options
):
    matcher = MethodOptions(method, parse_arguments(arguments)).prepare(
        data=Data.from_dataset(load_digits()), data_is_used=True
    )
    assert matcher.with_defaults(normalization="batch").options == options


def test_what_is_repaired_is_matched_with_the_statistics_of_batches(capsys, tmp_path, monkeypatch):
    asked = []
    plain = MATCHERS["straight-through"]

    def match(*arguments, **options):
        asked.append(options.get("normalization"))
        return plain.function(*arguments, **options)

    match.__signature__ = inspect.signature(plain.function)
    match.__annotations__ = get_type_hints(plain.function)
    patched = {**MATCHERS, "straight-through": replace(plain, function=match)}
    monkeypatch.setattr("onebasin.matching.registry.MATCHERS", patched)
    files = [write(tmp_path / f"{seed}.safetensors", network(seed)) for seed in (0, 1)]
    given = ("--method", "straight-through", "--method-arg", "max_epochs=1", "--data", "digits")
    for repair in ("repair", "none"):
        out = tmp_path / f"{repair}.safetensors"
        succeed(capsys, "merge", "mlp", *files, "-o", out, *given, "--repair", repair, *TINY)
    assert asked == ["batch", None]


def test_a_search_starts_from_what_another_method_finds(capsys, tmp_path, a, b):
    out = tmp_path / "out.safetensors"
    options = ("--method", "straight-through", "--init", "combined", "--data", "digits", *TINY)
    options += ("--max-train-examples", "100")
    steps = ("--method-arg", "max_epochs=1")
    found = succeed(capsys, *ALIGN, a, b, "-o", out, *options, *steps, "--json").data
    assert (found["matching"]["method"], found["matching"]["init"]) == (
        "straight-through",
        "combined",
    )
    data, model = load_digits().subset(100, seed=0), MLP(width=6, depth=2)
    symmetry = infer_symmetry(model, data.train_inputs[:2])
    given = {"model": model, "data": Batches(data.train_inputs, data.train_labels)}
    params = [network(0), network(1)]
    init = match_combined(symmetry, *params, **given).permutation
    matching = match_straight_through(symmetry, *params, **given, init=init, max_epochs=1)
    assert found["matching"]["objective"] == pytest.approx(matching.objective, abs=1e-6)
    for name, tensor in matching.permutation.apply(network(1)).items():
        assert torch.equal(read(out)[name], tensor)
    plain = succeed(capsys, *ALIGN, a, b, "-o", out, *options[:2], *options[4:], *steps).out
    assert "\nstraight-through: objective " in plain
    assert (
        "\nstraight-through from combined: objective "
        in succeed(capsys, *ALIGN, a, b, "-o", out, *options, *steps).out
    )


@pytest.mark.parametrize(
    ("method", "init"),
    [("weights", "many"), ("many", "weights"), ("many", "many"), ("weights", "activations")],
)
def test_methods_of_two_and_of_many_start_from_each_other(capsys, tmp_path, a, b, method, init):
    out = tmp_path / "out.safetensors"
    data = ("--data", "digits") if MATCHERS[init].uses_data == "required" else ()
    found = succeed(
        capsys, *ALIGN, a, b, "-o", out, "--method", method, "--init", init, *data, *TINY
    )
    assert f"\n{method} from {init}: objective " in found.out
    torch.testing.assert_close(outputs(read(out)), outputs(network(1)), atol=1e-12, rtol=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["--method", "activations", "--data", "digits", "--init", "weights"],
            "align: method activations takes no initial permutation; remove --init or choose a --m",
        ),
        (["--init", "activations"], "align: method activations needs data; pass --dat"),
        (
            ["--init", "nonsense"],
            "align: unknown method 'nonsense'; known are: weights, activations",
        ),
    ],
)
def test_a_start_that_cannot_be_is_named(capsys, tmp_path, a, b, options, message):
    out = tmp_path / "out.safetensors"
    assert message in fail(capsys, *ALIGN, a, b, "-o", out, *options, *TINY)


def test_a_method_is_a_name_and_its_options_are_a_mapping():
    assert (checked_name(None), checked_name("weights")) == ("auto", "weights")
    with pytest.raises(OneBasinError, match=r"^method is .*; pass the name of a method"):
        checked_name(3)
    assert joined_options({"restarts": 2}, {"restarts": 3}) == {"restarts": 3}
    with pytest.raises(OneBasinError, match=r"^method_options is .*; pass a mapping"):
        joined_options([1], {})
