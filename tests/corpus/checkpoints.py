"""Damaged checkpoint files and tensors."""

from __future__ import annotations

import argparse
import io
import os
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tests.cli.run import network
from tests.corpus.writing import Entries, legacy_bytes, mutations, save, whole_files, write


def broken_files() -> Entries:
    for suffix, data in whole_files().items():
        for name, damaged in mutations(data, suffix):
            yield f"{name}{suffix}", lambda f, s=suffix, d=damaged: write(f / f"x{s}", d)


def _changed(name: str, change: Callable[[Tensor], Tensor]) -> dict[str, Tensor]:
    params = network(1)
    return {**params, name: change(params[name])}


def tensors() -> Entries:
    first, bias = "layers.0.weight", "layers.1.bias"
    dtypes = "float16 bfloat16 float64 float8_e4m3fn float8_e5m2 int8 int64 bool complex64".split()
    for dtype in dtypes:
        kind = getattr(torch, dtype)
        for which in (first, bias, "all"):
            params = {n: t.to(kind) if which in (n, "all") else t for n, t in network(1).items()}
            yield f"{dtype}-{which}", lambda f, p=params: save(f / "x.pt", p)
    changes: dict[str, Callable[[Tensor], Tensor]] = {
        "transposed": lambda t: t.flip(-1).t() if t.dim() == 2 else t[None],
        "short": lambda t: t[:-1],
        "scalar": lambda t: t.sum(),
        "no-entries": lambda t: t[:0],
        "nan": lambda t: torch.full_like(t, torch.nan),
        "inf": lambda t: torch.full_like(t, torch.inf),
        "overflowing": lambda t: torch.full_like(t, 3e38),
        "denormal": lambda t: torch.full_like(t, 1e-44),
        "zero": torch.zeros_like,
        "sparse": lambda t: t.to_sparse(),
        "quantized": lambda t: torch.quantize_per_tensor(t, 0.1, 0, torch.qint8),
        "nested": lambda t: torch.nested.nested_tensor([t.flatten(), t.flatten()]),
        "meta": lambda t: t.to("meta"),
        "expanded": lambda t: t.flatten()[:1].expand(1 << 40),
        "conjugated": lambda t: t.to(torch.complex64).conj(),
        "parameter": torch.nn.Parameter,
    }
    for name, change in changes.items():
        for which in (first, bias):

            def create(folder: Path, change: Any = change, which: str = which) -> Path:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    return save(folder / "x.pt", _changed(which, change))

            yield f"{name}-{which}", create
    names = {
        "escape": "x\x1b[2J\x07",
        "long": "x" * 100_000,
        "newline": "a\nb\r\nonebasin: error: none",
        "unicode": "\u202eüñ\u2028",
        "surrogate": "\udcff",
        "empty": "",
        "dots": "..",
    }
    for kind, name in names.items():
        for content in ({**network(1), name: torch.ones(1)}, {name: torch.ones(1)}):
            yield (
                f"name-{kind}-{len(content)}",
                lambda f, c=content: save(f / "x.pt", {"model": c}),
            )
    yield "missing", lambda f: save(f / "x.pt", {first: network(1)[first]})
    deep = {"module." * 900 + str(number): torch.ones(1) for number in range(50)}
    yield "prefixes", lambda f: save(f / "x.pt", deep)


def structures() -> Entries:
    params = network(1)
    cyclic: dict[str, Any] = {}
    cyclic["model"] = {"state_dict": cyclic, "list": [cyclic]}
    deep: Any = params
    for _ in range(50):
        deep = {"model": deep}
    contents = {
        "list": [params],
        "tensor": torch.ones(3),
        "none": None,
        "number": 3,
        "text": "model",
        "empty": {},
        "keys": {3: torch.ones(2), ("a",): torch.ones(2)},
        "two": {"encoder": params, "decoder": params},
        "values": {**params, "epoch": 3, "name": "x", "extra": None},
        "inside": {**params, "more": [torch.ones(2)]},
        "cyclic": cyclic,
        "deep": deep,
        "options": {"state_dict": params, "args": argparse.Namespace(lr=1)},
        "function": {"state_dict": params, "f": os.path.join},
        "hostile": {"state_dict": params, "f": os.system},
        "module": torch.nn.Linear(3, 4),
        "optimizer": {"optimizer": {"state": {0: {"exp_avg": torch.ones(2)}}}},
        "ema": {"model": params, "model_ema": params},
        "averaged": {
            "n_averaged": torch.tensor(3),
            **{f"module.{n}": t for n, t in params.items()},
        },
    }
    for name, content in contents.items():
        yield f"{name}-zip", lambda f, c=content: save(f / "x.pt", c)
        yield f"{name}-legacy", lambda f, c=content: write(f / "x.pt", legacy_bytes(c))
    yield "deflated", lambda f: _rezipped(f / "x.pt", method=zipfile.ZIP_DEFLATED)
    yield "no-records", lambda f: _rezipped(f / "x.pt", keep=lambda name: "/data/" not in name)
    yield "no-pickle", lambda f: _rezipped(f / "x.pt", keep=lambda name: "data.pkl" not in name)
    yield "short-records", lambda f: _rezipped(f / "x.pt", cut=3)
    for name, pickled in _pickles().items():
        yield f"pickle-{name}", lambda f, p=pickled: _rezipped(f / "x.pt", pickled=p)
    yield "plain-zip", lambda f: write(f / "x.pt", b"PK\x05\x06" + bytes(18))


def _pickles() -> dict[str, bytes]:
    """Programs of pickles that end early, hold themselves or ask for much memory."""
    return {
        "itself": b"\x80\x02}q\x00X\x0a\x00\x00\x00state_dicth\x00s.",
        "list-of-itself": b"\x80\x02]q\x00h\x00a.",
        "memory": b"\x80\x02c__builtin__\nbytearray\n\x8a\x06\0\0\0\0\0\x10\x85R.",
        "code": b"cposix\nsystem\n(S'true'\ntR.",
        "evaluated": b"\x80\x02c__builtin__\neval\nX\x01\x00\x00\x001\x85R.",
        "attribute": b"\x80\x02c__builtin__\ngetattr\nctorch\nhub\nX\x04\0\0\0load\x86R.",
        "stop": b".",
        "nothing": b"",
        "unknown": b"\x80\x02\xff.",
        "memo": b"\x80\x02h\x05.",
        "marks": b"(" * 10_000 + b".",
    }


def _rezipped(
    path: Path,
    *,
    method: int = zipfile.ZIP_STORED,
    keep: Callable[[str], bool] = lambda name: True,
    pickled: bytes | None = None,
    cut: int = 0,
) -> Path:
    source = zipfile.ZipFile(io.BytesIO(whole_files()[".pt"]))
    with zipfile.ZipFile(path, "w", method) as target:
        for name in filter(keep, source.namelist()):
            data = source.read(name)
            if pickled is not None and name.endswith("data.pkl"):
                data = pickled
            # A ZipInfo has the same date in every run.
            info = zipfile.ZipInfo(name)
            info.compress_type = method
            target.writestr(info, data[: len(data) - cut] if "/data/" in name else data)
    return path
