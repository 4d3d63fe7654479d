"""Files and folders appear whole or not at all, whatever stops the writing."""

import os
import signal
import stat
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from onebasin.checkpoints import atomic_folder, atomic_path
from onebasin.errors import OneBasinError

Atomic = Callable[[Path], AbstractContextManager[Path]]


def both() -> pytest.MarkDecorator:
    return pytest.mark.parametrize("atomic", [atomic_path, atomic_folder], ids=["file", "folder"])


def fill(temporary: Path, text: str) -> None:
    """Write into the temporary file, or into a file in the temporary folder."""
    (temporary / "part" if temporary.is_dir() else temporary).write_text(text)


def test_file_appears_at_the_end(tmp_path: Path) -> None:
    target = tmp_path / "curve.png"
    target.write_text("old")
    with atomic_path(target) as temporary:
        assert temporary.parent == tmp_path
        assert temporary.suffix == ".png"
        temporary.write_text("new")
        assert target.read_text() == "old"
    assert target.read_text() == "new"
    assert os.listdir(tmp_path) == ["curve.png"]


def test_folder_appears_at_the_end(tmp_path: Path) -> None:
    target = tmp_path / "out"
    target.mkdir()
    with atomic_folder(f"{target}/") as temporary:
        (temporary / "a.json").write_text("{}")
        assert os.listdir(target) == []
    assert os.listdir(tmp_path) == ["out"]
    assert (target / "a.json").read_text() == "{}"


def test_permissions_are_those_of_any_new_file(tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("")
    with atomic_path(tmp_path / "atomic"):
        pass
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("plain", "atomic")]
    assert modes[0] == modes[1]


def test_symbolic_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    (tmp_path / "link.json").symlink_to(tmp_path / "far" / "real.json")
    with atomic_path(tmp_path / "link.json") as temporary:
        temporary.write_text("{}")
    assert (tmp_path / "link.json").is_symlink()
    assert (tmp_path / "far" / "real.json").read_text() == "{}"


def test_longest_file_name_works(tmp_path: Path) -> None:
    target = tmp_path / ("a" * 250 + ".json")
    with atomic_path(target) as temporary:
        temporary.write_text("{}")
    assert target.read_text() == "{}"


@both()
@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_exception_leaves_nothing(
    tmp_path: Path, atomic: Atomic, error: type[BaseException]
) -> None:
    def write() -> None:
        with atomic(tmp_path / "out") as temporary:
            fill(temporary, "half")
            raise error("stop")

    with pytest.raises(error, match="stop"):
        write()
    assert os.listdir(tmp_path) == []


def test_exception_leaves_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "a.json"
    target.write_text("old")

    def write() -> None:
        with atomic_path(target) as temporary:
            temporary.write_text("half")
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        write()
    assert target.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.json"]


@both()
@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_signal_leaves_nothing(tmp_path: Path, atomic: Atomic, name: str) -> None:
    number = signal.Signals[name]
    inherited = signal.signal(number, signal.SIG_DFL)  # nohup and some runners ignore SIGHUP

    def write() -> None:
        with atomic(tmp_path / "out") as temporary:
            fill(temporary, "half")
            signal.raise_signal(number)

    try:
        with pytest.raises(SystemExit) as caught:
            write()
        assert caught.value.code == 128 + number
        assert os.listdir(tmp_path) == []
        assert signal.getsignal(number) is signal.SIG_DFL
    finally:
        signal.signal(number, inherited)


@both()
def test_a_kill_leaves_nothing_under_the_name(tmp_path: Path, atomic: Atomic) -> None:
    child = os.fork()
    if child == 0:
        with atomic(tmp_path / "out") as temporary:
            fill(temporary, "half")
            os.kill(os.getpid(), signal.SIGKILL)
        os._exit(0)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    assert not (tmp_path / "out").exists()
    with atomic(tmp_path / "out") as temporary:  # the leftover file is ignored
        fill(temporary, "whole")
    written = tmp_path / "out"
    assert (written / "part" if written.is_dir() else written).read_text() == "whole"


def test_foreign_signal_handler_stays_in_charge(tmp_path: Path) -> None:
    received: list[int] = []
    previous = signal.signal(signal.SIGTERM, lambda number, frame: received.append(number))
    try:
        with atomic_path(tmp_path / "a.json") as temporary:
            signal.raise_signal(signal.SIGTERM)
            temporary.write_text("{}")
    finally:
        signal.signal(signal.SIGTERM, previous)
    assert received == [signal.SIGTERM]
    assert (tmp_path / "a.json").read_text() == "{}"


def test_other_threads_may_write(tmp_path: Path) -> None:
    def write() -> None:
        with atomic_path(tmp_path / "a.json") as temporary:
            temporary.write_text("{}")

    thread = threading.Thread(target=write)
    thread.start()
    thread.join()
    assert (tmp_path / "a.json").read_text() == "{}"


@both()
def test_nested_blocks_clean_up_both(tmp_path: Path, atomic: Atomic) -> None:
    def write() -> None:
        with atomic(tmp_path / "one"), atomic(tmp_path / "two"):
            signal.raise_signal(signal.SIGTERM)

    with pytest.raises(SystemExit):
        write()
    assert os.listdir(tmp_path) == []


@both()
def test_name_that_is_too_long(tmp_path: Path, atomic: Atomic) -> None:
    reached = False
    with (
        pytest.raises(OneBasinError, match=r"a+\.json: cannot be written \(File name too long\)"),
        atomic(tmp_path / ("a" * 300 + ".json")),
    ):
        reached = True
    assert not reached
    assert os.listdir(tmp_path) == []


@both()
def test_missing_folder(tmp_path: Path, atomic: Atomic) -> None:
    text = r"absent/out: the folder .*absent does not exist; create it first"
    with pytest.raises(OneBasinError, match=text), atomic(tmp_path / "absent" / "out"):
        pass
    assert os.listdir(tmp_path) == []


@both()
@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="needs a folder even root cannot fill")
def test_folder_that_takes_no_files(atomic: Atomic) -> None:
    text = r"/proc/self/out: cannot be written \(.+\); choose another output path"
    with pytest.raises(OneBasinError, match=text), atomic(Path("/proc/self/out")):
        pass


def test_folder_where_a_file_is_expected(tmp_path: Path) -> None:
    with pytest.raises(OneBasinError, match="is a folder; give the path of a file"):
        with atomic_path(tmp_path):
            pass


def test_occupied_folder(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "precious").write_text("kept")
    text = "the folder is not empty; remove it or choose another output"
    with pytest.raises(OneBasinError, match=text), atomic_folder(tmp_path / "out"):
        pass
    with (
        pytest.raises(OneBasinError, match="is a file, but the output is a folder"),
        atomic_folder(tmp_path / "out" / "precious"),
    ):
        pass
    assert (tmp_path / "out" / "precious").read_text() == "kept"


def test_folder_occupied_meanwhile(tmp_path: Path) -> None:
    def write() -> None:
        with atomic_folder(tmp_path / "out"):
            (tmp_path / "out").mkdir()
            (tmp_path / "out" / "precious").write_text("kept")

    with pytest.raises(OneBasinError, match=r"out: cannot be written \(.*not empty"):
        write()
    assert (tmp_path / "out" / "precious").read_text() == "kept"
    assert os.listdir(tmp_path) == ["out"]
