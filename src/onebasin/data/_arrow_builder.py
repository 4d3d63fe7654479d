"""The builder of Hugging Face `datasets` that writes decoded rows as Arrow files.

Only `_cache` imports this module, because `datasets` is optional. The library replaces functions
such as `open` in the module of a builder, so nothing else is defined here.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import datasets
import numpy as np
import pyarrow as pa

from onebasin.data._decoding import Decoding

CHUNK_BYTES = 1 << 28
"""Size of the record batches; a split of at most this size is one contiguous tensor."""


class DecodedBuilder(datasets.ArrowBasedBuilder):
    """Writes the decoded rows of each split, and their metadata as the description.

    Args:
        start: function that opens the source; called only if the cache lacks the rows.
        options: arguments of the base class.
    """

    def __init__(self, start: Callable[[], Decoding], **options: Any) -> None:
        super().__init__(**options)
        self.start = start

    def _info(self) -> datasets.DatasetInfo:
        return datasets.DatasetInfo()

    def _split_generators(self, dl_manager: Any) -> list[datasets.SplitGenerator]:
        self.decoding = self.start()
        splits = self.decoding.tables
        return [datasets.SplitGenerator(name=s, gen_kwargs={"split": s}) for s in splits]

    def _generate_tables(self, **arguments: Any) -> Iterator[tuple[Any, pa.Table]]:
        pending: list[tuple[np.ndarray, np.ndarray | None]] = []
        number = 0
        for rows in self.decoding.rows(arguments["split"]):
            if pending and sum(inputs.nbytes for inputs, _ in pending) > CHUNK_BYTES:
                yield number, _table(pending)
                pending, number = [], number + 1
            pending.append(rows)
        yield number, _table(pending)
        self.info.description = json.dumps(self.decoding.metadata())


def _table(rows: list[tuple[np.ndarray, np.ndarray | None]]) -> pa.Table:
    inputs = np.concatenate([part for part, _ in rows])
    flat = pa.array(inputs.reshape(-1))
    columns: dict[str, Any] = {
        "inputs": pa.FixedSizeListArray.from_arrays(flat, inputs[0].size),
    }
    labels = [part for _, part in rows if part is not None]
    if labels:
        columns["labels"] = pa.array(np.concatenate(labels))
    return pa.table(columns)
