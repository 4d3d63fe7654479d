"""The figures of the papers that a study must reproduce, and wrong figures."""

from onebasin_studies import find_study
from onebasin_studies.papers.collection import collect
from onebasin_studies.runtime.folder import StudyFolder
from tests.studies.runs import run


def rows_of(name, out):
    study = find_study(name)
    run(out, study)
    return study, list(collect(StudyFolder(out), name).rows)


def test_the_orders_of_table_1(tmp_path):
    study, rows = rows_of("symmetries", tmp_path)
    found = {row["network"]: round(row["log10_order"], 2) for row in rows}
    assert list(found.values()) == [3499.62, 35168.55, 25638.29]
    verdict = study.verdict(rows)
    assert verdict.outcome == "not reproduced"
    assert "Off by more than 0.1 %: ResNet50." in verdict.sentence
    right = [row for row in rows if row["network"] != "ResNet50"]
    assert study.verdict(right).outcome == "not enough data"
    resnet = {**rows[-1], "log10_order": 55109.0}
    assert study.verdict([*right, resnet]).outcome == "reproduced"
    unproved = study.verdict([*right, {**resnet, "failed_groups": 1}])
    assert unproved.outcome == "not reproduced"
    assert "Groups that failed verification: ResNet50." in unproved.sentence


def test_the_counterexample_has_its_barrier_for_every_permutation(tmp_path):
    study, rows = rows_of("counterexample", tmp_path)
    assert study.verdict(rows).outcome == "reproduced"
    lower = [{**row, "error": row["error"] * 0.9} for row in rows]
    assert study.verdict(lower).outcome == "not reproduced"
    raised = [{**row, "error": row["error"] + 0.1} for row in rows]
    assert study.verdict(raised).outcome == "not reproduced"
    (picture,) = study.figures(raised)
    assert "0.1 at the endpoints" in picture.alt, "what the rows say, not what they should"
    some = [row for row in rows if row["permutation"] != "unchanged"]
    assert study.verdict(some).outcome == "not enough data"
