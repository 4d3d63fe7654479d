"""Damaged data files."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import Any

import numpy as np

from tests.corpus.writing import Entries, mutations, write, write_text


def data() -> Entries:
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
    for name, damaged in mutations(buffer.getvalue(), "npz"):
        yield f"npz-{name}", lambda f, d=damaged: write(f / "x.npz", d)
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
        yield f"csv-{name}", lambda f, t=text: write_text(f / "x.csv", t)
    for name, damaged in mutations(table.encode(), "csv"):
        yield f"csv-{name}", lambda f, d=damaged: write(f / "x.csv", d)
    whole = struct.pack("<4s", b"PAR1") + bytes(100) + b"PAR1"
    for name, damaged in (("zeros", whole), ("empty", b""), ("text", b"PAR1")):
        yield (
            f"parquet-{name}",
            lambda f, d=damaged: write(f / "train.parquet", d).parent,
        )
