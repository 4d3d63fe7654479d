"""The cache is whole or written anew, whoever else uses it."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from onebasin.data import load_dataset
from onebasin.data._cache import MANIFEST, cache_folder, cached
from onebasin.errors import OneBasinError
from tests.data.sets import write_set

VALUES = torch.arange(100)


class Writer:
    """Writes one tensor and counts how often it was asked to."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, folder: Path) -> dict:
        self.calls += 1
        (folder / "values.bin").write_bytes(VALUES.numpy().tobytes())
        return {"note": "kept", "tensors": {"values": {"dtype": "int64", "shape": [10, 10]}}}


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "cache" / "set-0"


def assert_whole(stored):
    assert torch.equal(stored.tensors["values"], VALUES.view(10, 10))
    assert stored.facts["note"] == "kept"


def test_what_is_there_is_not_written_again(folder):
    write = Writer()
    for _ in range(3):
        assert_whole(cached(folder, write))
    assert write.calls == 1


def test_what_is_written_to_a_tensor_stays_private(folder):
    stored = cached(folder, Writer())
    stored.tensors["values"].zero_()
    assert_whole(cached(folder, Writer()))


def flip(path: Path) -> None:
    """Change one byte and leave the file as old as it was."""
    kept, data = path.stat(), bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(kept.st_atime_ns, kept.st_mtime_ns))


FAULTS = {
    "one bit": lambda folder: flip(folder / "values.bin"),
    "cut": lambda folder: (folder / "values.bin").write_bytes(b"\0" * 99),
    "longer": lambda folder: os.truncate(folder / "values.bin", 801),
    "missing": lambda folder: (folder / "values.bin").unlink(),
    "no manifest": lambda folder: (folder / MANIFEST).unlink(),
    "half a manifest": lambda folder: (folder / MANIFEST).write_text('{"format": 1, "tens'),
    "other manifest": lambda folder: (folder / MANIFEST).write_text('["nothing"]'),
    "manifest of another format": lambda folder: (folder / MANIFEST).write_text(
        json.dumps({**json.loads((folder / MANIFEST).read_text()), "format": 0})
    ),
    "no such dtype": lambda folder: (folder / MANIFEST).write_text(
        (folder / MANIFEST).read_text().replace("int64", "int63")
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_not_whole_is_noticed_and_written_anew(folder, fault, caplog):
    write = Writer()
    cached(folder, write)
    FAULTS[fault](folder)
    with caplog.at_level(logging.WARNING):
        assert_whole(cached(folder, write))
    assert write.calls == 2
    assert "is incomplete or of another version; it is written again" in caplog.text
    assert_whole(cached(folder, write))
    assert write.calls == 2


def test_a_writer_that_fails_leaves_nothing(folder):
    def fail(temporary: Path) -> dict:
        (temporary / "values.bin").write_bytes(b"half")
        raise OneBasinError("broken")

    with pytest.raises(OneBasinError, match="broken"):
        cached(folder, fail)
    assert not folder.exists()
    assert [path.suffix for path in folder.parent.iterdir()] in ([], [".lock"])
    assert_whole(cached(folder, Writer()))


def test_many_at_once_write_once(folder):
    write = Writer()

    def slowly(temporary: Path) -> dict:
        time.sleep(0.2)
        return write(temporary)

    with ThreadPoolExecutor(4) as pool:
        for stored in pool.map(lambda _: cached(folder, slowly), range(4)):
            assert_whole(stored)
    assert write.calls == 1


KILLED = """
import sys, time
from pathlib import Path
from onebasin.data._cache import cached

def write(folder):
    (folder / "values.bin").write_bytes(b"half")
    print("writing", flush=True)
    time.sleep(60)

cached(Path(sys.argv[1]), write)
"""


def test_a_killed_writer_is_no_hindrance(folder):
    command = [sys.executable, "-c", KILLED, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "writing\n"
        process.send_signal(signal.SIGKILL)
    left = [path for path in folder.parent.iterdir() if path.is_dir()]
    assert len(left) == 1
    assert_whole(cached(folder, Writer()))
    assert [path for path in folder.parent.iterdir() if path.is_dir()] == [folder]


def test_a_cache_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OneBasinError, match=r"the cache .* cannot be written \(.*ONEBASIN_CACHE$"):
        cached(tmp_path / "file" / "set-0", Writer())


def test_a_full_disk_is_named(folder):
    def full(temporary: Path) -> dict:
        raise OSError(28, "No space left on device")

    with pytest.raises(OneBasinError, match=r"cannot be written \(No space left on device\)"):
        cached(folder, full)


def test_the_folder_is_given_or_the_environments_or_the_platforms(monkeypatch, tmp_path):
    assert cache_folder(tmp_path) == tmp_path
    monkeypatch.setenv("ONEBASIN_CACHE", str(tmp_path / "own"))
    assert cache_folder() == tmp_path / "own"
    monkeypatch.delenv("ONEBASIN_CACHE")
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "onebasin"
    monkeypatch.setattr(sys, "platform", "darwin")
    assert cache_folder() == Path.home() / "Library" / "Caches" / "onebasin"


def test_a_set_is_decoded_once_and_again_when_its_files_change(tmp_path):
    decoded = []

    def load(**options):
        return load_dataset(
            "toy", root=tmp_path, cache=tmp_path / "cache",
            progress=lambda done, total: decoded.append(total), **options,
        )  # fmt: skip

    write_set(tmp_path / "toy")
    first, again = load(), load(seed=7, num_train=3)
    assert decoded == [26, 26]
    assert len(again.train_labels) == 3
    write_set(tmp_path / "toy", num_train=40)
    assert len(load().train_labels) == 40
    assert decoded == [26, 26, 46, 46]
    assert len(first.train_labels) == 20
    load(image_size=4)
    assert len(decoded) == 6, "read in another way, the set is another"


def test_a_broken_cache_of_a_set_is_decoded_again(tmp_path):
    write_set(tmp_path / "toy")
    kept = load_dataset("toy", root=tmp_path, cache=tmp_path / "cache").train_examples.raw.clone()
    (file,) = (tmp_path / "cache").glob("datasets/*/train_inputs.bin")
    flip(file)
    again = load_dataset("toy", root=tmp_path, cache=tmp_path / "cache").train_examples.raw
    assert torch.equal(again, kept)


@pytest.mark.parametrize("missing", ["test_labels", "num_classes", "kind"])
def test_a_cache_of_a_set_that_lacks_something_is_decoded_again(tmp_path, missing):
    write_set(tmp_path / "toy")

    def load():
        return load_dataset("toy", root=tmp_path, cache=tmp_path / "cache")

    kept = load()
    (manifest,) = (tmp_path / "cache").glob(f"datasets/*/{MANIFEST}")
    whole = manifest.read_text()
    facts = json.loads(whole)
    facts["tensors"].pop(missing, None)
    facts.pop(missing, None)
    manifest.write_text(json.dumps(facts))
    again = load()
    assert torch.equal(again.test_labels, kept.test_labels)
    assert again.num_classes == 3
    assert json.loads(manifest.read_text()) == json.loads(whole)
