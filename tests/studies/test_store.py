import errno
import hashlib
import json
import os
import re

import pytest
import torch

from onebasin.errors import OneBasinError
from onebasin_studies import Result, Task
from onebasin_studies.runtime.store import CorruptResultError, DiskFullError, Failure, Files, Store
from onebasin_studies.runtime.store.records import about
from onebasin_studies.runtime.store.rows import decode_rows, encode_rows
from tests.studies import toy

ROWS = [{"a": 1, "b": "x", "c": 0.5, "d": True}, {"a": 2, "b": None, "c": 1, "d": False, "e": 3}]
TASK = Task.of(toy.give, folder="x", value=1)
KEY = TASK.key
ORIGIN = {"finished": 1.0, "host": "here", "cores": 4, "versions": {"torch": "2"}}


@pytest.fixture(params=["folder", "memory://"])
def store(request, tmp_path):
    if request.param == "folder":
        return Store(tmp_path / "here")
    return Store(f"{request.param}{tmp_path}/here")


def tensors():
    tied = torch.randn(3, 2)
    return {"w": tied, "tied": tied, "view": tied.T, "b": torch.ones(2, dtype=torch.bfloat16)}


def save(store, result=None):
    store.save(KEY, result or Result(ROWS, tensors()), about(TASK, 1.5, **ORIGIN))
    return store


def test_result_is_restored(store):
    saved = Result(ROWS, tensors())
    found = save(store, saved).load(KEY)
    assert found.rows == [{**ROWS[0], "e": None}, ROWS[1]]
    assert sorted(found.tensors) == sorted(saved.tensors)
    for name, tensor in saved.tensors.items():
        assert torch.equal(found.tensors[name], tensor)
        assert found.tensors[name].dtype == tensor.dtype
    assert store.finished() == {KEY}
    record = store.check(KEY)
    assert record is not None
    assert record.seconds == 1.5
    assert record.data["function"] == "tests.studies.toy:give"
    assert not [name for name in store.files.names() if ".part-" in name]


def test_empty_store_has_no_results(store):
    assert (store.finished(), store.failures(), store.check(KEY)) == (set(), {}, None)
    with pytest.raises(CorruptResultError, match=rf"{KEY}.json: is missing"):
        store.load(KEY)


def test_empty_result_is_stored(store):
    assert save(store, Result()).load(KEY).rows == []
    assert dict(store.load(KEY).tensors) == {}


def test_failure_is_stored_until_the_task_succeeds(store):
    failure = Failure(KEY, "give(value=1)", "ValueError: no", "Traceback ...")
    store.save_failure(failure)
    assert store.failures() == {KEY: failure}
    assert store.finished() == set()
    assert save(store).failures() == {}


@pytest.mark.parametrize(
    ("suffix", "spoil", "message"),
    [
        (".parquet", lambda d: d[:-9] + b"x" * 9, r"\.parquet: corrupt row file, not what its rec"),
        (".parquet", lambda d: d[:20], r"\.parquet: corrupt row file"),
        (".parquet", None, r"\.parquet: the row file is missing"),
        (".safetensors", lambda d: d[:-1], r"\.safetensors: has \d+ of \d+ bytes"),
        (".safetensors", None, r"\.safetensors: is missing"),
        (".json", lambda d: d[: len(d) // 2], r"\.json: corrupt record"),
        (".json", lambda d: b"{}", r"\.json: corrupt record"),
        (".json", lambda d: b"[]", r"\.json: corrupt record"),
        (".json", lambda d: d.replace(b'"finished"', b'"begun"'), r"\.json: corrupt record"),
        (".json", lambda d: d.replace(b'"host"', b'"guest"'), r"\.json: corrupt record"),
        (".json", lambda d: d.replace(b'"2"', b"2"), r"\.json: corrupt record"),
        (".json", lambda d: re.sub(rb'"files": .*', b'"files": []}', d, flags=16), r"\.json: corr"),
    ],
)
def test_changed_file_is_detected(tmp_path, suffix, spoil, message):
    store = save(Store(tmp_path))
    path = tmp_path / "results" / KEY[:2] / f"{KEY}{suffix}"
    path.write_bytes(spoil(path.read_bytes())) if spoil else path.unlink()
    with pytest.raises(CorruptResultError, match=message):
        store.check(KEY)
    with pytest.raises(CorruptResultError, match=message):
        store.load(KEY)
    store.discard(KEY)
    assert not list(path.parent.iterdir())


def test_invalid_tensors_of_the_same_size_are_detected(tmp_path):
    store = save(Store(tmp_path))
    path = tmp_path / "results" / KEY[:2] / f"{KEY}.safetensors"
    path.write_bytes(b"\xff" * path.stat().st_size)
    with pytest.raises(CorruptResultError, match=r"no whole safetensors file"):
        store.load(KEY)


def test_changed_tensors_are_detected_on_load(store):
    path = store.files.names("results")[-1] if save(store) else ""
    assert path.endswith(".safetensors")
    data = store.files.read(path)
    store.load(KEY)
    store.files.write(path, data[:-1] + bytes([data[-1] ^ 1]))
    assert store.check(KEY) is not None
    message = rf"{KEY}.safetensors: corrupt checkpoint, not what its record says"
    with pytest.raises(CorruptResultError, match=message) as caught:
        store.load(KEY)
    assert caught.value.key == KEY
    assert len(store.load(KEY, trusts_tensors=True).rows) == len(ROWS)
    store.files.write(path, data)
    assert len(store.load(KEY).tensors) == 4


def test_checkpoint_is_hashed_once_per_process(tmp_path, monkeypatch):
    store = save(Store(tmp_path))
    store.load(KEY)
    monkeypatch.setattr(hashlib, "file_digest", None)
    assert len(Store(tmp_path).load(KEY).tensors) == 4


@pytest.mark.parametrize("text", ["{", "{}", "[]", '{"key": 1}', '{"functi'])
def test_damaged_failure_is_ignored(store, text):
    store.save_failure(Failure(KEY, "give(value=1)", "ValueError: no", "Traceback ..."))
    (name,) = store.files.names("results")
    store.files.write(name, text.encode())
    assert store.failures() == {}


def test_result_requires_its_record(tmp_path):
    store = save(Store(tmp_path))
    (tmp_path / "results" / KEY[:2] / f"{KEY}.json").unlink()
    assert store.finished() == set()
    assert store.check(KEY) is None


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_full_disk_raises_and_leaves_no_partial_file(tmp_path, monkeypatch, code):
    store = save(Store(tmp_path))
    before = sorted(tmp_path.rglob("*"))

    def full(descriptor):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DiskFullError, match=r": the disk is full; free space and run again"):
        store.files.write("results/zz/other.json", b"data")
    with pytest.raises(DiskFullError):
        save(store)
    monkeypatch.undo()
    assert [path for path in sorted(tmp_path.rglob("*")) if path.is_file()] == [
        path for path in before if path.is_file()
    ]
    assert store.check(KEY) is not None


def test_full_disk_behind_a_url_leaves_no_partial_file(tmp_path, monkeypatch):
    files = Files(f"memory://{tmp_path}/full")
    memory = files._remote

    def pipe(path, data):
        memory.__class__.pipe_file(memory, path, data[:1])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(memory, "pipe_file", pipe, raising=False)
    with pytest.raises(DiskFullError, match=r"full: the disk is full; free space and run again"):
        files.write("results/ab/one.json", b"data")
    assert [path for path in memory.find(f"{tmp_path}/full") if ".part-" in path] == []


def test_file_url_is_its_folder(tmp_path):
    files = Files(f"file://{tmp_path}/here")
    assert files.folder == tmp_path / "here"
    assert files.root == f"{tmp_path}/here"


def test_unwritable_path_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OneBasinError, match=r"file/results/.*: cannot be written \(.*\); choose"):
        save(Store(tmp_path / "file"))


def test_an_unknown_protocol_is_named():
    with pytest.raises(OneBasinError, match=r"nonsense://x: cannot be opened \(Protocol not known"):
        Files("nonsense://x")


def test_temporary_files_are_hidden_and_swept(store):
    store.files.write("a/file", b"1")
    store.files.write("a/.part-123-file", b"half")
    assert store.files.names() == ["a/file"]
    store.files.sweep()
    assert store.files.read("a/.part-123-file") is None
    assert store.files.read("a/file") == b"1"


def test_rows_of_mixed_types_raise():
    with pytest.raises(OneBasinError, match=r"column 'a' cannot be stored \(.*\); give all its"):
        encode_rows([{"a": 1}, {"a": "x"}])
    with pytest.raises(OneBasinError, match=r"no parquet file"):
        decode_rows(b"nothing")


def test_integers_and_floats_share_a_column():
    assert decode_rows(encode_rows([{"a": 1}, {"a": 2.5}, {"b": None}])) == [
        {"a": 1.0, "b": None},
        {"a": 2.5, "b": None},
        {"a": None, "b": None},
    ]


def test_record_is_standard_json(tmp_path):
    save(Store(tmp_path))
    record = json.loads((tmp_path / "results" / KEY[:2] / f"{KEY}.json").read_text())
    assert record["arguments"] == {"folder": "x", "value": 1, "seconds": 0.0}
    assert set(record["files"]) == {"parquet", "safetensors"}
