"""Small datasets in the layout of the hub."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image


def encoded(pixels: np.ndarray, kind: str = "PNG") -> bytes:
    """Encode an image `(height, width)` or `(height, width, 3)`."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind)
    return stream.getvalue()


def images(number: int, *, size: int = 5, channels: int = 1, seed: int = 0) -> np.ndarray:
    """Return random images, uint8 `(number, size, size)` or `(number, size, size, channels)`."""
    shape = (number, size, size) if channels == 1 else (number, size, size, channels)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def write_split(path: Path, columns: dict[str, Any], *, features: Any = None) -> None:
    """Write one parquet file, with the metadata of the hub if given."""
    table = pa.table(columns)
    if features is not None:
        text = json.dumps({"info": {"features": features}})
        table = table.replace_schema_metadata({"huggingface": text})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, row_group_size=7)


def image_column(pictures: Sequence[np.ndarray] | np.ndarray) -> list[dict[str, Any]]:
    """Return encoded images in the form of the hub."""
    return [{"bytes": encoded(picture), "path": None} for picture in pictures]


def write_set(folder: Path, *, num_train: int = 20, num_test: int = 6, channels: int = 1) -> Path:
    """Write images of three named classes; the class of a row is `row % 3`."""
    names = {"_type": "ClassLabel", "names": ["cat", "dog", "eel"]}
    for split, number, seed in (("train", num_train, 0), ("test", num_test, 1)):
        columns = {
            "image": image_column(images(number, channels=channels, seed=seed)),
            "label": [row % 3 for row in range(number)],
        }
        features = {"image": {"_type": "Image"}, "label": names}
        write_split(folder / f"{split}.parquet", columns, features=features)
    return folder
