"""The cache of decoded data: complete or decoded again, also with other processes."""

from __future__ import annotations

import importlib.util
import json
import logging
import shutil
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest
import torch

from onebasin.data import batches, load_dataset
from onebasin.data._cache import cache_folder
from onebasin.data._row_chunks import RowChunks, as_one_tensor
from onebasin.errors import OneBasinError
from tests.data.small_datasets import images, write_set, write_split

library = pytest.importorskip("datasets", reason="needs pip install 'onebasin[data]'")


class Loader:
    """Loads one small dataset and counts the number of times that it was decoded."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.cache = root / "cache"
        self.num_decoded = 0
        write_set(root / "toy")

    def __call__(self, **options):
        return load_dataset(
            "toy", root=self.root, cache=self.cache, progress=self._count, **options
        )

    def _count(self, done: int, total: int) -> None:
        self.num_decoded += done == total


@pytest.fixture
def load(tmp_path):
    return Loader(tmp_path)


def entry_of(load: Loader) -> Path:
    """Return the folder of the only dataset in the cache."""
    (info,) = load.cache.rglob("dataset_info.json")
    return info.parent


def assert_complete(data):
    assert torch.equal(data.train_examples.raw[:, 0], torch.from_numpy(images(20)))
    assert torch.equal(data.test_examples.raw[:, 0], torch.from_numpy(images(6, seed=1)))
    assert data.test_labels.tolist() == [0, 1, 2, 0, 1, 2]
    assert data.class_names == ("cat", "dog", "eel")


def test_a_dataset_is_decoded_once(load):
    for seed in range(3):
        assert_complete(load())
        assert len(load(max_train_examples=3, seed=seed).train_labels) == 3
    assert load.num_decoded == 1


def test_changed_files_and_other_options_are_decoded_again(load):
    first = load()
    write_set(load.root / "toy", num_train=40)
    assert len(load().train_labels) == 40
    assert load.num_decoded == 2
    assert len(first.train_labels) == 20
    load(image_size=4)
    assert load.num_decoded == 3


def test_changes_to_a_tensor_are_not_written(load):
    load().train_examples.raw.zero_()
    assert_complete(load())


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-700])


def change_json(path: Path, **changes) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


INFO, TRAIN = "dataset_info.json", "toy-train.arrow"
FAULTS = {
    "truncated rows": lambda entry: cut(entry / TRAIN),
    "no rows": lambda entry: (entry / TRAIN).write_bytes(b""),
    "missing rows": lambda entry: (entry / TRAIN).unlink(),
    "other rows": lambda entry: shutil.copy(entry / "toy-test.arrow", entry / TRAIN),
    "missing metadata file": lambda entry: (entry / INFO).unlink(),
    "truncated metadata file": lambda entry: (entry / INFO).write_text('{"description": "'),
    "other metadata file": lambda entry: (entry / INFO).write_text('["nothing"]'),
    "no metadata": lambda entry: change_json(entry / INFO, description=""),
    "no splits": lambda entry: change_json(entry / INFO, splits=None),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_damaged_entry_is_decoded_again(load, fault, caplog):
    load()
    FAULTS[fault](entry_of(load))
    with caplog.at_level(logging.WARNING):
        assert_complete(load())
    assert load.num_decoded == 2
    assert "is damaged; the data are decoded again" in caplog.text
    assert_complete(load())
    assert load.num_decoded == 2


def test_a_cache_that_the_system_cannot_read_is_kept(load, monkeypatch):
    load()

    def no_file_descriptors(*_):
        raise OSError(24, "Too many open files")

    monkeypatch.setattr("onebasin.data._cache._map_file", no_file_descriptors)
    with pytest.raises(OneBasinError, match=r"cannot read the cache .*Too many open files"):
        load()
    assert entry_of(load).is_dir()


def test_threads_decode_a_dataset_once(load):
    with ThreadPoolExecutor(4) as pool:
        for data in pool.map(lambda _: load(), range(4)):
            assert_complete(data)
    assert load.num_decoded == 1


KILLED = """
import sys, time
from onebasin.data import load_dataset

def progress(done, total):
    print("decoding", flush=True)
    time.sleep(60)

load_dataset("toy", root=sys.argv[1], cache=sys.argv[2], progress=progress)
"""


def test_the_entry_of_a_killed_process_is_decoded_again(load):
    command = [sys.executable, "-c", KILLED, str(load.root), str(load.cache)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "decoding\n"
        process.send_signal(signal.SIGKILL)
    assert not list(load.cache.rglob("dataset_info.json"))
    assert list(load.cache.rglob("*.incomplete"))
    assert_complete(load())
    assert not list(load.cache.rglob("*.incomplete"))


def test_a_cache_that_cannot_be_written_is_named(load, tmp_path):
    load.cache = tmp_path / "file" / "cache"
    (tmp_path / "file").write_text("")
    with pytest.raises(OneBasinError, match=r"the cache .* cannot be written \(.*ONEBASIN_CACHE$"):
        load()


def test_a_full_disk_is_named(load, monkeypatch):
    def write(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("datasets.arrow_writer.ArrowWriter.write_table", write)
    with pytest.raises(OneBasinError, match=r"cannot be written \(No space left on device\)"):
        load()


def test_decoding_opens_no_connection(load, monkeypatch):
    def connect(*args):
        raise AssertionError("a connection was opened")

    monkeypatch.setattr("socket.socket.connect", connect)
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", False)
    assert_complete(load())


def test_large_data_are_several_chunks_with_the_same_rows(load, monkeypatch):
    whole = load()
    monkeypatch.setattr("onebasin.data._arrow_builder.CHUNK_BYTES", 60)
    monkeypatch.setattr("onebasin.data._decoding.CHUNK_BYTES", 75)  # three images
    load.cache = load.root / "chunks"
    data = load()
    raw, expected = data.train_examples.raw, whole.train_examples.raw
    assert isinstance(raw, RowChunks) and len(raw.chunks) > 3
    assert (raw.shape, raw.dtype) == (expected.shape, expected.dtype)
    for rows in (slice(None), slice(2, 17, 3), [5, -1, 5], torch.tensor([19, 0]), slice(3, 3)):
        assert torch.equal(raw[rows], expected[rows])
    assert torch.equal(as_one_tensor(raw), expected)
    assert torch.equal(data.train_labels, whole.train_labels)
    assert torch.equal(data.train_inputs, whole.train_inputs)
    assert torch.equal(data.subset(7, seed=1).train_inputs, whole.subset(7, seed=1).train_inputs)
    pairs = (batches(d.train_examples, d.train_labels, 6, shuffle_seed=1) for d in (data, whole))
    assert all(torch.equal(a[0], b[0]) for a, b in zip(*pairs, strict=True))


def test_long_texts_in_chunks_have_the_same_tokens(tmp_path, monkeypatch):
    columns = {"text": ["ab", "", "abcd", "a" * 9], "label": [0, 1, 1, 0]}
    for split in ("train", "test"):
        write_split(tmp_path / "words" / f"{split}.parquet", columns)
    monkeypatch.setattr("onebasin.data._parquet.ROWS", 1)
    tokens = []
    for cache, size in (("one", 1 << 20), ("several", 40)):
        monkeypatch.setattr("onebasin.data._arrow_builder.CHUNK_BYTES", size)
        data = load_dataset("words", root=tmp_path, cache=tmp_path / cache, max_length=5)
        tokens.append(data.train_examples)
    assert isinstance(tokens[1].raw, RowChunks)
    assert torch.equal(tokens[0][:], tokens[1][:])
    assert torch.equal(tokens[0].mask([3, 0]), tokens[1].mask([3, 0]))


@pytest.mark.parametrize("name", ["My Data (1)", "a-train-b", "-", "d" * 120])
def test_names_of_any_form_are_stored(tmp_path, name):
    write_set(tmp_path / name)
    for _ in range(2):
        assert_complete(load_dataset(name, root=tmp_path, cache=tmp_path / "cache"))


@pytest.mark.parametrize("spec", [None, ModuleSpec("datasets", None)], ids=["missing", "folder"])
def test_without_the_library_data_are_decoded_into_memory(load, monkeypatch, spec):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: spec if name == "datasets" else find_spec(name)
    )
    assert_complete(load())
    assert not load.cache.exists()


def test_the_folder_is_given_or_from_the_environment_or_the_platform(monkeypatch, tmp_path):
    assert cache_folder(tmp_path) == tmp_path
    monkeypatch.setenv("ONEBASIN_CACHE", str(tmp_path / "own"))
    assert cache_folder() == tmp_path / "own"
    monkeypatch.delenv("ONEBASIN_CACHE")
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "onebasin"
    monkeypatch.setattr(sys, "platform", "darwin")
    assert cache_folder() == Path.home() / "Library" / "Caches" / "onebasin"
