import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from onebasin.errors import OneBasinError
from onebasin_studies import Task
from onebasin_studies.runtime.engines import LocalEngine
from onebasin_studies.runtime.folder import StudyFolder
from onebasin_studies.runtime.status import status_of
from onebasin_studies.runtime.store import DiskFullError
from tests.studies import toy
from tests.studies.runs import run, value_of


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


def test_processes_compute_the_same_results(tmp_path, out):
    text = "spoken on stdout"
    squares = Task.map(toy.square, folder=str(tmp_path), values=[1, 2, 13, 4])
    bad = Task.of(toy.fail, folder=str(tmp_path))
    others = [Task.of(toy.chatter, text=text), bad, Task.of(toy.add, folder="x", parts=[bad])]
    study, results = toy.study("one", *squares, *others), {}
    for name, engine in (("inline", None), ("local", LocalEngine(2))):
        outcome = run(tmp_path / name, study, engine=engine)
        store = StudyFolder(tmp_path / name).store
        failures = {key: failure.reason for key, failure in store.failures().items()}
        results[name] = {key: store.load(key).rows for key in store.finished()}, failures
        assert (outcome.progress.failed, outcome.progress.skipped) == (2, 1)
    assert results["local"] == results["inline"]
    assert len(results["local"][0]) == 4


def test_tasks_run_in_parallel_processes(tmp_path, out):
    pair = [Task.of(toy.meet, folder=str(tmp_path), value=a, other=b) for a, b in ((1, 2), (2, 1))]
    assert run(out, toy.study("one", *pair), engine=LocalEngine(2)).is_complete
    assert len(toy.processes_of(tmp_path) - {os.getpid()}) == 2


def test_worker_starts_without_torch(out):
    """Importing torch takes seconds; only tasks that need it pay for it."""
    task = Task.of(toy.report_torch)
    run(out, toy.study("one", task), engine=LocalEngine(1))
    assert value_of(out, task) == 0


def test_killed_worker_loses_only_its_task(tmp_path, out):
    notes = []
    folder = str(tmp_path)
    dying = Task.of(toy.die_once, folder=folder, value=1)
    doomed = Task.of(toy.die_always, folder=folder)
    others = [Task.of(toy.give, folder=folder, value=v) for v in range(3)]
    outcome = run(
        out, toy.study("one", dying, doomed, *others), engine=LocalEngine(2), note=notes.append
    )
    assert value_of(out, dying) == 1
    assert outcome.progress.done == 4
    assert [failure.key for failure in outcome.failures] == [doomed.key]
    reason = "its worker was killed, possibly because memory ran out"
    assert notes.count(f"{dying}: lost, {reason}; it is started again") == 1
    assert notes.count(f"{doomed}: lost, {reason}; it is started again") == 2
    assert notes.count(f"{doomed}: failed: {reason} (started 3 times)") == 1
    assert toy.trace_of(tmp_path).count("die") == 3


def test_full_disk_in_a_worker_is_one_line(tmp_path, out):
    study = toy.study("one", Task.of(toy.fill_disk, folder=str(tmp_path)))
    with pytest.raises(DiskFullError, match=rf"{out}: the disk is full; free space and run again"):
        run(out, study, engine=LocalEngine(1))


def test_zero_workers_raise():
    with pytest.raises(OneBasinError, match=r"--jobs is 0; it must be at least 1"):
        LocalEngine(0)


PROGRAM = """
import sys
from tests.studies import toy
from tests.studies.runs import run
from onebasin_studies.runtime.engines import LocalEngine
folder, out = sys.argv[1:]
run(out, toy.study("one", *toy.some_tasks(folder)), engine=LocalEngine(2))
"""


def start(folder: Path, out: Path, repository: Path) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PYTHONPATH": f"{repository / 'src'}{os.pathsep}{repository}"}
    command = [sys.executable, "-c", PROGRAM, str(folder), str(out)]
    return subprocess.Popen(command, cwd=repository, env=environment)


def wait_for(condition, seconds=60.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.02)


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and waits for its parent to look does not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks at processes in /proc")
def test_killed_run_loses_only_running_tasks(tmp_path, out, repository):
    tasks = toy.some_tasks(tmp_path)
    store = StudyFolder(out).store
    lost = 0
    for num_done in (2, 5):
        process = start(tmp_path, out, repository)
        wait_for(lambda num=num_done: len(store.finished()) >= num)
        process.send_signal(signal.SIGKILL)
        process.wait()
        wait_for(lambda: not any(map(is_alive, toy.processes_of(tmp_path))))
        done = store.finished()
        assert all(store.check(key) for key in done), "a result is not whole"
        lost = len(toy.trace_of(tmp_path)) - len(done)
        assert lost <= 4, "no more than two tasks are in flight when a run is killed"
        assert len(done) < len(tasks)
        assert status_of(StudyFolder(out)).state == "stopped"
    assert start(tmp_path, out, repository).wait(60) == 0
    assert store.finished() == {task.key for task in tasks}
    assert len(toy.trace_of(tmp_path)) == len(tasks) + lost
    assert [value_of(out, task) for task in tasks] == [*range(toy.NUM), 1, 6, 28]
    assert not [path for path in out.rglob("*") if ".part-" in path.name]
