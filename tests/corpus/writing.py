"""Writers and mutations that the damaged inputs share."""

from __future__ import annotations

import functools
import io
import json
import random
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from tests.cli.run import network

Entries = Iterator[tuple[str, Callable[[Path], Path]]]


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def write_text(path: Path, text: str) -> Path:
    return write(path, text.encode("utf-8", "surrogateescape"))


def save(path: Path, content: Any, **options: Any) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.save(content, path, **options)
    return path


@functools.cache
def whole_files() -> dict[str, bytes]:
    """An undamaged file of each format."""
    files = {}
    for suffix, zipped in ((".pt", True), (".pth", False)):
        buffer = io.BytesIO()
        torch.save(network(1), buffer, _use_new_zipfile_serialization=zipped)
        files[suffix] = buffer.getvalue()
    from safetensors.torch import save

    return {**files, ".safetensors": save({n: t.contiguous() for n, t in network(1).items()})}


def mutations(data: bytes, seed: str) -> Iterator[tuple[str, bytes]]:
    """Truncated, overwritten, extended and replaced bytes."""
    draw = random.Random(seed)
    for number in range(6):
        yield f"truncated-{number}", data[: draw.randrange(len(data))]
    for number in range(10):
        place = draw.randrange(min(len(data), 600 if number % 2 else len(data)))
        flipped = bytes([data[place] ^ (1 << draw.randrange(8))])
        yield f"flipped-{number}", data[:place] + flipped + data[place + 1 :]
    for number in range(3):
        place = draw.randrange(len(data))
        yield f"zeroed-{number}", data[:place] + bytes(50) + data[place + 50 :]
    yield "extended", data + b"more"
    yield "empty", b""
    yield "text", b"this is no checkpoint\n"
    yield "random", draw.randbytes(500)


def text_mutations(text: str, seed: str, count: int) -> Iterator[tuple[str, str]]:
    """JSON with a value replaced, removed or repeated, and text that is no JSON any more."""
    draw = random.Random(seed)
    values = [None, True, -1, 2.5, 10**30, "x", "", [], {}, [1], [["a"]], {"a": 1}]
    for number in range(count):
        data = json.loads(text)
        parent, key = draw.choice(list(_places(data)))
        if number % 5:
            parent[key] = draw.choice(values)
        else:
            del parent[key]
        yield f"value-{number}", json.dumps(data)
    for number in range(max(2, count // 6)):
        place = draw.randrange(len(text))
        yield f"cut-{number}", text[:place]
        yield f"character-{number}", text[:place] + draw.choice('{}[]",:0x\x00') + text[place + 1 :]
    yield "infinite", text.replace(": 1", ": 1e400").replace(": 6", ": 1e400")
    yield "deep", '{"a":' * 50_000
    yield "not-utf8", "\udcff"


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
        yield value, key
        if isinstance(inner, dict | list):
            yield from _places(inner)
