"""Large checkpoints: one tensor in memory at a time; a killed process leaves no output."""

import json
import os
import signal
import subprocess
import sys
import time
import weakref
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

import onebasin
from onebasin.checkpoints import TensorInfo, write_checkpoint

SOURCE = Path(onebasin.__file__).parent.parent

ANONYMOUS = """
def anonymous_bytes():
    for line in open("/proc/self/status"):
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
"""

COPY = (
    """
import json, sys, torch
from onebasin.checkpoints import TensorInfo, check_all_finite, open_checkpoint, write_checkpoint
"""
    + ANONYMOUS
    + """
folder, source, target = sys.argv[1:]
specs = {f"layer.{i}": TensorInfo((2 << 20,), torch.float32) for i in range(16)}
write_checkpoint(source, ((name, torch.ones(info.shape)) for name, info in specs.items()),
                 specs=specs, max_shard_size=50_000_000)
start, seen = anonymous_bytes(), []
def doubled(checkpoint):
    for name in checkpoint:
        yield name, checkpoint[name] * 2
        seen.append(anonymous_bytes())
with open_checkpoint(source) as checkpoint:
    check_all_finite(checkpoint)
    write_checkpoint(target, doubled(checkpoint), like=checkpoint, max_shard_size=50_000_000)
with open_checkpoint(target) as checkpoint:
    assert all(checkpoint[name].eq(2).all() for name in checkpoint)
    total = sum(checkpoint.metadata(name).nbytes for name in checkpoint)
print(json.dumps({"grown": max(seen) - start, "total": total}))
"""
)

STOPPED = """
import signal, sys, time, torch
from onebasin.checkpoints import TensorInfo, write_checkpoint
# A shell's background job, and so a test run started as one, inherits SIGINT as ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)
def pairs():
    yield "a", torch.ones(1000)
    print("started", flush=True)
    time.sleep(60)
specs = {name: TensorInfo((1000,), torch.float32) for name in "ab"}
write_checkpoint(sys.argv[1], pairs(), specs=specs, max_shard_size=4000)
"""


def python(code: str, *arguments: str) -> list[str]:
    return [
        sys.executable,
        "-c",
        f"import sys; sys.path.insert(0, {str(SOURCE)!r})\n{code}",
        *arguments,
    ]


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")
@pytest.mark.parametrize("form", [".safetensors", "/"], ids=["file", "shards"])
def test_copying_needs_the_memory_of_few_tensors(tmp_path: Path, form: str) -> None:
    paths = [f"{tmp_path}/source{form}", f"{tmp_path}/target{form}"]
    done = subprocess.run(
        python(COPY, str(tmp_path), *paths), capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    measured = json.loads(done.stdout)
    assert measured["total"] == 16 * (8 << 20)
    # A tensor has 8 MiB; the allocator keeps a few of them for reuse.
    assert measured["grown"] < measured["total"] / 2


@pytest.mark.parametrize("name", ["a.safetensors", "folder/"])
def test_at_most_one_tensor_is_alive(tmp_path: Path, name: str) -> None:
    alive: weakref.WeakSet[Tensor] = weakref.WeakSet()
    most = 0

    def pairs() -> Iterator[tuple[str, Tensor]]:
        nonlocal most
        for key in specs:
            assert len(alive) == 0
            tensor = torch.ones(10)
            alive.add(tensor)
            most = max(most, len(alive))
            yield key, tensor
            del tensor

    specs = {f"t{i}": TensorInfo((10,), torch.float32) for i in range(8)}
    write_checkpoint(f"{tmp_path}/{name}", pairs(), specs=specs, max_shard_size=100)
    assert most == 1


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("a.safetensors", signal.SIGTERM),
        ("a.pt", signal.SIGTERM),
        ("folder/", signal.SIGTERM),
        ("a.safetensors", signal.SIGINT),
    ],
)
def test_a_stopped_process_leaves_no_output(tmp_path: Path, name: str, number: int) -> None:
    process = subprocess.Popen(
        python(STOPPED, f"{tmp_path}/{name}"), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"started\n"
        assert len(os.listdir(tmp_path)) == 1  # the temporary one
        time.sleep(0.05)
        process.send_signal(number)
        process.wait(timeout=30)
    assert process.returncode == (143 if number == signal.SIGTERM else -signal.SIGINT)
    assert os.listdir(tmp_path) == []
