import hashlib
import json
import os
import re

import pytest

from onebasin.errors import OneBasinError
from onebasin_studies import Task, run_studies
from onebasin_studies.runtime.engines import InlineEngine, LocalEngine
from onebasin_studies.runtime.folder import StudyFolder
from onebasin_studies.runtime.progress import Progress
from onebasin_studies.runtime.schedule import TRIES
from onebasin_studies.runtime.status import status_of
from onebasin_studies.runtime.store import DiskFullError, Store
from tests.studies import toy
from tests.studies.runs import run, stored_files, value_of


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


def give(folder, value):
    return Task.of(toy.give, folder=str(folder), value=value)


def add(folder, *parts):
    return Task.of(toy.add, folder=str(folder), parts=list(parts))


def test_shared_tasks_run_once(tmp_path, out):
    shared = give(tmp_path, 1)
    one = toy.study("one", add(tmp_path, shared, give(tmp_path, 2)), shared)
    two = toy.study("two", add(tmp_path, give(tmp_path, 1), give(tmp_path, 3)))
    outcome = run(out, one, two)
    assert outcome.is_complete
    assert sorted(toy.trace_of(tmp_path)) == ["add-3", "add-4", "give-1", "give-2", "give-3"]
    three = toy.study("three", add(tmp_path, shared), give(tmp_path, 4))
    outcome = run(out, one, three)
    assert (outcome.progress.total, outcome.progress.reused) == (5, 3)
    assert sorted(toy.trace_of(tmp_path)[5:]) == ["add-1", "give-4"]


def test_complete_study_runs_nothing(tmp_path, out):
    study = toy.study("one", add(tmp_path, give(tmp_path, 1)))
    run(out, study)
    before = toy.trace_of(tmp_path)
    outcome = run(out, study)
    assert toy.trace_of(tmp_path) == before
    assert (outcome.progress.done, outcome.progress.reused) == (2, 2)


def test_batch_runs_in_one_call_with_separate_results(tmp_path, out):
    tasks = Task.map(toy.square, folder=str(tmp_path), values=[1, 2, 3])
    run(out, toy.study("one", tasks[1]))
    run(out, toy.study("one", *tasks))
    assert toy.trace_of(tmp_path) == ["square-2", "square-1-3"]
    assert [value_of(out, task) for task in tasks] == [1, 4, 9]


def test_failed_task_skips_only_dependents(tmp_path, out):
    notes = []
    bad, good = Task.of(toy.fail, folder=str(tmp_path)), give(tmp_path, 1)
    study = toy.study("one", add(tmp_path, bad), add(tmp_path, good), bad)
    outcome = run(out, study, note=notes.append)
    assert not outcome.is_complete
    progress = outcome.progress
    assert (progress.done, progress.failed, progress.skipped, progress.total) == (2, 1, 1, 4)
    (failure,) = outcome.failures
    assert failure.reason == "ZeroDivisionError: a task that fails"
    assert 'raise ZeroDivisionError("a task\\nthat fails")' in failure.traceback
    assert StudyFolder(out).store.failures() == {bad.key: failure}
    assert notes == [f"{bad}: failed: ZeroDivisionError: a task that fails"]
    assert outcome.skipped == [str(add(tmp_path, bad))]
    (status,) = status_of(StudyFolder(out)).studies
    assert (status.done, status.failed, status.state) == (2, 1, "failed")


def test_next_run_retries_failed_tasks(tmp_path, out, monkeypatch):
    bad = Task.of(toy.fail, folder=str(tmp_path))
    study = toy.study("one", add(tmp_path, bad))
    assert not run(out, study).is_complete
    monkeypatch.setattr(toy, "fail", lambda folder: toy.give(folder=folder, value=7))
    assert run(out, study).is_complete
    assert value_of(out, add(tmp_path, bad)) == 7
    assert StudyFolder(out).store.failures() == {}


def test_failed_seed_does_not_affect_others(tmp_path, out):
    tasks = Task.map(toy.square, folder=str(tmp_path), values=[1, 13, 3])
    outcome = run(out, toy.study("one", *tasks))
    assert [failure.key for failure in outcome.failures] == [tasks[1].key]
    assert [value_of(out, task) for task in (tasks[0], tasks[2])] == [1, 9]


def test_function_must_return_results(out, monkeypatch):
    study = toy.study("one", Task.of(toy.chatter, text="x"))
    monkeypatch.setattr(toy, "chatter", lambda text: [text])
    outcome = run(out, study)
    assert "toy:chatter returned 1 of list for 1 tasks; it must" in outcome.failures[0].reason


def test_corrupt_rows_are_recomputed(tmp_path, out):
    first, second = give(tmp_path, 1), give(tmp_path, 2)
    study = toy.study("one", first, second)
    run(out, study)
    path = stored_files(out, first)[".parquet"]
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    notes = []
    assert run(out, study, note=notes.append).is_complete
    assert notes == [f"{path}: corrupt row file, not what its record says; it is computed again"]
    assert toy.trace_of(tmp_path) == ["give-1", "give-2", "give-1"]
    assert value_of(out, first) == 1


@pytest.mark.parametrize("suffix", [".parquet", ".json"])
def test_lost_input_is_recomputed(tmp_path, out, suffix):
    first = give(tmp_path, 1)
    study = toy.study("one", add(tmp_path, first))
    run(out, study)
    stored_files(out, first)[suffix].unlink()
    progress = run(out, study).progress
    assert (progress.total, progress.done, progress.reused) == (2, 2, 1)
    assert toy.trace_of(tmp_path) == ["give-1", "add-1", "give-1"]
    (status,) = status_of(StudyFolder(out)).studies
    assert (status.done, status.total, status.state) == (2, 2, "complete")
    assert run(out, study).progress.reused == 2


@pytest.mark.parametrize("kind", ["inline", "local"])
def test_corrupt_checkpoint_is_recomputed(tmp_path, out, kind):
    made = Task.of(toy.fill, folder=str(tmp_path), value=3)
    run(out, toy.study("one", made))
    path = stored_files(out, made)[".safetensors"]
    path.write_bytes(path.read_bytes()[:-8] + bytes(8))
    notes = []
    reads = [Task.of(toy.sum_of, folder=str(tmp_path), filled=made, number=n) for n in (1, 2)]
    engine = LocalEngine(2) if kind == "local" else None
    outcome = run(out, toy.study("two", *reads), engine=engine, note=notes.append)
    assert outcome.is_complete
    said = f"{path}: corrupt checkpoint, not what its record says; it is computed again"
    assert said in notes
    assert set(notes) == {said}
    assert [value_of(out, task) for task in reads] == [9, 9]
    assert (outcome.progress.done, outcome.progress.reused) == (3, 0)
    assert toy.trace_of(tmp_path).count("fill-3") >= 2


def test_repeatedly_corrupt_checkpoint_fails(tmp_path, out, monkeypatch):
    made = Task.of(toy.fill, folder=str(tmp_path), value=3)
    monkeypatch.setattr(hashlib, "file_digest", lambda file, name: hashlib.sha256(b"never"))
    reads = Task.of(toy.sum_of, folder=str(tmp_path), filled=made, number=1)
    outcome = run(out, toy.study("two", reads))
    assert toy.trace_of(tmp_path) == ["fill-3"] * (1 + TRIES)
    (failure,) = outcome.failures
    assert failure.key == reads.key
    assert "corrupt checkpoint, not what its record says" in failure.reason


def test_other_configuration_is_rejected(tmp_path, out):
    run(out, toy.study("one", give(tmp_path, 1)))
    message = rf"{out}: holds study 'one' of another configuration: number is 0 there and 5 here"
    with pytest.raises(OneBasinError, match=message):
        run(out, toy.study("one", give(tmp_path, 2), number=5))
    with pytest.raises(OneBasinError, match=rf"{out}: holds studies of scale 'smoke', not 'small'"):
        run(out, toy.study("two", give(tmp_path, 2)), scale="small")
    assert toy.trace_of(tmp_path) == ["give-1"]


def test_nested_difference_of_configurations_is_one_line(tmp_path, out):
    parts = [{"widths": [1, 2], "data": "mnist"}, {"widths": [1, 2, 4], "data": "digits"}]
    run(out, toy.study("one", give(tmp_path, 1), number=parts))
    changed = [parts[0], {**parts[1], "widths": [1, 2, 8]}]
    with pytest.raises(OneBasinError, match=re.escape("number[1].widths is [1, 2, 4] there and [")):
        run(out, toy.study("one", give(tmp_path, 1), number=changed))


def test_folder_with_other_files_is_rejected(tmp_path, out):
    out.mkdir()
    (out / "thesis.tex").write_text("years of work")
    with pytest.raises(OneBasinError, match=r"out: is not empty and holds no studies; choose an"):
        run(out, toy.study("one", give(tmp_path, 1)))
    assert [path.name for path in out.iterdir()] == ["thesis.tex"]


def test_folder_of_another_format_is_rejected(tmp_path, out):
    run(out, toy.study("one", give(tmp_path, 1)))
    mark = out / "studies.json"
    mark.write_text(mark.read_text().replace('"format": 1', '"format": 9'))
    with pytest.raises(OneBasinError, match=r"out: its studies have format 9, but this version"):
        run(out, toy.study("one", give(tmp_path, 1)))
    mark.write_text("{")
    with pytest.raises(OneBasinError, match=r"studies.json: is corrupt; delete it and run again"):
        run(out, toy.study("one", give(tmp_path, 1)))


@pytest.mark.parametrize("lost", [["studies.json"], ["studies.json", "studies/one.json"]])
def test_missing_scale_is_read_from_the_studies(tmp_path, out, lost):
    study = toy.study("one", give(tmp_path, 1))
    run(out, study)
    for name in lost:
        (out / name).unlink()
    if len(lost) == 1:
        with pytest.raises(
            OneBasinError, match=r"out: holds studies of scale 'smoke', not 'small'"
        ):
            run(out, study, scale="small")
    assert run(out, study).progress.reused == 1
    assert StudyFolder(out).scale == "smoke"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("studies.json", '{"format": 1}'),
        ("studies.json", "[]"),
        ("studies/one.json", "{}"),
        ("studies/one.json", '{"scale": "smoke", "config": {}, "tasks": [1]}'),
        ("progress.json", "{}"),
        ("progress.json", '{"state": 1, "progress": {"total": 1, "running": [], "x": 1}}'),
    ],
)
def test_remedy_for_damaged_json_works(tmp_path, out, name, text):
    study = toy.study("one", give(tmp_path, 1))
    run(out, study)
    (out / name).write_text(text)
    with pytest.raises(OneBasinError, match=rf"out/{name}: is corrupt; delete it and run again"):
        status_of(StudyFolder(out))
    (out / name).unlink()
    assert run(out, study).progress.reused == 1
    assert status_of(StudyFolder(out)).studies[0].state == "complete"


def test_damaged_heartbeat_does_not_block_a_run(tmp_path, out):
    study = toy.study("one", give(tmp_path, 1))
    run(out, study)
    (out / "progress.json").write_text("{}")
    assert run(out, study).is_complete
    assert status_of(StudyFolder(out)).state == "finished"


def test_folder_that_cannot_be_created_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OneBasinError, match=r"file/out: the folder cannot be created \(Not a dir"):
        run(tmp_path / "file" / "out", toy.study("one", give(tmp_path, 1)))


def test_folder_is_locked(tmp_path, out):
    with (
        StudyFolder(out).locked(),
        pytest.raises(OneBasinError, match=r"out: another run uses this folder; wait for it"),
    ):
        run(out, toy.study("one", give(tmp_path, 1)))
    assert run(out, toy.study("one", give(tmp_path, 1))).is_complete


def test_file_url_is_locked(tmp_path, out):
    with (
        StudyFolder(out).locked(),
        pytest.raises(OneBasinError, match=r"out: another run uses this folder; wait for it"),
    ):
        run(f"file://{out}", toy.study("one", give(tmp_path, 1)))


@pytest.mark.parametrize(("place", "host"), [("memory", None), ("memory", "other"), ("", "other")])
def test_recent_heartbeat_locks_the_folder(tmp_path, out, place, host):
    """Without a lock, or with a lock on another machine."""
    root = f"memory://{tmp_path}/out" if place else str(out)
    study = toy.study("one", give(tmp_path, 1))
    run(root, study)
    folder = StudyFolder(root)
    folder.write_heartbeat(Progress(total=1))
    heartbeat = json.loads(folder.files.read("progress.json") or b"")
    sign = {**heartbeat, "host": host or heartbeat["host"]}
    folder.files.write("progress.json", json.dumps(sign).encode())
    message = (
        rf"out: another run uses this folder \(on {sign['host']}, process {os.getpid()}\); wait"
    )
    with pytest.raises(OneBasinError, match=message):
        run(root, study)
    old = {**sign, "time": heartbeat["time"] - 61}
    folder.files.write("progress.json", json.dumps(old).encode())
    assert run(root, study).is_complete


def test_memory_urls_are_rejected_for_processes(tmp_path):
    study = toy.study("one", give(tmp_path, 1))
    url = f"memory://{tmp_path}/out"
    with pytest.raises(OneBasinError, match=rf"{url}: is in the memory of this process, which wo"):
        run(url, study, engine=LocalEngine(1))
    assert toy.trace_of(tmp_path) == []


def test_results_of_workers_are_verified(tmp_path, out, monkeypatch):
    """As on a cluster whose nodes have a folder of that name each."""
    monkeypatch.setattr("onebasin_studies.runtime.execution.VISIBILITY_TIMEOUT", 0.0)
    monkeypatch.setattr(Store, "save", lambda store, key, result, about: None)
    with pytest.raises(OneBasinError, match=r"out: a worker has put results there that cannot be"):
        run(out, toy.study("one", give(tmp_path, 1)))
    assert status_of(StudyFolder(out)).state == "stopped"


def test_full_disk_ends_the_run_and_keeps_results(tmp_path, out):
    full = Task.of(toy.fill_disk, folder=str(tmp_path))
    study = toy.study("one", give(tmp_path, 1), full)
    with pytest.raises(DiskFullError, match=rf"{out}: the disk is full; free space and run again"):
        run(out, study)
    assert value_of(out, give(tmp_path, 1)) == 1
    assert status_of(StudyFolder(out)).state == "stopped"


def test_url_works_as_folder(tmp_path):
    url = f"memory://{tmp_path}/out"
    study = toy.study("one", add(tmp_path, give(tmp_path, 1), give(tmp_path, 2)))
    assert run(url, study).is_complete
    assert run(url, study).progress.reused == 3
    assert value_of(url, study.tasks(None)[0]) == 3
    assert status_of(StudyFolder(url)).studies[0].state == "complete"


def test_progress_has_an_estimate(tmp_path, out):
    reports = []
    tasks = [Task.of(toy.give, folder=str(tmp_path), value=v, seconds=0.02) for v in range(4)]
    study = toy.study("one", *tasks)
    run_studies(
        {"one": study}, scale="smoke", out=out, engine=InlineEngine(), progress=reports.append
    )
    assert [progress.done for progress in reports] == [1, 2, 3, 4]
    assert reports[0].left is not None
    assert 0.05 < reports[0].left < 1.0
    assert reports[-1].left == 0.0
    assert reports[0].to_text() == "1 of 4 tasks done, about 0 s left"


def test_check_runs_before_the_tasks(tmp_path, out):
    def refuse(tasks):
        asked.append([task.key for task in tasks])
        raise OneBasinError("no data")

    asked = []
    study = toy.study("one", give(tmp_path, 1), give(tmp_path, 2))
    run(out, toy.study("two", give(tmp_path, 1)))
    with pytest.raises(OneBasinError, match="no data"):
        run_studies({"one": study}, scale="smoke", out=out, engine=InlineEngine(), check=refuse)
    assert asked == [[give(tmp_path, 2).key]]
    assert toy.trace_of(tmp_path) == ["give-1"]


def test_status_counts_tasks_and_results(tmp_path, out):
    with pytest.raises(OneBasinError, match=r"out: holds no studies; give the --out of a `study"):
        status_of(StudyFolder(out))
    run(out, toy.study("one", give(tmp_path, 1)), toy.study("two", give(tmp_path, 2)))
    stored_files(out, give(tmp_path, 2))[".json"].unlink()
    found = status_of(StudyFolder(out))
    assert found.state == "finished"
    assert [(s.study, s.state, s.done, s.total) for s in found.studies] == [
        ("one", "complete", 1, 1),
        ("two", "incomplete", 0, 1),
    ]
