import json
import shutil
from pathlib import Path

import pytest

from onebasin_studies import STUDIES, find_study
from onebasin_studies.cli.study_runs import SOME_FAILED
from onebasin_studies.runtime.folder import StudyFolder
from tests.cli.run import fail, run, succeed
from tests.studies import toy
from tests.studies.runs import run as run_study


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


@pytest.fixture(scope="module")
def counterexample(tmp_path_factory):
    """A folder of the study that takes least time, without a report; to be copied."""
    folder = tmp_path_factory.mktemp("counterexample")
    assert run_study(folder, find_study("counterexample")).is_complete
    return folder


def test_studies_are_listed(capsys):
    found = succeed(capsys, "study", "list")
    heads = [line.split()[0] for line in found.out.splitlines() if not line.startswith("  ")]
    assert heads == ["study", *STUDIES]
    data = succeed(capsys, "study", "list", "--json").data
    assert all(f"\n  {study['claim']}\n" in found.out for study in data["studies"])
    assert [study["name"] for study in data["studies"]] == list(STUDIES)
    assert all(study["claim"] for study in data["studies"])


def test_study_alone_shows_its_help(capsys):
    found = succeed(capsys, "study")
    assert found.out == succeed(capsys, "study", "--help").out
    assert "status" in found.out


def test_missing_data_are_reported_before_the_run(capsys, monkeypatch, out):
    monkeypatch.setenv("ONEBASIN_DATA", "nowhere")
    line = fail(capsys, "study", "run", "matchers", "epochs", "--scale", "small", "--out", out)
    assert line == "data: ONEBASIN_DATA is nowhere, which is not a folder"
    assert not (out / "results").exists()


def test_run_status_and_report(capsys, out):
    found = succeed(capsys, "study", "run", "counterexample", "--out", out, "--jobs", 2)
    assert found.out.startswith("counterexample: reproduced\n  Error of A and B: at most 0.0000.")
    assert found.out.endswith(f"wrote {out}/report/index.html\n")
    assert (out / "report" / "counterexample.html").is_file()
    status = succeed(capsys, "study", "status", out)
    assert "counterexample  smoke  complete  4 of 4       0" in status.out
    assert status.out.endswith("the last run is finished\n")
    again = succeed(capsys, "study", "run", "counterexample", "--out", out, "--json").data
    assert (again["total"], again["done"], again["reused"], again["failures"]) == (4, 4, 4, [])
    assert again["verdicts"]["counterexample"]["outcome"] == "reproduced"
    (out / "report" / "index.html").unlink()
    reported = succeed(capsys, "study", "report", out, "--json").data
    assert reported["verdicts"] == again["verdicts"]
    assert (out / "report" / "index.html").is_file()


def test_several_folders_get_an_index(capsys, out, tmp_path, counterexample):
    for name in ("one", "two"):
        shutil.copytree(counterexample, tmp_path / name)
    folders = [tmp_path / "one", tmp_path / "two"]
    line = fail(capsys, "study", "report", *folders)
    assert line == "study report: 2 folders given; name one for the index with --out"
    data = succeed(capsys, "study", "report", *folders, "--out", out, "--json").data
    found = {run: list(each["verdicts"].items()) for run, each in data["runs"].items()}
    assert list(found) == ["one", "two"]
    assert [verdict["outcome"] for ((_, verdict),) in found.values()] == ["reproduced"] * 2
    assert (out / "two" / "counterexample.html").is_file()
    text = succeed(capsys, "study", "report", *folders, "--out", out).out
    assert text.startswith("one\ncounterexample: reproduced\n  Error of A")
    assert text.endswith(f"\n\nwrote {out}/index.html\n")


def test_exit_code_of_failed_tasks(capsys, monkeypatch, out, tmp_path):
    bad = toy.Task.of(toy.fail, folder=str(tmp_path))
    study = toy.study("toy", bad, toy.Task.of(toy.give, folder=str(tmp_path), value=1))
    for place in ("catalogue", "collection"):
        monkeypatch.setattr(f"onebasin_studies.papers.{place}.find_study", lambda name: study)
    monkeypatch.setattr("onebasin_studies.papers.catalogue.STUDIES", {"toy": "somewhere"})
    found = run(capsys, "study", "run", "toy", "--out", out, "--jobs", 1)
    assert found.code == SOME_FAILED
    assert "failed: ZeroDivisionError: a task that fails" in found.err
    assert found.out.endswith("1 of 2 tasks failed; run again to retry\n")
    page = (out / "report" / "toy.html").read_text()
    assert "Traceback (most recent call last)" in page
    status = succeed(capsys, "study", "status", out, "--json").data
    assert status["studies"][0]["state"] == "failed"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "nothing"], r"study: unknown study 'nothing'; known are width, "),
        (["run", "symmetries", "--scale", "huge"], r"study: unknown scale 'huge'; known are smoke"),
        (["run", "symmetries", "--engine", "x"], r"study run: unknown engine 'x'; known are local"),
        (["run", "symmetries", "--address", "x"], r"--address requires --engine ray"),
        (["run", "symmetries", "--jobs", "0"], r"--jobs is 0; it must be at least 1"),
        (["status", "nowhere"], r"nowhere: holds no studies; give the --out of a `study run`"),
        (["report", "nowhere"], r"nowhere: holds no studies; give the --out of a `study run`"),
    ],
)
def test_bad_input_is_one_line(capsys, monkeypatch, tmp_path, arguments, message):
    monkeypatch.chdir(tmp_path)
    assert message in fail(capsys, "study", *arguments)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("case", ["damaged", "unknown", "another configuration"])
def test_damaged_study_does_not_block_other_reports(capsys, out, case, counterexample):
    shutil.copytree(counterexample, out)
    manifest = json.loads((out / "studies" / "counterexample.json").read_text())
    name = "unheard-of" if case == "unknown" else "symmetries"
    text = "{}" if case == "damaged" else json.dumps({**manifest, "study": name})
    (out / "studies" / f"{name}.json").write_text(text)
    found = run(capsys, "study", "report", out)
    assert found.code == SOME_FAILED
    assert found.out.startswith("counterexample: reproduced")
    assert found.err.startswith(f"onebasin: note: study {name} cannot be reported: ")
    assert found.err.count("\n") == 1
    assert "counterexample" in (out / "report" / "index.html").read_text()
    again = run(capsys, "study", "run", "counterexample", "--out", out, "--jobs", 1)
    assert again.code == 0
    assert f"study {name} cannot be reported: " in again.err
    (out / "studies" / "counterexample.json").unlink()
    line = fail(capsys, "study", "report", out)
    assert line.startswith(f"study {name} cannot be reported: ")


def test_folder_with_other_files_is_rejected(capsys, tmp_path):
    (tmp_path / "file").write_text("x")
    line = fail(capsys, "study", "run", "counterexample", "--out", tmp_path)
    assert line == f"{tmp_path}: is not empty and holds no studies; choose another --out"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_status_of_a_stopped_run(capsys, out, tmp_path):
    run_study(out, toy.study("one", toy.Task.of(toy.give, folder=str(tmp_path), value=1)))
    heartbeat = json.loads(Path(out, "progress.json").read_text())
    Path(out, "progress.json").write_text(
        json.dumps({**heartbeat, "state": "running", "pid": 2**22})
    )
    assert "the last run was stopped" in succeed(capsys, "study", "status", out).out
    there = {**heartbeat, "state": "running", "host": "another"}
    Path(out, "progress.json").write_text(json.dumps(there))
    assert "running for" in succeed(capsys, "study", "status", out).out
    assert StudyFolder(out).heartbeat() is not None
