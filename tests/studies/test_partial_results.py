import pytest
import torch

from onebasin.errors import OneBasinError
from onebasin_studies import Task
from onebasin_studies.runtime.engines import LocalEngine
from onebasin_studies.runtime.folder import StudyFolder
from onebasin_studies.runtime.schedule import Plan, Schedule
from onebasin_studies.runtime.store import Files, PartialResults
from onebasin_studies.tasks import training
from onebasin_studies.tasks.training import train_networks
from onebasin_studies.training.folder import Folder
from tests.studies import toy
from tests.studies.runs import run, value_of

STEPS = [f"step-{step}-of-1-2-3" for step in range(4)]


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


def climbs(folder, stop=""):
    return Task.map(toy.climb, folder=str(folder), values=[1, 2, 3], stop=stop)


def stopped(tmp_path, out):
    """A study whose only call was stopped in the middle."""
    study = toy.study("one", *climbs(tmp_path, "interrupt"))
    with pytest.raises(KeyboardInterrupt):
        run(out, study)
    assert toy.trace_of(tmp_path) == [*STEPS[:2], "stop"]
    return study


def test_resume_folder_does_not_affect_the_key():
    task, *_ = climbs("x")
    assert "resume_folder" not in task.arguments
    given = Task.of(toy.climb, folder="x", values=[1], stop="", resume_folder="somewhere")
    assert given.key == task.key


def test_stopped_call_resumes_with_the_same_tasks(tmp_path, out):
    study = stopped(tmp_path, out)
    assert run(out, study, engine=LocalEngine(3)).is_complete
    assert toy.trace_of(tmp_path) == [*STEPS[:2], "stop", *STEPS[2:]]
    assert [value_of(out, task) for task in climbs(tmp_path, "interrupt")] == [1, 2, 3]
    assert list((out / "partial").iterdir()) == []


def test_call_resumes_after_its_worker_is_killed(tmp_path, out):
    notes = []
    study = toy.study("one", *climbs(tmp_path, "kill"))
    assert run(out, study, engine=LocalEngine(1), note=notes.append).is_complete
    assert toy.trace_of(tmp_path) == [*STEPS[:2], "stop", *STEPS[2:]]
    assert len(notes) == 1


def test_damaged_partial_results_are_recomputed(tmp_path, out):
    study = stopped(tmp_path, out)
    (steps,) = out.glob("partial/*/kept/steps")
    steps.write_bytes(b"\xff")
    assert run(out, study).is_complete
    assert toy.trace_of(tmp_path) == [*STEPS[:2], "stop", *STEPS]


def test_partial_results_of_finished_tasks_are_removed(tmp_path, out):
    study = stopped(tmp_path, out)
    first, *_ = climbs(tmp_path, "interrupt")
    (folder,) = (out / "partial").iterdir()
    partial = PartialResults(Files(out))
    assert run(out, toy.study("two", Task.of(toy.give, folder=str(tmp_path), value=7))).is_complete
    assert folder.exists(), "another study may go on from it"
    partial.open([first.key])
    run(out, toy.study("three", first))
    assert run(out, study).is_complete
    assert list((out / "partial").iterdir()) == []


def test_interrupted_calls_come_first():
    tasks = [task.with_cost(1) for task in climbs("x")]
    more = Task.of(toy.give, folder="x", value=1).with_cost(99)
    plan = Plan.of({"one": [*tasks, more]})
    keys = [task.key for task in tasks]
    schedule = Schedule(plan, [], [keys[:2]])
    assert [task.key for task in schedule.next_call(3)] == keys[:2]
    assert schedule.next_call(0) == []
    for begun in ([], [[keys[0], "unknown"]], [[]]):
        assert Schedule(plan, [], begun).next_call(1) == [plan.tasks[more.key]]
    assert Schedule(plan, keys[:1], [keys]).next_call(1) == [plan.tasks[more.key]]


def test_urls_have_no_partial_results(tmp_path):
    partial = PartialResults(Files(f"memory://{tmp_path}"))
    assert partial.open(["a"]) is None
    partial.close(["a"])
    assert partial.begun() == []


def test_unknown_partial_folder_is_removed(tmp_path):
    partial = PartialResults(Files(tmp_path))
    partial.open(["a", "b"])
    for text in ("{", "{}", '{"keys": 1}'):
        other = tmp_path / "partial" / f"other{len(text)}" / "call.json"
        other.parent.mkdir()
        other.write_text(text)
    assert partial.begun() == [("a", "b")]
    assert len(list((tmp_path / "partial").iterdir())) == 1


@pytest.mark.parametrize("more", [{}, {"keep": [1, 3]}, {"recipe": {"spawn_epoch": 1}}])
def test_killed_training_resumes_to_the_same_result(tmp_path, monkeypatch, more):
    setting = {
        "data": {"name": "digits", "max_train_examples": 200},
        "network": {"name": "mlp", "width": 8, "depth": 1},
        "seeds": [0, 1],
        **more,
        "recipe": {"epochs": 4, **more.get("recipe", {})},
    }
    whole = train_networks(**setting)
    monkeypatch.setattr(training, "CHECKPOINT_SECONDS", 0.0)
    write, written = Folder.write_state, []

    def killed(folder, name, state):
        write(folder, name, state)
        written.append(name)
        if len(written) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(Folder, "write_state", killed)
    with pytest.raises(KeyboardInterrupt):
        train_networks(**setting, resume_folder=str(tmp_path))
    assert list(tmp_path.glob("running/*"))
    resumed = train_networks(**setting, resume_folder=str(tmp_path))
    for one, other in zip(whole, resumed, strict=True):
        assert [row["loss"] for row in one.rows] == [row["loss"] for row in other.rows]
        assert one.tensors.keys() == other.tensors.keys()
        assert all(torch.equal(one.tensors[name], other.tensors[name]) for name in one.tensors)


def test_full_disk_during_partial_results(tmp_path, out, monkeypatch):
    def full(*, folder, values, stop, resume_folder=None):
        try:
            raise OSError(28, "No space left on device")
        except OSError as error:
            raise OneBasinError("x: cannot be written") from error

    study = toy.study("one", climbs(tmp_path)[0])
    monkeypatch.setattr(toy, "climb", full)
    with pytest.raises(OneBasinError, match=r"out: the disk is full; free space and run again"):
        run(out, study)
    assert StudyFolder(out).store.failures() == {}
