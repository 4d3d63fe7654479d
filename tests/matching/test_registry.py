"""The registry declares the properties of every matcher."""

from collections.abc import Sequence
from inspect import Parameter
from pathlib import Path
from typing import Literal

import pytest
import torch

from onebasin import OneBasinError, infer_symmetry
from onebasin.matching import ManyMatching, match_weights
from onebasin.matching._method_names import ALIASES, EXPLANATIONS
from onebasin.matching.registry import (
    MATCHERS,
    MatcherInfo,
    _describe,
    check_options,
    find_method,
)

CALLS = []


def match_custom(
    symmetry,
    params_list: Sequence[dict],
    *,
    model,
    data=None,
    rate: float = 0.1,
    direction: Literal["up", "down"] | None = None,
    init: str = "",
    callback: Sequence[int] = (),
):
    CALLS.append((symmetry, params_list, model, data, rate, direction))
    return ManyMatching((), (), True, 0, 0, 0.0)


@pytest.fixture
def custom(monkeypatch):
    method = MatcherInfo(match_custom, "a custom method", num_networks=None)
    monkeypatch.setattr("onebasin.matching.registry.MATCHERS", {"custom": method})
    return method


@pytest.mark.parametrize("name", list(MATCHERS))
def test_declared_properties_agree_with_the_signature(name):
    method = MATCHERS[name]
    data = method.parameters.get("data")
    expected = "no" if data is None else "optional"
    if data is not None and data.default is Parameter.empty:
        expected = "required"
    assert method.uses_data == expected
    assert method.num_networks == (2 if "params_b" in method.parameters else None)
    has_loss = not {"loss", "energy", "objective"}.isdisjoint(method.parameters)
    assert method.uses_labels == has_loss
    assert method.can_converge == {"steps", "epochs"}.isdisjoint(method.parameters)
    limits = {"max_epochs": "epoch", "epochs": "epoch", "max_steps": "step", "steps": "step"}
    steps = [step for limit, step in limits.items() if limit in method.parameters]
    assert method.step_name == (steps[0] if steps else "sweep")


def test_model_is_needed_if_it_has_no_default(custom):
    assert custom.needs_model
    assert not MATCHERS["weights"].needs_model


@pytest.mark.parametrize(
    ("name", "options", "uses_data"),
    [
        ("weights", {}, False),
        ("activations", {}, True),
        ("sinkhorn", {}, None),
        ("sinkhorn", {"objective": "path"}, True),
        ("sinkhorn", {"objective": "weights"}, False),
        ("exhaustive", {}, None),
        ("exhaustive", {"objective": "weights"}, False),
        ("exhaustive", {"objective": "error"}, True),
    ],
)
def test_objective_decides_whether_data_are_used(name, options, uses_data):
    assert MATCHERS[name].uses_data_with(options) is uses_data


def test_labels_are_used_for_a_loss():
    assert MATCHERS["sinkhorn"].uses_labels_with({})
    assert MATCHERS["annealing"].uses_labels_with({})
    assert not MATCHERS["combined"].uses_labels_with({})
    assert not MATCHERS["sinkhorn"].uses_labels_with({"objective": "weights"})


def table_of(page, start):
    """Return the rows of a table by their first cell."""
    lines = page[page.index(start) :].split("\n\n")[0].splitlines()[2:]
    return {line.split("|")[1].split("`")[1]: line for line in lines}


def test_documentation_lists_all_methods_and_options():
    page = (Path(__file__).parents[2] / "docs" / "matching.md").read_text(encoding="utf-8")
    methods = table_of(page, "| `--method` | objective")
    assert list(methods) == list(MATCHERS)
    options = table_of(page, "| `--method` | options")
    assert options == {
        name: f"| `{name}` | {', '.join(f'`{option}`' for option in method.defaults)} |"
        for name, method in MATCHERS.items()
    }
    hints = {name: hint for method in MATCHERS.values() for name, hint in method.options.items()}
    meanings = table_of(page, "| option | values")
    assert list(meanings) == sorted(hints)
    for name, method in MATCHERS.items():
        _, _, _, data, labels, networks, _, _ = methods[name].split("|")
        uses = method.uses_data_with({})
        optional = "for a loss" if method.uses_labels else "optional"
        assert data.strip() == {True: "yes", False: "no", None: optional}[uses], name
        with_labels = {True: "yes", None: "for a loss"}.get(uses, "no")
        assert labels.strip() == (with_labels if method.uses_labels_with({}) else "no"), name
        assert networks.strip() == ("any number" if method.num_networks is None else "two"), name
    for method in MATCHERS.values():
        for option, hint in method.options.items():
            for choice in " or ".join(_describe(hint)).split(" or "):
                assert choice in meanings[option].replace("`", ""), option


def test_options_are_plain_keyword_arguments(custom):
    assert list(custom.options) == ["rate", "direction"]
    assert list(MATCHERS["weights"].options) == ["max_sweeps", "restarts", "cache_bytes"]


def test_match_passes_only_supported_arguments(custom):
    model = torch.nn.Linear(2, 2)
    symmetry = infer_symmetry(model, torch.zeros(2, 2))
    custom.match(symmetry, [{}, {}, {}], model=model, data=[1], seed=3, rate=0.2)
    assert CALLS.pop() == (symmetry, [{}, {}, {}], model, [1], 0.2, None)


def test_method_is_found_and_run_by_name():
    net = torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
    symmetry = infer_symmetry(net, torch.zeros(2, 3))
    a, b = ({n: torch.randn_like(t) for n, t in net.state_dict().items()} for _ in range(2))
    matching = find_method("weights").match(symmetry, [a, b], model=net, seed=1)
    assert matching.permutation.equals(match_weights(symmetry, a, b, seed=1).permutation)


def test_integer_is_converted_to_float(custom):
    checked = check_options("custom", {"rate": 2, "direction": "up"})
    assert checked == {"rate": 2.0, "direction": "up"}
    assert type(checked["rate"]) is float
    assert check_options("custom", {"direction": None}) == {"direction": None}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"direction": "left"},
            "^invalid value 'left' for option direction of method custom; expected up or do",
        ),
        ({"rate": True}, "invalid value True for option rate of method custom; expected a number"),
        (
            {"init": "x"},
            "method custom has no option 'init'; options and defaults: rate=0.1, direction=none",
        ),
        ({"callback": [1]}, "has no option 'callback'"),
    ],
)
def test_invalid_options_are_rejected(custom, options, message):
    with pytest.raises(OneBasinError, match=message):
        check_options("custom", options)


def test_unknown_method_lists_available_ones(custom):
    with pytest.raises(OneBasinError, match=r"^unknown method 'even'; known are: custom$"):
        find_method("even")


@pytest.mark.parametrize("name", list(MATCHERS))
def test_every_method_has_a_description(name):
    method = MATCHERS[name]
    assert method.description
    assert "symmetry" in method.parameters
    assert method.uses_data == "no" or "model" in method.parameters
    assert method.function.__name__.startswith(("match_", "anneal"))


def test_aliases_refer_to_registered_methods():
    assert set(ALIASES.values()) <= set(MATCHERS)
    assert not (ALIASES.keys() | EXPLANATIONS.keys()) & MATCHERS.keys()
    assert find_method("Weight_Matching") is MATCHERS["weights"]
