import csv
import json
import math
from dataclasses import dataclass

import pytest

from onebasin.errors import OneBasinError
from onebasin.evaluation.curves import Curve
from onebasin.evaluation.results import Result, check_result_path, plain_number, save_rows


@dataclass(frozen=True)
class Table(Result):
    values: tuple[float, ...] = (1.0, math.nan, math.inf)

    def rows(self):
        return [{"index": i, "value": value} for i, value in enumerate(self.values)]

    def plot(self, ax=None):
        assert ax is not None
        ax.plot(self.values)
        return ax


def test_rows_are_saved_as_json(tmp_path):
    Table().save(tmp_path / "table.json")
    assert json.loads((tmp_path / "table.json").read_text()) == [
        {"index": 0, "value": 1.0},
        {"index": 1, "value": None},
        {"index": 2, "value": "inf"},
    ]


def test_rows_are_saved_as_csv(tmp_path):
    Table().save(str(tmp_path / "table.csv"))
    with open(tmp_path / "table.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["value"] for row in rows] == ["1.0", "", "inf"]


@pytest.mark.parametrize(
    ("suffix", "start"), [(".png", b"\x89PNG"), (".svg", b"<?xml"), (".pdf", b"%PDF")]
)
def test_saved_picture_is_reproducible(tmp_path, suffix, start):
    contents = []
    for name in ("one", "two"):
        Table((1.0, 2.0)).save(tmp_path / f"{name}{suffix}")
        contents.append((tmp_path / f"{name}{suffix}").read_bytes())
    assert contents[0].startswith(start)
    assert contents[0] == contents[1]


def test_unknown_suffix_is_rejected_without_a_file(tmp_path):
    for path in ("table.txt", "table"):
        with pytest.raises(OneBasinError, match=r"unknown result format .*\.json, \.csv .*\.png"):
            check_result_path(tmp_path / path)
        with pytest.raises(OneBasinError, match="unknown result format"):
            Table().save(tmp_path / path)
    assert list(tmp_path.iterdir()) == []


def test_failed_write_keeps_the_old_file(tmp_path):
    class Broken(Table):
        def plot(self, ax=None):
            raise RuntimeError("broken")

    (tmp_path / "table.png").write_text("old")
    with pytest.raises(RuntimeError, match="broken"):
        Broken().save(tmp_path / "table.png")
    assert [path.name for path in tmp_path.iterdir()] == ["table.png"]
    assert (tmp_path / "table.png").read_text() == "old"


def test_curve_is_saved_in_every_format(tmp_path):
    curve = Curve((0.0, 1.0), (1.0, 2.0), (0.1, 0.2))
    for name in ("curve.json", "curve.csv", "curve.svg"):
        curve.save(tmp_path / name)
    assert Curve.load(tmp_path / "curve.json") == curve
    assert (tmp_path / "curve.csv").read_text().splitlines() == [
        "alpha,loss,error,normalization",
        "0.0,1.0,0.1,interpolated",
        "1.0,2.0,0.2,interpolated",
    ]


def test_non_finite_numbers_in_json():
    assert plain_number(math.nan) is None
    assert plain_number(-math.inf) == "-inf"
    assert plain_number(0.5) == 0.5


def test_rows_of_any_source_are_saved(tmp_path):
    rows = [{"split": "train", "loss": math.nan}, {"split": "test", "loss": 1.0}]
    for name in ("rows.json", "rows.csv"):
        save_rows(rows, tmp_path / name)
    assert json.loads((tmp_path / "rows.json").read_text())[0] == {"split": "train", "loss": None}
    assert (tmp_path / "rows.csv").read_text() == "split,loss\ntrain,\ntest,1.0\n"
    with pytest.raises(OneBasinError, match=r"unknown table format '.png'; expected .json or"):
        save_rows(rows, tmp_path / "rows.png")
