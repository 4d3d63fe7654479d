import os
import secrets
import socket
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace

import pytest

from onebasin.errors import OneBasinError
from onebasin_studies import Task, run_studies
from onebasin_studies.runtime.folder import StudyFolder
from onebasin_studies.runtime.status import status_of
from tests.studies import toy
from tests.studies.runs import run, value_of

pytest.importorskip("ray", reason="Ray is not installed: pip install 'onebasin[ray]'")

from onebasin_studies.runtime.engines.ray import (
    ENVIRONMENT,
    TOKENS,
    RayEngine,
    _connect,
    _own_token,
)


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """The address of a real Ray cluster of two cores, on this machine."""
    from ray.cluster_utils import Cluster

    token = tmp_path_factory.mktemp("ray") / "token"
    # Without this token, Ray would write one to the home folder of the user.
    token.write_text(secrets.token_hex(32))
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**ENVIRONMENT, "RAY_AUTH_TOKEN_PATH": str(token)}.items():
            patch.setenv(name, value)
        cluster = Cluster(
            initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False}
        )
        try:
            yield cluster.address
        finally:
            cluster.shutdown()


def test_a_cluster_makes_what_this_process_makes(tmp_path, address):
    squares = Task.map(toy.square, folder=str(tmp_path), values=[1, 2, 13, 4])
    bad = Task.of(toy.fail, folder=str(tmp_path))
    sums = [Task.of(toy.add, folder=str(tmp_path), parts=p) for p in ([bad], squares[:2])]
    study, results = toy.study("one", *squares, bad, *sums), {}
    for name, engine in (("inline", None), ("ray", RayEngine(address))):
        outcome = run(tmp_path / name, study, engine=engine)
        store = StudyFolder(tmp_path / name).store
        failures = {key: failure.reason for key, failure in store.failures().items()}
        results[name] = {key: store.load(key).rows for key in store.finished()}, failures
        assert (outcome.progress.failed, outcome.progress.skipped) == (2, 1)
    assert results["ray"] == results["inline"]
    assert len(results["ray"][0]) == 4
    assert toy.processes_of(tmp_path) > {os.getpid()}


def test_a_lost_worker_is_named_and_its_task_started_again(tmp_path, address):
    notes = []
    dying = Task.of(toy.die_once, folder=str(tmp_path), value=1)
    other = Task.of(toy.give, folder=str(tmp_path), value=2)
    study, out = toy.study("one", dying, other), tmp_path / "out"
    assert run(out, study, engine=RayEngine(address), note=notes.append).is_complete
    assert [value_of(out, task) for task in (dying, other)] == [1, 2]
    (note,) = notes
    assert note.startswith(f"{dying}: lost, its Ray worker was lost (")
    assert note.endswith("); it is started again")
    assert "\n" not in note


def test_needs_are_asked_of_the_cluster(address):
    with RayEngine(address) as engine:
        assert (engine.slots, engine.threads) == (2, 2)
    with RayEngine(address, jobs=1) as engine:
        assert (engine.slots, engine.threads) == (1, 2)


def test_the_environment_stays_as_it_is(address):
    before = dict(os.environ)
    with RayEngine(address):
        pass
    assert {k: v for k, v in os.environ.items() if k in ENVIRONMENT} == {
        k: v for k, v in before.items() if k in ENVIRONMENT
    }


def test_a_cluster_that_does_not_answer_any_more_is_a_line(tmp_path, address, monkeypatch):
    monkeypatch.setattr("onebasin_studies.runtime.engines.ray.SILENCE", 0.5)
    engine, out = RayEngine(address), tmp_path / "out"
    folder = str(tmp_path)
    waits = Task.of(toy.meet, folder=folder, value=1, other=2)
    study = toy.study("one", Task.of(toy.give, folder=folder, value=3), waits)

    def leave(progress):
        if progress.done:
            engine._head = ("127.0.0.1", 1)

    with pytest.raises(OneBasinError, match=r"127.0.0.1:1 is lost \(.*refused\); finished res"):
        run_studies({"one": study}, scale="smoke", out=out, engine=engine, progress=leave)
    assert value_of(out, Task.of(toy.give, folder=folder, value=3)) == 3
    assert status_of(StudyFolder(out)).state == "stopped"


def test_a_cluster_that_refuses_our_token_is_a_line(capfd):
    """What Ray's libraries say of it they write to the process's stderr, line after line."""

    def init(**options):
        os.write(2, b"W gcs_client.cc:210: Unauthenticated: RPC error: InvalidAuthToken\n" * 20)
        raise ConnectionError("Failed to connect to Ray cluster at 127.0.0.1:1")

    with socket.create_server(("127.0.0.1", 0)) as server:
        address = "127.0.0.1:{1}".format(*server.getsockname())
        message = rf"--address {address}: the Ray cluster refuses the token of this machine; put"
        with pytest.raises(OneBasinError, match=message):
            _connect(SimpleNamespace(init=init), address, None, {})
    assert capfd.readouterr().err == ""


def test_the_token_of_a_cluster_of_our_own_is_not_left_behind(monkeypatch):
    for name in TOKENS:
        monkeypatch.delenv(name, raising=False)
    with ExitStack() as scratch:
        found = _own_token(scratch)
        path = Path(found["RAY_AUTH_TOKEN_PATH"])
        assert (len(path.read_text()), path.stat().st_mode & 0o777) == (64, 0o600)
    assert not path.exists()
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    with ExitStack() as scratch:
        assert _own_token(scratch) == {}


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("nonsense", r"--address nonsense: expected HOST:PORT, or auto"),
        ("127.0.0.1:1", r"--address 127.0.0.1:1: no Ray cluster can be reached \(.*refused\); che"),
    ],
)
def test_an_address_where_no_cluster_is_is_refused_at_once(tmp_path, address, message):
    study = toy.study("one", Task.of(toy.give, folder=str(tmp_path), value=1))
    with pytest.raises(OneBasinError, match=message):
        run(tmp_path / "out", study, engine=RayEngine(address))
    assert not Path(tmp_path, "trace").exists()


def test_zero_workers_raise():
    with pytest.raises(OneBasinError, match=r"--jobs is 0; it must be at least 1"):
        RayEngine(jobs=0)
