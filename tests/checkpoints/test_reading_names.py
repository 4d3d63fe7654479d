"""Prefixes that wrappers put before every name, and when they are taken off."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from onebasin.checkpoints import open_checkpoint


def names_after_opening(
    folder: Path, names: list[str], expected: list[str] | None = None
) -> list[str]:
    path = folder / "a.safetensors"
    save_file({name: torch.tensor([float(len(name))]) for name in names}, path)
    with open_checkpoint(path, expected_names=expected) as checkpoint:
        for name in checkpoint:  # each name still finds its own tensor
            assert any(len(raw) == checkpoint[name].item() and raw.endswith(name) for raw in names)
        return sorted(checkpoint)


@pytest.mark.parametrize(
    ("names", "clean"),
    [
        (["module.a", "module.b"], ["a", "b"]),
        (["_orig_mod.a", "_orig_mod.b"], ["a", "b"]),
        (["module._orig_mod.a", "module._orig_mod.b"], ["a", "b"]),
        (["_orig_mod.module.a", "_orig_mod.module.b"], ["a", "b"]),
        (["module.a", "b"], ["b", "module.a"]),
        (["module.module.a", "module.b"], ["b", "module.a"]),
        (["modules.a", "modules.b"], ["modules.a", "modules.b"]),
        (["module.", "module.a"], ["module.", "module.a"]),
    ],
)
def test_shared_prefixes_are_stripped(tmp_path: Path, names: list[str], clean: list[str]) -> None:
    assert names_after_opening(tmp_path, names) == clean


@pytest.mark.parametrize(
    ("expected", "clean"),
    [
        (["module.a", "module.b"], ["module.a", "module.b"]),
        (["a", "b"], ["a", "b"]),
        (["something", "else"], ["a", "b"]),
    ],
)
def test_expected_names_decide(tmp_path: Path, expected: list[str], clean: list[str]) -> None:
    assert names_after_opening(tmp_path, ["module.a", "module.b"], expected) == clean
