import json
import re

import pytest

from onebasin.errors import OneBasinError
from onebasin.evaluation.curves import Curve
from onebasin_studies.report.demo import DemoResult, demo_page, write_demo
from tests.studies.report.test_pages import parsed

ALPHAS = (0.0, 0.5, 1.0)


def result() -> DemoResult:
    naive = Curve(ALPHAS, (0.0, 0.75, 0.0), (0.0, 0.25, 0.0))
    aligned = Curve(ALPHAS, (0.0, 0.0075, 0.0), (0.0, 0.0, 0.0))
    return DemoResult(
        curves={s: {"train": c, "test": c} for s, c in (("naive", naive), ("aligned", aligned))},
        accuracy={"a": 0.99, "b": 0.98, "naive": 0.86, "merged": 0.97},
        symmetry={
            "groups": {"layers.0": 512, "layers.1": 512},
            "log10_order": 2333.1,
            "permutable_fraction": 1.0,
            "max_error": 2e-15,
        },
        matching={"sweeps": 4, "converged": True, "moved_units": 1022},
        seconds=dict.fromkeys(("train", "trace", "prove", "match", "measure", "total"), 1.0),
        setting={"seed": 3, "network": "64-512-512-10", "versions": {"onebasin": "1.2.3"}},
    )


def test_the_barriers_are_those_of_the_curves():
    data = result().to_json()
    assert data["barrier"]["naive"]["train"] == {"loss": 0.75, "error": 0.25}
    assert data["barrier"]["aligned"]["test"] == {"loss": 0.0075, "error": 0.0}
    assert data["accuracy"] == {"a": 0.99, "b": 0.98, "naive": 0.86, "merged": 0.97}
    assert data["seed"] == 3
    assert Curve.from_json(data["curves"]["naive"]["test"]) == result().curves["naive"]["test"]


def test_the_page_says_what_was_found():
    tags = parsed(demo_page(result()))
    text = " ".join(" ".join(tags.text).split())
    for words in ("barrier of 0.750", "0.0075", "1.0% of what it was", "86.00%", "97.00%"):
        assert words in text
    for words in ("2 groups with 1024 hidden units", "agree to 2e-15", "settled after 4 sweeps"):
        assert words in text
    assert "Seed 3. onebasin 1.2.3." in text


def test_the_page_needs_no_other_file():
    html = demo_page(result())
    tags = parsed(html)
    images = [attrs for tag, attrs in tags.seen if tag == "img"]
    assert len(images) == 2
    assert all(attrs["src"].startswith("data:image/svg+xml;base64,") for attrs in images)
    assert all(len(attrs["alt"]) > 40 for attrs in images)
    assert not re.search(r"https?://|url\(|@import", html)


def test_no_barrier_at_all_is_no_division_by_zero():
    flat = Curve(ALPHAS, (0.0, 0.0, 0.0), (0.0, 0.0, 0.0))
    curves = {state: {"train": flat, "test": flat} for state in ("naive", "aligned")}
    assert "none of what it was" in demo_page(DemoResult(**{**vars(result()), "curves": curves}))


def test_all_files_are_written(tmp_path):
    write_demo(result(), tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["curve.png", "report.html", "result.json"]
    assert json.loads((tmp_path / "result.json").read_text()) == result().to_json()
    assert (tmp_path / "report.html").read_text() == demo_page(result())


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(OneBasinError, match=r"nowhere.*does not exist; create it first"):
        write_demo(result(), tmp_path / "nowhere")
