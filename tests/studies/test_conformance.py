"""Every study runs at smoke, and reports any subset of its rows."""

from dataclasses import is_dataclass

import pytest

from onebasin.errors import OneBasinError
from onebasin_studies import STUDIES, find_studies, find_study
from onebasin_studies.papers.collection import collect
from onebasin_studies.report.studies.files import report_files
from onebasin_studies.runtime.schedule import Plan
from onebasin_studies.runtime.study import SCALES
from tests.studies.report.test_pages import parsed


@pytest.mark.parametrize("name", STUDIES)
def test_study_is_described(name):
    study = find_study(name)
    assert study.claim.endswith(".")
    assert study.paper
    assert study.item
    assert tuple(study.scales) == SCALES
    for scale in SCALES:
        assert is_dataclass(study.config(scale))
        plan = Plan.of({name: study.tasks(study.config(scale))})
        assert plan.tasks
        assert study.config_json(scale)


@pytest.mark.parametrize("name", STUDIES)
def test_study_runs_at_smoke_and_reports(name, run_at_smoke):
    study, folder = find_study(name), run_at_smoke(name)
    found = collect(folder, name)
    assert {(row["study"], row["scale"]) for row in found.rows} == {(name, "smoke")}
    assert found.verdict().sentence
    files = report_files(found)
    assert any(file.endswith(".svg") for file in files)
    assert len(files[f"{name}.csv"].decode().splitlines()) >= 2
    tags = parsed(files[f"{name}.html"].decode())
    images = [attrs for tag, attrs in tags.seen if tag == "img"]
    assert images
    assert all(len(attrs["alt"]) >= 40 for attrs in images), "say in words what it shows"
    store, targets = folder.store, list(study.tasks(study.config("smoke")))
    for some in (targets[:1], targets[::2], targets[len(targets) // 2 :]):
        # After a failure these are the rows that exist: those of a task are there or not.
        rows = [row for task in some for row in study.rows_of(task, store.load(task.key), "smoke")]
        study.verdict(rows)
        study.figures(rows)
        study.table(rows)


def test_unknown_study_or_scale_raises():
    with pytest.raises(
        OneBasinError, match=r"unknown study 'symetries'; did you mean 'symmetries'"
    ):
        find_study("symetries")
    with pytest.raises(OneBasinError, match=r"unknown study 'x'; known are width, "):
        find_studies(["x"], "smoke")
    with pytest.raises(OneBasinError, match=r"unknown scale 'huge'; known are smoke, small, paper"):
        find_studies(["symmetries"], "huge")
    with pytest.raises(OneBasinError, match=r"name a study, or all"):
        find_studies([], "smoke")
    assert list(find_studies(["all"], "smoke")) == list(STUDIES)
