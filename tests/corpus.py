"""A generated corpus of damaged inputs: checkpoints, folders, symmetries, permutations, data.

Every case writes one damaged input from a fixed seed. `cases()` lists all of them.
"""

from __future__ import annotations

import argparse
import functools
import io
import json
import os
import random
import struct
import warnings
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from onebasin.symmetry import Permutation
from onebasin.symmetry.handwritten import symmetry_from_spec
from tests.cli.run import WIDTH, network

INDEX = "model.safetensors.index.json"


@dataclass(frozen=True)
class Case:
    """One damaged input.

    Args:
        kind: what it is given as: checkpoint, symmetry, permutation, architecture or data.
        name: what is damaged.
        create: writes it into an empty folder and returns its path.
    """

    kind: str
    name: str
    create: Callable[[Path], Path]


def cases() -> list[Case]:
    """Every case of the corpus, always the same ones."""
    makers = (_broken_files, _tensors, _structures, _special_files, _folders)
    named = [("checkpoint", name, create) for maker in makers for name, create in maker()]
    named += [("symmetry", *entry) for entry in _symmetries()]
    named += [("permutation", *entry) for entry in _permutations()]
    named += [("architecture", *entry) for entry in _configurations()]
    named += [("data", *entry) for entry in _data()]
    return [Case(*entry) for entry in named]


Entries = Iterator[tuple[str, Callable[[Path], Path]]]


def _write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def _save(path: Path, content: Any, **options: Any) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.save(content, path, **options)
    return path


@functools.cache
def _whole_files() -> dict[str, bytes]:
    """An undamaged file of each format."""
    files = {}
    for suffix, zipped in ((".pt", True), (".pth", False)):
        buffer = io.BytesIO()
        torch.save(network(1), buffer, _use_new_zipfile_serialization=zipped)
        files[suffix] = buffer.getvalue()
    from safetensors.torch import save

    return {**files, ".safetensors": save({n: t.contiguous() for n, t in network(1).items()})}


def _mutations(data: bytes, seed: str) -> Iterator[tuple[str, bytes]]:
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


def _broken_files() -> Entries:
    for suffix, data in _whole_files().items():
        for name, damaged in _mutations(data, suffix):
            yield f"{name}{suffix}", lambda f, s=suffix, d=damaged: _write(f / f"x{s}", d)


def _changed(name: str, change: Callable[[Tensor], Tensor]) -> dict[str, Tensor]:
    params = network(1)
    return {**params, name: change(params[name])}


def _tensors() -> Entries:
    first, bias = "layers.0.weight", "layers.1.bias"
    dtypes = "float16 bfloat16 float64 float8_e4m3fn float8_e5m2 int8 int64 bool complex64".split()
    for dtype in dtypes:
        kind = getattr(torch, dtype)
        for which in (first, bias, "all"):
            params = {n: t.to(kind) if which in (n, "all") else t for n, t in network(1).items()}
            yield f"{dtype}-{which}", lambda f, p=params: _save(f / "x.pt", p)
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
                    return _save(folder / "x.pt", _changed(which, change))

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
                lambda f, c=content: _save(f / "x.pt", {"model": c}),
            )
    yield "missing", lambda f: _save(f / "x.pt", {first: network(1)[first]})
    deep = {"module." * 900 + str(number): torch.ones(1) for number in range(50)}
    yield "prefixes", lambda f: _save(f / "x.pt", deep)


def _structures() -> Entries:
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
        for zipped in (True, False):
            yield (
                f"{name}-{'zip' if zipped else 'legacy'}",
                lambda f, c=content, z=zipped: _save(
                    f / "x.pt", c, _use_new_zipfile_serialization=z
                ),
            )
    yield "deflated", lambda f: _rezipped(f / "x.pt", method=zipfile.ZIP_DEFLATED)
    yield "no-records", lambda f: _rezipped(f / "x.pt", keep=lambda name: "/data/" not in name)
    yield "no-pickle", lambda f: _rezipped(f / "x.pt", keep=lambda name: "data.pkl" not in name)
    yield "short-records", lambda f: _rezipped(f / "x.pt", cut=3)
    for name, pickled in _pickles().items():
        yield f"pickle-{name}", lambda f, p=pickled: _rezipped(f / "x.pt", pickled=p)
    yield "plain-zip", lambda f: _write(f / "x.pt", b"PK\x05\x06" + bytes(18))


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
    source = zipfile.ZipFile(io.BytesIO(_whole_files()[".pt"]))
    with zipfile.ZipFile(path, "w", method) as target:
        for name in filter(keep, source.namelist()):
            data = source.read(name)
            if pickled is not None and name.endswith("data.pkl"):
                data = pickled
            target.writestr(name, data[: len(data) - cut] if "/data/" in name else data)
    return path


def _special_files() -> Entries:
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
    yield "no-suffix", lambda f: _write(f / "x", b"data")


def _sharded(folder: Path) -> dict[str, Any]:
    params = {name: tensor.contiguous() for name, tensor in network(1).items()}
    names = list(params)
    save_file({name: params[name] for name in names[:2]}, folder / "one.safetensors")
    save_file({name: params[name] for name in names[2:]}, folder / "two.safetensors")
    files = ["one.safetensors"] * 2 + ["two.safetensors"] * (len(names) - 2)
    return {"metadata": {}, "weight_map": dict(zip(names, files, strict=True))}


def _folders() -> Entries:
    def with_index(change: Callable[[str], str]) -> Callable[[Path], Path]:
        def create(folder: Path) -> Path:
            _write_text(folder / INDEX, change(json.dumps(_sharded(folder))))
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
    for name, damaged in _text_mutations(json.dumps(_sharded_names()), "index", 12):
        yield f"index-{name}", with_index(lambda t, d=damaged: d)
    yield "folder-without-weights", lambda f: _write(f / "config.json", b"{}").parent


def _sharded_names() -> dict[str, Any]:
    names = list(network(1))
    files = ["one.safetensors"] * 2 + ["two.safetensors"] * (len(names) - 2)
    return {"metadata": {}, "weight_map": dict(zip(names, files, strict=True))}


def _text_mutations(text: str, seed: str, count: int) -> Iterator[tuple[str, str]]:
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


def _write_text(path: Path, text: str) -> Path:
    return _write(path, text.encode("utf-8", "surrogateescape"))


@functools.cache
def _symmetry() -> Any:
    from onebasin.checkpoints import MLP

    first, second, last = (f"layers.{number}" for number in range(3))
    spec = {
        **{f"{first}.weight": ("a", None), f"{first}.bias": ("a",)},
        **{f"{second}.weight": ("b", "a"), f"{second}.bias": ("b",)},
        **{f"{last}.weight": (None, "b"), f"{last}.bias": (None,)},
    }
    return symmetry_from_spec(spec, MLP(width=WIDTH, depth=2))


def _symmetries() -> Entries:
    text = json.dumps(_symmetry().to_json())
    for name, damaged in _text_mutations(text, "symmetry", 150):
        yield name, lambda f, d=damaged: _write_text(f / "s.json", d)
    spec = json.dumps(
        {n: ["h" if size == WIDTH else None for size in t.shape] for n, t in network(1).items()}
    )
    for name, damaged in _text_mutations(spec, "spec", 40):
        yield f"spec-{name}", lambda f, d=damaged: _write_text(f / "s.json", d)

    def pipe(folder: Path) -> Path:
        os.mkfifo(folder / "s.json")
        return folder / "s.json"

    yield "pipe", pipe


def _permutations() -> Entries:
    symmetry = _symmetry()
    whole = Permutation.random(symmetry, seed=1)
    groups = list(symmetry.groups)
    indices = {name: index.contiguous() for name, index in whole.indices.items()}
    metadata = {"onebasin-permutation-1": symmetry.fingerprint}
    changes: dict[str, Callable[[Tensor], Tensor]] = {
        "repeated": torch.zeros_like,
        "beyond": lambda t: t + 1,
        "negative": lambda t: -t,
        "float": lambda t: t.float(),
        "short": lambda t: t[:-1],
        "int32": lambda t: t.int(),
        "matrix": lambda t: t[None],
    }
    for name, change in changes.items():
        changed = {**indices, groups[0]: change(indices[groups[0]]).contiguous()}
        yield name, lambda f, c=changed: _saved(f / "p.safetensors", c, metadata)
    yield "other", lambda f: _saved(f / "p.safetensors", indices, {"onebasin-permutation-1": "x"})
    yield "no-metadata", lambda f: _saved(f / "p.safetensors", indices, {})
    yield "missing-group", lambda f: _saved(f / "p.safetensors", {"x": torch.ones(1)}, metadata)
    from safetensors.torch import save

    for name, damaged in _mutations(save(indices, metadata=metadata), "permutation"):
        yield name, lambda f, d=damaged: _write(f / "p.safetensors", d)


def _saved(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> Path:
    save_file(tensors, path, metadata=metadata)
    return path


def _configurations() -> Entries:
    config = {
        "architectures": ["BertModel"], "model_type": "bert", "hidden_size": 8, "vocab_size": 20,
        "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 12,
        "max_position_embeddings": 16, "hidden_act": "gelu", "type_vocab_size": 2,
    }  # fmt: skip
    for name, damaged in _text_mutations(json.dumps(config), "config", 60):
        yield name, lambda f, d=damaged: _write_text(f / "config.json", d).parent


def _data() -> Entries:
    images = np.random.default_rng(0).random((40, 8, 8, 1), dtype=np.float32)
    labels = np.arange(40) % 10
    arrays: dict[str, dict[str, Any]] = {
        "whole": {"x": images, "y": labels},
        "nan": {"x": images * np.nan, "y": labels},
        "no-labels": {"x": images},
        "labels-only": {"y": labels},
        "other-length": {"x": images, "y": labels[:-1]},
        "text": {"x": images, "y": labels.astype(str)},
        "objects": {"x": np.array([{}, []], dtype=object), "y": labels[:2]},
        "negative": {"x": images, "y": labels - 20},
        "large": {"x": images, "y": labels + 10**9},
        "empty": {"x": images[:0], "y": labels[:0]},
        "scalar": {"x": np.float32(1), "y": np.int64(1)},
        "flat": {"x": images.reshape(40, 64), "y": labels},
        "complex": {"x": images.astype(complex), "y": labels},
    }

    def npz(path: Path, content: dict[str, Any]) -> Path:
        np.savez(path, **content)
        return path

    for name, content in arrays.items():
        yield f"npz-{name}", lambda f, c=content: npz(f / "x.npz", c)
    buffer = io.BytesIO()
    np.savez(buffer, **arrays["whole"])
    for name, damaged in _mutations(buffer.getvalue(), "npz"):
        yield f"npz-{name}", lambda f, d=damaged: _write(f / "x.npz", d)
    rows = [",".join(map(str, [*range(64), n % 10])) for n in range(30)]
    header = ",".join([*(f"p{i}" for i in range(64)), "label"])
    table = "\n".join([header, *rows]) + "\n"
    tables = {
        "whole": table,
        "no-header": table.partition("\n")[2],
        "ragged": table + "1,2,3\n",
        "text": table.replace(",5", ",five"),
        "missing": table.replace(",5", ","),
        "one-column": "label\n1\n2\n",
        "header-only": header + "\n",
        "quotes": table.replace("1", '"'),
        "null": table.replace("3", "\x00"),
        "repeated": table.replace("p1,", "p0,"),
    }
    for name, text in tables.items():
        yield f"csv-{name}", lambda f, t=text: _write_text(f / "x.csv", t)
    for name, damaged in _mutations(table.encode(), "csv"):
        yield f"csv-{name}", lambda f, d=damaged: _write(f / "x.csv", d)
    whole = struct.pack("<4s", b"PAR1") + bytes(100) + b"PAR1"
    for name, damaged in (("zeros", whole), ("empty", b""), ("text", b"PAR1")):
        yield (
            f"parquet-{name}",
            lambda f, d=damaged: _write(f / "train.parquet", d).parent,
        )


def commands_for(case: Case, given: Path, a: Path, out: Path) -> dict[str, list[str]]:
    """Return the commands that a damaged input is given to, without options of the network."""
    x, first, target = str(given), str(a), str(out)
    digits = ["--data", "digits", "--num-train", "50"]
    if case.kind == "checkpoint":
        return {
            "align": ["align", "mlp", first, x, "-o", f"{target}.pt"],
            "align-as-reference": ["align", "mlp", x, first, "-o", f"{target}.safetensors"],
            "merge": ["merge", "mlp", first, x, "-o", f"{target}.safetensors"],
            "average": ["merge", "mlp", x, first, "-o", f"{target}.pt", "--no-align"],
            "barrier": ["barrier", "mlp", first, x, *digits, "--num-points", "3"],
            "without-arch": ["align", first, x, "-o", f"{target}.pt"],
            "features": ["features", "mlp", first, x, *digits, "-o", target],
            "plane": ["plane", "mlp", first, x, first, *digits, "--num-points", "3", "-o", target],
        }
    if case.kind == "symmetry":
        pair = [first, str(a.with_name("b.safetensors"))]
        return {
            "inspect": ["inspect", "mlp", "--symmetry", x],
            "align": ["align", "mlp", *pair, "-o", f"{target}.pt", "--symmetry", x],
            "unproved": [
                *["align", "mlp", *pair, "-o", f"{target}.pt"],
                *["--symmetry", x, "--no-prove"],
            ],
        }
    pair = [first, str(a.with_name("b.safetensors"))]
    if case.kind == "permutation":
        return {
            "features": ["features", "mlp", *pair, *digits, "-o", target, "--permutation", x],
        }
    if case.kind == "architecture":
        return {
            "inspect": ["inspect", f"hf:{x}"],
            "align": ["align", f"hf:{x}", *pair, "-o", target],
        }
    return {
        "barrier": ["barrier", "mlp", *pair, "--data", x, "--num-points", "3"],
        "merge": ["merge", "mlp", *pair, "--data", x, "-o", f"{target}.pt"],
    }
