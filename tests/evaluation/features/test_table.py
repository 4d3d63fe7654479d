"""Tables: rows, files and pictures of every measure."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from onebasin.errors import OneBasinError
from onebasin.evaluation.features import (
    FeatureTable,
    check_error_bound,
    interpolate_features,
    measure_additivity,
    measure_commutativity,
    measure_llfc,
    measure_similarity,
)
from tests.evaluation.features.pairs import labels_for, pair

MEASURES: dict[str, Callable[..., FeatureTable]] = {
    "llfc": measure_llfc,
    "additivity": measure_additivity,
    "commutativity": measure_commutativity,
    "similarity": measure_similarity,
    "lemma": check_error_bound,
    "averaging": interpolate_features,
}


@pytest.fixture(params=MEASURES, scope="module")
def table(request: pytest.FixtureRequest) -> FeatureTable:
    model, a, b, inputs = pair("mlp")
    return MEASURES[request.param](model, a, b, [(inputs, labels_for(inputs, 3))])


def test_rows_are_tidy_and_saved(table: FeatureTable, tmp_path: Path) -> None:
    names = ["layer", "alpha", "measure", "mean", "sd", "n", "normalization"]
    rows = table.rows()
    assert [list(row) for row in rows] == [names] * len(rows)
    keys = [(row["layer"], row["alpha"], row["measure"]) for row in rows]
    assert len(set(keys)) == len(keys)
    table.save(tmp_path / "rows.json")
    result = json.loads((tmp_path / "rows.json").read_text())
    assert result["normalization"] == "interpolated"
    assert [row["mean"] for row in result["rows"]] == [
        None if row["mean"] != row["mean"] else row["mean"] for row in rows
    ]
    table.save(tmp_path / "rows.csv")
    with (tmp_path / "rows.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert [line["layer"] for line in lines] == [row["layer"] for row in rows]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["rows.csv", "rows.json"]


def test_pictures_are_drawn(table: FeatureTable, tmp_path: Path) -> None:
    table.save(tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    table.save(tmp_path / "a.svg")
    table.save(tmp_path / "b.svg")
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


def test_picture_shows_the_measures() -> None:
    from matplotlib.figure import Figure

    model, a, b, inputs = pair("mlp")
    result = measure_llfc(model, a, b, [inputs])
    ax = result.plot(Figure().subplots())
    assert [line.get_label() for line in ax.lines] == ["1 − cos, α = 0.5", "1 − cos of A and B"]
    assert list(ax.lines[0].get_ydata()) == list(result.means("1-cos", 0.5).values())
    assert [text.get_text() for text in ax.get_xticklabels()] == list(result.layers)
    other = result.plot(Figure().subplots(), alpha=0.25)
    assert list(other.lines[0].get_ydata()) == list(result.means("1-cos", 0.25).values())


def test_unknown_row_is_rejected() -> None:
    model, a, b, inputs = pair("mlp")
    result = measure_commutativity(model, a, b, [inputs])
    with pytest.raises(OneBasinError, match=r"^features: the table has no 'cka' at layer '0"):
        result.at("0.linear", "cka")


@pytest.mark.parametrize(
    ("measure", "label"),
    [
        (measure_llfc, "1 − cos"),
        (measure_additivity, "1 − cos"),
        (measure_similarity, "cka, correlation"),
        (measure_commutativity, "1-cos, distance"),
    ],
)
def test_values_of_pictures_are_rejected(measure: Callable[..., FeatureTable], label: str) -> None:
    model, a, b, inputs = pair("mlp")
    assert measure(model, a, b, [inputs]).plot().get_ylabel() == label
