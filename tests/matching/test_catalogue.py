"""The catalogue reads from a matcher's signature what a caller must know of it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import pytest
import torch

from onebasin import OneBasinError, infer_symmetry
from onebasin.matching import ManyMatching, match_weights
from onebasin.matching._method_names import ALIASES, EXPLANATIONS
from onebasin.matching.registry import MATCHERS, MatcherInfo, _words, check_options, find_method

SEEN = []


def match_oddly(
    symmetry,
    params_list: Sequence[dict],
    *,
    model,
    data=None,
    rate: float = 0.1,
    way: Literal["up", "down"] | None = None,
    init: str = "",
    callback: Sequence[int] = (),
):
    SEEN.append((symmetry, params_list, model, data, rate, way))
    return ManyMatching((), (), True, 0, 0, 0.0)


@pytest.fixture
def oddly(monkeypatch):
    monkeypatch.setattr(
        "onebasin.matching.registry.MATCHERS", {"oddly": MatcherInfo(match_oddly, "an odd match")}
    )
    return MatcherInfo(match_oddly, "an odd match")


def test_needs_are_read_from_the_signature(oddly):
    assert (oddly.needs_model, oddly.needs_data) == (True, False)
    assert (oddly.takes_data, oddly.takes_many) == (True, True)
    weights = MATCHERS["weights"]
    assert (weights.needs_model, weights.needs_data) == (False, False)
    assert (weights.takes_data, weights.takes_many) == (False, False)
    assert MATCHERS["activations"].needs_data


def test_what_bounds_a_search_is_read_from_the_signature():
    units = {name: method.unit for name, method in MATCHERS.items()}
    assert {name for name, unit in units.items() if unit == "step"} == {
        "annealing", "annealing-many", "cycle-consistent", "frank-wolfe", "sinkhorn",
    }  # fmt: skip
    assert [name for name, unit in units.items() if unit == "epoch"] == ["straight-through"]
    fixed = [name for name, method in MATCHERS.items() if not method.settles]
    assert fixed == ["annealing", "annealing-many"]


@pytest.mark.parametrize(
    ("name", "options", "looks"),
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
def test_options_decide_whether_a_method_looks_at_data(name, options, looks):
    assert MATCHERS[name].looks_at_data(options) is looks


def test_a_loss_is_looked_at_where_an_option_says_which():
    without = {name for name, method in MATCHERS.items() if not method.looks_at_loss({})}
    assert without == {
        "weights", "activations", "combined", "functional-difference", "commutativity",
        "frank-wolfe", "theorem", "many", "cycle-consistent",
    }  # fmt: skip
    assert not MATCHERS["sinkhorn"].looks_at_loss({"objective": "weights"})


def cells_of(page, start):
    """Return the first cell of every row of the table below a line, and the row."""
    lines = page[page.index(start) :].split("\n\n")[0].splitlines()[2:]
    return {line.split("|")[1].split("`")[1]: line for line in lines}


def test_the_page_lists_all_methods_and_options():
    page = (Path(__file__).parents[2] / "docs" / "matching.md").read_text(encoding="utf-8")
    methods = cells_of(page, "| `--method` | makes alike")
    assert list(methods) == list(MATCHERS)
    options = cells_of(page, "| `--method` | options")
    assert options == {
        name: f"| `{name}` | {', '.join(f'`{option}`' for option in method.defaults)} |"
        for name, method in MATCHERS.items()
    }
    hints = {name: hint for method in MATCHERS.values() for name, hint in method.options.items()}
    meanings = cells_of(page, "| option | may be")
    assert list(meanings) == sorted(hints)
    for name, method in MATCHERS.items():
        _, _, _, data, labels, networks, _, _ = methods[name].split("|")
        uses = method.looks_at_data({})
        assert data.strip() == {True: "yes", False: "no", None: "for a loss"}[uses], name
        on_loss = {True: "yes", None: "for a loss"}.get(uses, "no")
        assert labels.strip() == (on_loss if method.looks_at_loss({}) else "no"), name
        assert networks.strip() == ("any number" if method.takes_many else "two"), name
    for method in MATCHERS.values():
        for option, hint in method.options.items():
            for choice in " or ".join(_words(hint)).split(" or "):
                assert choice in meanings[option].replace("`", ""), option


def test_only_plain_options_are_offered(oddly):
    assert list(oddly.options) == ["rate", "way"]
    assert list(MATCHERS["weights"].options) == ["max_sweeps", "restarts", "cache_bytes"]


def test_a_method_gets_what_it_takes_and_nothing_else(oddly):
    model = torch.nn.Linear(2, 2)
    symmetry = infer_symmetry(model, torch.zeros(2, 2))
    oddly.match(symmetry, [{}, {}, {}], model=model, data=[1], seed=3, rate=0.2)
    assert SEEN.pop() == (symmetry, [{}, {}, {}], model, [1], 0.2, None)


def test_weights_are_matched_by_name():
    net = torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
    symmetry = infer_symmetry(net, torch.zeros(2, 3))
    a, b = ({n: torch.randn_like(t) for n, t in net.state_dict().items()} for _ in range(2))
    found = find_method("weights", call="test").match(symmetry, [a, b], model=net, seed=1)
    assert found.permutation.equals(match_weights(symmetry, a, b, seed=1).permutation)


def test_a_whole_number_is_a_number(oddly):
    checked = check_options("oddly", {"rate": 2, "way": "up"}, call="test")
    assert checked == {"rate": 2.0, "way": "up"}
    assert type(checked["rate"]) is float
    assert check_options("oddly", {"way": None}, call="test") == {"way": None}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"way": "left"}, "test: option way of method oddly cannot be 'left'; it must be up or do"),
        ({"rate": True}, "option rate of method oddly cannot be True; it must be a number"),
        (
            {"init": "x"},
            "method oddly has no option 'init'; its options and their defaults are: rate=0.1, wa",
        ),
        ({"callback": [1]}, "has no option 'callback'"),
    ],
)
def test_wrong_options_are_named(oddly, options, message):
    with pytest.raises(OneBasinError, match=message):
        check_options("oddly", options, call="test")


def test_an_unknown_method_lists_the_known(oddly):
    with pytest.raises(OneBasinError, match=r"^test: unknown method 'even'; known are: oddly$"):
        find_method("even", call="test")


@pytest.mark.parametrize("name", list(MATCHERS))
def test_every_method_is_complete(name):
    method = MATCHERS[name]
    assert method.description
    assert "symmetry" in method.parameters
    assert not method.needs_data or "model" in method.parameters
    assert method.function.__name__.startswith(("match_", "anneal"))


def test_aliases_name_methods_of_the_catalog():
    assert set(ALIASES.values()) <= set(MATCHERS)
    assert not (ALIASES.keys() | EXPLANATIONS.keys()) & MATCHERS.keys()
    assert find_method("Weight_Matching", call="test") is MATCHERS["weights"]
