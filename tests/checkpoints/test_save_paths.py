"""Checks of output paths before long work."""

import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from onebasin.checkpoints import (
    check_file_writable,
    check_writable,
    open_checkpoint,
    write_checkpoint,
)
from onebasin.checkpoints.save import output_form
from onebasin.errors import OneBasinError


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "a.safetensors"
    save_file({"x": torch.ones(1)}, path)
    return path


@pytest.mark.parametrize(
    ("path", "form"),
    [
        ("a.safetensors", "safetensors"),
        ("a.pt", "torch"),
        ("a.pth", "torch"),
        ("a.bin", "torch"),
        ("a.th", "torch"),
        ("merged", "folder"),
        ("merged/", "folder"),
        ("llama-3.1/", "folder"),
    ],
)
def test_the_path_determines_the_format(path: str, form: str) -> None:
    assert output_form(path) == form
    assert path.endswith("/") or output_form(Path(path)) == form


def test_existing_folder_with_any_suffix_is_a_folder(tmp_path: Path) -> None:
    (tmp_path / "llama-3.1").mkdir()
    assert output_form(tmp_path / "llama-3.1") == "folder"


@pytest.mark.parametrize("name", ["a.onnx", "llama-3.1", "a.json"])
def test_an_unknown_format_raises(tmp_path: Path, name: str) -> None:
    text = rf"{name}: unknown kind of output '\.\w+'; expected .safetensors, .pt.* '/' at its end"
    with pytest.raises(OneBasinError, match=text):
        check_writable(tmp_path / name)


@pytest.mark.parametrize("name", ["b.safetensors", "b.pt", "b", "b/"])
def test_checks_of_valid_outputs_write_no_files(tmp_path: Path, source: Path, name: str) -> None:
    check_writable(f"{tmp_path}/{name}", inputs=[source])
    assert os.listdir(tmp_path) == ["a.safetensors"]


@pytest.mark.parametrize("content", ["safetensors", "torch", "legacy", "empty"])
@pytest.mark.parametrize("name", ["b.safetensors", "b.pt"])
def test_an_existing_checkpoint_may_be_replaced(
    tmp_path: Path, source: Path, name: str, content: str
) -> None:
    path = tmp_path / name
    if content == "safetensors":
        save_file({"x": torch.ones(1)}, path)
    elif content == "empty":
        path.touch()
    else:
        is_zip = content == "torch"
        torch.save({"x": torch.ones(1)}, path, _use_new_zipfile_serialization=is_zip)
    before = path.read_bytes()
    check_writable(path, inputs=[source])
    assert path.read_bytes() == before


@pytest.mark.parametrize("content", ["a,b\n1,2\n", "12345678{text}"])
@pytest.mark.parametrize("name", ["b.safetensors", "b.pt", "tokenizer.model"])
def test_another_existing_file_is_not_replaced(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content)
    text = f"{name}: exists and is not a checkpoint, so it is not replaced; remove it or choose"
    with pytest.raises(OneBasinError, match=text):
        check_writable(tmp_path / name)
    with pytest.raises(OneBasinError, match=text):
        write_checkpoint(tmp_path / name, {"x": torch.ones(1)})
    assert (tmp_path / name).read_text() == content


@pytest.mark.parametrize("name", ["b.safetensors", "b", "b/"])
def test_a_missing_parent_folder_raises(tmp_path: Path, name: str) -> None:
    text = r"the folder .*absent does not exist; create it first"
    with pytest.raises(OneBasinError, match=text):
        check_writable(f"{tmp_path}/absent/{name}")


@pytest.mark.parametrize("name", ["b.safetensors", "b", "b/"])
@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="needs a folder even root cannot fill")
def test_a_folder_without_write_access_raises(name: str) -> None:
    with pytest.raises(OneBasinError, match=r"/proc/self/b.*: cannot be written \(.+\); choose"):
        check_writable(f"/proc/self/{name}")


def test_a_folder_as_output_file_raises(tmp_path: Path) -> None:
    (tmp_path / "b.safetensors").mkdir()
    with pytest.raises(OneBasinError, match=r"b\.safetensors: is a folder; give the path of a"):
        check_writable(tmp_path / "b.safetensors")
    with pytest.raises(OneBasinError, match=r"is a folder; give the path of a file"):
        check_file_writable(tmp_path)


def test_a_file_or_a_full_folder_as_output_folder_raises(tmp_path: Path, source: Path) -> None:
    (tmp_path / "b").write_text("")
    with pytest.raises(OneBasinError, match="is a file, but the output is a folder"):
        check_writable(tmp_path / "b")
    with pytest.raises(OneBasinError, match="the folder is not empty; remove it or choose"):
        check_writable(f"{tmp_path}/")


@pytest.mark.parametrize("opened", [False, True], ids=["path", "checkpoint"])
def test_input_is_never_replaced(tmp_path: Path, source: Path, opened: bool) -> None:
    (tmp_path / "link.safetensors").symlink_to(source)
    os.link(source, tmp_path / "hard.safetensors")
    given = open_checkpoint(source) if opened else source
    for name in ("a.safetensors", "../" + tmp_path.name + "/a.safetensors", "link.safetensors"):
        text = r"is the input .*a\.safetensors or part of it, which is never replaced"
        with pytest.raises(OneBasinError, match=text):
            check_writable(tmp_path / name, inputs=[given])
    with pytest.raises(OneBasinError, match="never replaced"):
        check_file_writable(tmp_path / "hard.safetensors", inputs=[given])


@pytest.mark.parametrize("opened", [False, True], ids=["path", "checkpoint"])
@pytest.mark.parametrize("by_index", [False, True], ids=["folder", "index"])
def test_parts_of_an_input_folder_are_never_replaced(
    tmp_path: Path, opened: bool, by_index: bool
) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    save_file({"x": torch.ones(1)}, folder / "one.safetensors")
    index = folder / "model.safetensors.index.json"
    index.write_text('{"weight_map": {"x": "one.safetensors"}}')
    path = index if by_index else folder
    given = open_checkpoint(path) if opened else path
    for output in (folder / "one.safetensors", folder, index):
        with pytest.raises(OneBasinError, match="never replaced"):
            (check_writable if output != index else check_file_writable)(output, inputs=[given])
    check_writable(folder / "other.safetensors", inputs=[given])
