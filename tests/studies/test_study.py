from dataclasses import replace

import pytest

from onebasin_studies import STUDIES, Verdict, find_study
from onebasin_studies.runtime.study import excluding_digits
from tests.studies.toy import Task, give, study

WITHOUT_DATA = ("theorem", "symmetries", "counterexample")


@excluding_digits
def judge(rows):
    """There are
    rows.

    Any will do.
    """
    return Verdict.of(bool(rows), f"{len(rows)} rows.")


def test_no_claim_is_evaluated_on_digits():
    digits = [
        {"data": "digits"},
        {"data": "digits (200)"},
        {"setting": "MLP on digits, spawned"},
        {"family": "MLP on digits", "width": 8},
    ]
    assert judge(digits).outcome == "not enough data"
    assert judge(digits).sentence.startswith("Only the digits dataset was measured; it checks th")
    others = [{"data": "mnist"}, {"setting": "VGG11 on CIFAR-10"}, {"width": 8}]
    assert judge([*digits, *others]) == Verdict.of(True, "3 rows.")
    assert judge([]) == Verdict.of(False, "0 rows.")


@pytest.mark.parametrize("name", [name for name in STUDIES if name not in WITHOUT_DATA])
def test_criterion_excludes_digits(name):
    found = find_study(name)
    assert found.criterion.endswith("Rows of the digits dataset are ignored.")
    labels = [task.labels for task in found.tasks(found.config("smoke"))]
    rows = [{**label, "study": name} for label in labels]
    assert "Only the digits dataset was measured" in found.verdict(rows).sentence


def test_the_criterion_is_what_the_verdict_says_of_itself():
    toy = study("toy", Task.of(give, folder="x", value=1))
    stated = replace(toy, verdict=judge)
    assert (
        stated.criterion
        == "There are rows.\n\nAny will do.\n\nRows of the digits dataset are ignored."
    )
    assert replace(toy, verdict=lambda rows: judge(rows)).criterion == ""
