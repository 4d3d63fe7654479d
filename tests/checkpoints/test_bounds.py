"""Small hostile files raise within bounded time and memory."""

import io
import json
import os
import resource
import struct
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from onebasin.checkpoints import open_checkpoint
from onebasin.errors import OneBasinError
from onebasin.symmetry import Permutation, Symmetry
from tests.time_limits import time_limit

CYCLE = b"\x80\x02}q\x00X\x0a\x00\x00\x00state_dicth\x00s."
INDEX = "model.safetensors.index.json"


def with_pickle(path: Path, pickled: bytes, method: int = zipfile.ZIP_STORED) -> Path:
    """Write a file of torch.save with another pickle in it."""
    buffer = io.BytesIO()
    torch.save({"weight": torch.ones(2)}, buffer)
    with zipfile.ZipFile(buffer) as source, zipfile.ZipFile(path, "w", method) as target:
        for record in source.namelist():
            is_pickle = record.endswith("data.pkl")
            target.writestr(record, pickled if is_pickle else source.read(record))
    return path


def cycle(folder: Path) -> Path:
    return with_pickle(folder / "a.pt", CYCLE)


def deflated(folder: Path) -> Path:
    return with_pickle(folder / "a.pt", b"\x80\x02" + b"N0" * 10_000_000, zipfile.ZIP_DEFLATED)


def byte_array(folder: Path) -> Path:
    return with_pickle(
        folder / "a.pt", b"\x80\x02c__builtin__\nbytearray\n\x8a\x06\0\0\0\0\0\x10\x85R."
    )


def repeated_key(folder: Path) -> Path:
    keys = ",".join(f'"k{number}":"s"' for number in range(60_000))
    (folder / INDEX).write_text(f'{{"weight_map":{{{keys},"k0":"s"}}}}')
    return folder


def deep_index(folder: Path) -> Path:
    (folder / INDEX).write_text('{"a":' * 100_000 + "1" + "}" * 100_000)
    return folder


def long_header(folder: Path) -> Path:
    (folder / "a.safetensors").write_bytes(struct.pack("<Q", 1 << 40) + b"{}")
    return folder / "a.safetensors"


def huge_shape(folder: Path) -> Path:
    entry = {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 1 << 42]}
    header = json.dumps({"w": entry}).encode()
    (folder / "a.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)
    return folder / "a.safetensors"


def pipe(suffix: str) -> Callable[[Path], Path]:
    def create(folder: Path) -> Path:
        os.mkfifo(folder / f"a{suffix}")
        return folder / f"a{suffix}"

    return create


def pipe_as_shard(folder: Path) -> Path:
    os.mkfifo(folder / "one.safetensors")
    (folder / INDEX).write_text('{"weight_map": {"a": "one.safetensors"}}')
    return folder


def device(folder: Path) -> Path:
    os.symlink("/dev/zero", folder / "a.pt")
    return folder / "a.pt"


CASES = [
    (cycle, "holds no tensors"),
    (deflated, "compressed zip archive"),
    (byte_array, "more memory than is available|not a complete checkpoint|holds bytearray"),
    (repeated_key, "'k0' named twice"),
    (deep_index, "nested too deep"),
    (long_header, "truncated"),
    (huge_shape, "truncated"),
    (pipe(".safetensors"), "a pipe or device"),
    (pipe(".pt"), "a pipe or device"),
    (pipe(".index.json"), "a pipe or device"),
    (pipe_as_shard, "which is not in"),
    (device, "a pipe or device"),
]


@pytest.mark.parametrize(("create", "text"), CASES, ids=[c.__qualname__ for c, _ in CASES])
def test_time_and_memory_are_bounded(
    tmp_path: Path, create: Callable[[Path], Path], text: str
) -> None:
    path = create(tmp_path)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.process_time()
    with time_limit(60), pytest.raises(OneBasinError, match=text) as caught:
        open_checkpoint(path)
    assert "\n" not in str(caught.value)
    assert time.process_time() - start < 5
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000


@pytest.mark.parametrize("load", [Symmetry.load, lambda p: Permutation.load(p, Symmetry({}, {}))])
def test_a_pipe_is_not_read_as_symmetry_or_permutation(
    tmp_path: Path, load: Callable[[Path], object]
) -> None:
    with time_limit(10), pytest.raises(OneBasinError, match="a pipe or device"):
        load(pipe(".json")(tmp_path))


def test_an_index_may_not_name_files_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    for name in ("../other.safetensors", "/etc/passwd", "a/../../b.safetensors", ""):
        (tmp_path / "folder" / INDEX).write_text(json.dumps({"weight_map": {"a": name}}))
        with pytest.raises(OneBasinError, match="outside its folder"):
            open_checkpoint(tmp_path / "folder")


def test_a_single_file_next_to_shards_is_ambiguous(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    save_file({"a": torch.ones(1)}, tmp_path / "one.safetensors")
    (tmp_path / INDEX).write_text('{"weight_map": {"a": "one.safetensors"}}')
    save_file({"a": torch.zeros(1)}, tmp_path / "model.safetensors")
    with pytest.raises(OneBasinError, match=r"both model\.safetensors and model\.safetensors\.ind"):
        open_checkpoint(tmp_path)
    with open_checkpoint(tmp_path / INDEX) as checkpoint:
        assert checkpoint["a"].item() == 1
