"""Prefixes of wrappers in the names of tensors, and their removal."""

import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from onebasin.checkpoints import open_checkpoint
from onebasin.checkpoints._tensor_names import clean_names


def names_after_opening(
    folder: Path, names: list[str], expected: list[str] | None = None
) -> list[str]:
    path = folder / "a.safetensors"
    save_file({name: torch.tensor([float(len(name))]) for name in names}, path)
    with open_checkpoint(path, expected_names=expected) as checkpoint:
        for name in checkpoint:  # each name still gives its tensor
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
def test_shared_prefixes_are_removed(tmp_path: Path, names: list[str], clean: list[str]) -> None:
    assert names_after_opening(tmp_path, names) == clean


@pytest.mark.parametrize(
    ("expected", "clean"),
    [
        (["module.a", "module.b"], ["module.a", "module.b"]),
        (["a", "b"], ["a", "b"]),
        (["something", "else"], ["a", "b"]),
    ],
)
def test_expected_names_determine_the_prefix(
    tmp_path: Path, expected: list[str], clean: list[str]
) -> None:
    assert names_after_opening(tmp_path, ["module.a", "module.b"], expected) == clean


@pytest.mark.parametrize(
    ("names", "expected", "clean"),
    [
        (["model.a", "model.b.c"], ["a", "b.c"], ["a", "b.c"]),
        (["net.backbone.a", "net.backbone.b"], ["a", "b"], ["a", "b"]),
        (["net.backbone.a", "net.backbone.b"], ["backbone.a", "backbone.b"], None),
        (["a", "b"], ["encoder.a", "encoder.b"], ["encoder.a", "encoder.b"]),
        (["module.a", "module.b"], ["net.a", "net.b"], ["net.a", "net.b"]),
        (["x._orig_mod.a", "x._orig_mod.b"], ["x.a", "x.b"], ["x.a", "x.b"]),
        (["x.a", "x.b"], ["x._orig_mod.a", "x._orig_mod.b"], None),
        (["_orig_mod.x._orig_mod.a", "_orig_mod.y"], ["x.a", "y"], ["x.a", "y"]),
        (["n_averaged", "module.a", "module.b"], ["a", "b"], ["a", "b"]),
        (["model.a", "loss.b"], ["a"], ["loss.b", "model.a"]),
        (["n_averaged", "a"], ["a"], ["a", "n_averaged"]),
    ],
)
def test_any_shared_prefix_is_replaced_by_the_expected_one(
    tmp_path: Path, names: list[str], expected: list[str], clean: list[str] | None
) -> None:
    assert clean_names(names, expected).stored.keys() == set(clean or expected)
    assert set(clean_names(names, expected).stored.values()) <= set(names)


def test_notes_describe_the_removed_prefix() -> None:
    renaming = clean_names(["n_averaged", "module.a", "module.b"], ["a", "b"])
    assert renaming.notes == (
        "the counter 'n_averaged' of an averaged model is left out",
        "the prefix 'module.' of all names is removed",
    )
    assert clean_names(["a", "b"], ["a", "b"]).notes == ()
    assert clean_names(["a", "x._orig_mod.b"], ["a", "x.b"]).notes == (
        "names are read without wrappers, such as 'x.b' for 'x._orig_mod.b'",
    )


def test_many_repeated_prefixes_take_little_time() -> None:
    names = [f"{'module.' * 900}{number}" for number in range(900)]
    start = time.process_time()
    assert sorted(clean_names(names).stored) == sorted(map(str, range(900)))
    assert len(clean_names(names, ["other"]).stored) == 900
    assert time.process_time() - start < 5
