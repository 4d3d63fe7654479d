"""Special files, and damaged folders of shards."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors.torch import save_file

from tests.cli.run import network
from tests.corpus.writing import Entries, text_mutations, write, write_text

INDEX = "model.safetensors.index.json"


def special_files() -> Entries:
    for suffix in (".safetensors", ".pt", ".index.json"):

        def pipe(folder: Path, suffix: str = suffix) -> Path:
            os.mkfifo(folder / f"x{suffix}")
            return folder / f"x{suffix}"

        def device(folder: Path, suffix: str = suffix) -> Path:
            os.symlink("/dev/zero", folder / f"x{suffix}")
            return folder / f"x{suffix}"

        def loop(folder: Path, suffix: str = suffix) -> Path:
            os.symlink(folder / f"x{suffix}", folder / f"x{suffix}")
            return folder / f"x{suffix}"

        for kind, create in (("pipe", pipe), ("device", device), ("loop", loop)):
            yield f"{kind}{suffix}", create
        yield f"missing{suffix}", lambda f, s=suffix: f / f"absent{s}"
    yield "long-name", lambda f: f / ("x" * 300 + ".pt")
    yield "empty-folder", lambda f: f
    yield "no-suffix", lambda f: write(f / "x", b"data")


def _sharded(folder: Path) -> dict[str, Any]:
    params = {name: tensor.contiguous() for name, tensor in network(1).items()}
    names = list(params)
    save_file({name: params[name] for name in names[:2]}, folder / "one.safetensors")
    save_file({name: params[name] for name in names[2:]}, folder / "two.safetensors")
    files = ["one.safetensors"] * 2 + ["two.safetensors"] * (len(names) - 2)
    return {"metadata": {}, "weight_map": dict(zip(names, files, strict=True))}


def folders() -> Entries:
    def with_index(change: Callable[[str], str]) -> Callable[[Path], Path]:
        def create(folder: Path) -> Path:
            write_text(folder / INDEX, change(json.dumps(_sharded(folder))))
            return folder

        return create

    changes: dict[str, Callable[[str], str]] = {
        "elsewhere": lambda t: t.replace("one.safe", "../one.safe"),
        "absolute": lambda t: t.replace("one.safe", "/tmp/one.safe"),
        "escape": lambda t: t.replace("one.safe", r"\u001b[2Jone.safe"),
        "swapped": lambda t: (
            t.replace("one", "three").replace("two", "one").replace("three", "two")
        ),
        "repeated": lambda t: t.replace('"layers.0.bias"', '"layers.0.weight"'),
        "list": lambda t: '{"weight_map": []}',
        "numbers": lambda t: t.replace('"one.safetensors"', "3"),
        "null-byte": lambda t: t.replace("one.safe", r"\u0000one.safe"),
        "deep": lambda t: "[" * 100_000,
        "many": lambda t: json.dumps({"weight_map": {str(n): "one.pt" for n in range(30_000)}}),
        "folder": lambda t: t.replace("one.safetensors", "."),
    }
    for name, change in changes.items():
        yield f"index-{name}", with_index(change)
    for name, damaged in text_mutations(json.dumps(_sharded_names()), "index", 12):
        yield f"index-{name}", with_index(lambda t, d=damaged: d)
    yield "folder-without-weights", lambda f: write(f / "config.json", b"{}").parent


def _sharded_names() -> dict[str, Any]:
    names = list(network(1))
    files = ["one.safetensors"] * 2 + ["two.safetensors"] * (len(names) - 2)
    return {"metadata": {}, "weight_map": dict(zip(names, files, strict=True))}
