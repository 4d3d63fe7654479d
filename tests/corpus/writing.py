"""Writers and mutations that the damaged inputs share."""

from __future__ import annotations

import functools
import io
import json
import pickle
import random
import struct
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


def save(path: Path, content: Any) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.save(content, path)
    return path


def legacy_bytes(content: Any) -> bytes:
    """Return a file of PyTorch before 1.6; torch.save would put memory addresses into it."""
    file = io.BytesIO()
    sizes = {"short": 2, "int": 4, "long": 4}
    version = torch.serialization.PROTOCOL_VERSION
    system = {"protocol_version": version, "little_endian": True, "type_sizes": sizes}
    for part in (torch.serialization.MAGIC_NUMBER, version, system):
        pickle.dump(part, file, protocol=2)
    pickler = _LegacyPickler(file)
    pickler.dump(content)
    pickle.dump([str(number) for number in range(len(pickler.storages))], file, protocol=2)
    for storage in pickler.storages.values():
        file.write(struct.pack("<q", storage._size()) + bytes(storage._untyped_storage.tolist()))
    return file.getvalue()


class _LegacyPickler(pickle.Pickler):
    """Pickles a storage by its number, in the order of first use, and a module with its source."""

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file, protocol=2)
        self.storages: dict[int, Any] = {}
        self._modules: set[type] = set()

    def persistent_id(self, value: Any) -> tuple[Any, ...] | None:
        if isinstance(value, type) and issubclass(value, torch.nn.Module):
            is_first = value not in self._modules
            self._modules.add(value)
            return ("module", value, "module.py", "class Module: ...") if is_first else None
        if not isinstance(value, torch.storage.TypedStorage):
            return None
        address = value._cdata
        self.storages.setdefault(address, value)
        number = list(self.storages).index(address)
        kind = getattr(torch, value._pickle_storage_type())
        return ("storage", kind, str(number), "cpu", value._size(), None)


@functools.cache
def whole_files() -> dict[str, bytes]:
    """An undamaged file of each format."""
    from safetensors.torch import save

    params = {name: tensor.contiguous() for name, tensor in network(1).items()}
    buffer = io.BytesIO()
    torch.save(params, buffer)
    return {
        ".pt": buffer.getvalue(),
        ".pth": legacy_bytes(params),
        ".safetensors": save(params),
    }


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
    """JSON with a value replaced, removed or repeated, and text that is not JSON."""
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
