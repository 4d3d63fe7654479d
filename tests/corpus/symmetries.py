"""Damaged symmetries, permutations and configurations."""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from onebasin.symmetry import Permutation, Symmetry
from tests.cli.run import WIDTH, network
from tests.corpus.writing import Entries, mutations, text_mutations, write, write_text


@functools.cache
def _symmetry() -> Any:
    from onebasin.checkpoints import MLP

    first, second, last = (f"layers.{number}" for number in range(3))
    spec = {
        **{f"{first}.weight": ("a", None), f"{first}.bias": ("a",)},
        **{f"{second}.weight": ("b", "a"), f"{second}.bias": ("b",)},
        **{f"{last}.weight": (None, "b"), f"{last}.bias": (None,)},
    }
    return Symmetry.from_spec(spec, MLP(width=WIDTH, depth=2))


def symmetries() -> Entries:
    text = json.dumps(_symmetry().to_json())
    for name, damaged in text_mutations(text, "symmetry", 150):
        yield name, lambda f, d=damaged: write_text(f / "s.json", d)
    spec = json.dumps(
        {n: ["h" if size == WIDTH else None for size in t.shape] for n, t in network(1).items()}
    )
    for name, damaged in text_mutations(spec, "spec", 40):
        yield f"spec-{name}", lambda f, d=damaged: write_text(f / "s.json", d)

    def pipe(folder: Path) -> Path:
        os.mkfifo(folder / "s.json")
        return folder / "s.json"

    yield "pipe", pipe


def permutations() -> Entries:
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

    for name, damaged in mutations(save(indices, metadata=metadata), "permutation"):
        yield name, lambda f, d=damaged: write(f / "p.safetensors", d)


def _saved(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> Path:
    save_file(tensors, path, metadata=metadata)
    return path


def configurations() -> Entries:
    config = {
        "architectures": ["BertModel"], "model_type": "bert", "hidden_size": 8, "vocab_size": 20,
        "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 12,
        "max_position_embeddings": 16, "hidden_act": "gelu", "type_vocab_size": 2,
    }  # fmt: skip
    for name, damaged in text_mutations(json.dumps(config), "config", 60):
        yield name, lambda f, d=damaged: write_text(f / "config.json", d).parent
