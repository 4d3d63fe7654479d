"""Outputs go where they should: never through links of a folder, never over an input."""

import contextlib
import json
import os
import resource
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from onebasin.checkpoints import write_checkpoint
from onebasin.checkpoints._companions import companion_files
from onebasin.cli.main import main
from onebasin.errors import OneBasinError
from onebasin.networks.mlp import MLP
from onebasin.symmetry import Permutation, Symmetry, infer_symmetry
from tests.cli.run import TINY, fail, network, succeed
from tests.time_limits import time_limit

TRAIN = ("train", "mlp", "--data", "digits", "--epochs", 1, "--arch-arg", "width=4")


@pytest.fixture(scope="module")
def symmetry() -> Symmetry:
    return infer_symmetry(MLP(width=6, depth=2), (torch.zeros(2, 64),))


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("trained") / "run"
    assert main([*map(str, TRAIN), "-o", str(folder)]) == 0
    return folder


@pytest.fixture
def trained(run_folder, tmp_path):
    """A folder of `train` and a file outside it."""
    folder, victim = tmp_path / "run", tmp_path / "victim"
    shutil.copytree(run_folder, folder)
    victim.write_text("precious")
    return folder, victim


@pytest.mark.parametrize("options", [(), ("--restart",)])
@pytest.mark.parametrize(
    "name",
    ["history.jsonl", "manifest.json", "curves.png", "seed-0.safetensors", "history/x", ".lock"],
)
def test_training_writes_through_no_link(capsys, trained, name, options):
    folder, victim = trained
    (folder / name).unlink(missing_ok=True)
    (folder / name).symlink_to(victim)
    line = fail(capsys, *TRAIN, "-o", folder, *options)
    assert line.startswith(f"{folder / name}: is a symbolic link, and files are written only")
    assert victim.read_text() == "precious"


def test_training_removes_nothing_behind_a_linked_folder(capsys, trained):
    folder, victim = trained
    shutil.rmtree(folder / "history")
    (folder / "history").symlink_to(victim.parent)
    fail(capsys, *TRAIN, "-o", folder, "--restart")
    assert victim.read_text() == "precious"


@pytest.mark.parametrize("content", ['{"a":' * 100_000, "[]", "{"])
def test_a_damaged_manifest_is_named(capsys, trained, content):
    folder, _ = trained
    (folder / "manifest.json").write_text(content)
    assert "manifest.json: not the manifest of a training" in fail(capsys, *TRAIN, "-o", folder)


def test_a_manifest_that_is_a_pipe_does_not_block(capsys, trained):
    folder, _ = trained
    (folder / "manifest.json").unlink()
    os.mkfifo(folder / "manifest.json")
    with time_limit(30):
        assert "not the manifest of a training" in fail(capsys, *TRAIN, "-o", folder)


@pytest.fixture
def symmetry_file(tmp_path, symmetry):
    """A symmetry under names that outputs may have."""

    def write(name: str) -> Path:
        symmetry.save(tmp_path / name)
        return tmp_path / name

    return write


def test_the_symmetry_that_is_read_is_not_replaced(capsys, tmp_path, symmetry_file, a, b):
    for command in ("align", "merge"):
        file = symmetry_file("s.pt")
        line = fail(capsys, command, "mlp", a, b, "--symmetry", file, "-o", file, *TINY)
        assert line.startswith(f"{file}: is the input {file}")
        file = symmetry_file("s.safetensors")
        options = ("--symmetry", file, "--save-permutation", file, "-o", tmp_path / "o.pt")
        assert "which is never replaced" in fail(capsys, command, "mlp", a, b, *options, *TINY)
    file = symmetry_file("s.json")
    options = ("--symmetry", file, "--save", file)
    assert "which is never replaced" in fail(capsys, "inspect", "mlp", *options, *TINY)
    options = ("--symmetry", file, "--save", file, "--data", "digits")
    assert "which is never replaced" in fail(capsys, "barrier", "mlp", a, b, *options, *TINY)
    assert json.loads(file.read_text())["format"]
    assert not (tmp_path / "o.pt").exists()


@pytest.mark.parametrize(
    ("command", "name"),
    [
        (("demo", "--out"), "report.html"),
        (("demo", "--out"), "merged.safetensors"),
        (("compare-features", "mlp", "a", "b", "--data", "digits", "-o"), "llfc.csv"),
    ],
)
def test_other_folders_are_not_written_through_links_either(capsys, tmp_path, command, name):
    (tmp_path / "out").mkdir()
    (tmp_path / "victim").write_text("precious")
    (tmp_path / "out" / name).symlink_to("../victim")
    line = fail(capsys, *command, tmp_path / "out")
    assert line.startswith(f"{tmp_path / 'out' / name}: is a symbolic link, and files are written")
    assert (tmp_path / "victim").read_text() == "precious"


def test_data_files_are_not_replaced(capsys, tmp_path, a, b, symmetry_file):
    data = tmp_path / "llfc.csv"
    data.write_text("x,label\n")
    for command in ("barrier", "evaluate"):
        line = fail(capsys, command, "mlp", a, b, "--data", data, "--save", data, *TINY)
        assert line.startswith(f"{data}: is the input {data}")
    options = ("--data", data, "-o", tmp_path)
    assert "which is never replaced" in fail(
        capsys, "compare-features", "mlp", a, b, *options, *TINY
    )
    file = symmetry_file("llfc.json")
    options = ("--data", "digits", "-o", tmp_path, "--symmetry", file)
    assert "which is never replaced" in fail(
        capsys, "compare-features", "mlp", a, b, *options, *TINY
    )


@pytest.mark.parametrize("name", ["train.csv", "raw/train.csv"])
def test_files_in_a_data_folder_are_not_replaced(capsys, tmp_path, a, name):
    file = tmp_path / "root" / "toys" / name
    file.parent.mkdir(parents=True)
    file.write_text("x,label\n")
    for data in (("toys", "--data-root", tmp_path / "root"), (tmp_path / "root" / "toys",)):
        line = fail(capsys, "evaluate", "mlp", a, "--data", *data, "--save", file, *TINY)
        assert line.startswith(f"{file}: is the input {tmp_path / 'root' / 'toys'} or part of it")
    assert file.read_text() == "x,label\n"


def test_the_module_file_is_not_replaced(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code = "from torch import nn\nbuild = lambda: nn.Linear(3, 3)\n"
    (tmp_path / "models_of_mine.py").write_text(code)
    options = ("--input", "2x3", "--save", "models_of_mine.py")
    assert "which is never replaced" in fail(capsys, "inspect", "models_of_mine:build", *options)
    assert (tmp_path / "models_of_mine.py").read_text() == code


@pytest.fixture
def linked(tmp_path):
    """A folder of a checkpoint with a link to a file elsewhere."""
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "fa").mkdir()
    save_file(network(0), tmp_path / "fa" / "model.safetensors")
    (tmp_path / "fa" / "vocab.txt").symlink_to("../secret")
    return tmp_path / "fa"


def test_a_companion_outside_the_folder_is_not_copied(capsys, tmp_path, linked, b):
    out = tmp_path / "out/"
    line = fail(capsys, "merge", "mlp", linked, b, "-o", f"{out}/", "--no-align", *TINY)
    assert line.startswith(f"{linked / 'vocab.txt'}: is a link to {tmp_path / 'secret'}, which is")
    assert not out.exists()
    succeed(capsys, "merge", "mlp", b, linked, "-o", f"{out}/", "--no-align", *TINY)
    assert os.listdir(out) == ["model.safetensors"]


def test_links_of_the_hub_cache_and_inside_the_folder_are_copied(tmp_path):
    snapshot, blobs = tmp_path / "models--x" / "snapshots" / "1", tmp_path / "models--x" / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    (blobs / "abc").write_text("{}")
    (snapshot / "config.json").symlink_to("../../blobs/abc")
    (snapshot / "vocab.txt").symlink_to("config.json")
    assert [file.name for file in companion_files(snapshot)] == ["config.json", "vocab.txt"]


@pytest.mark.parametrize("stem", ["p" * 243, "é" * 121, "𝄞" * 60])
def test_the_longest_names_can_be_written(capsys, tmp_path, a, b, stem):
    file = tmp_path / f"{stem}.safetensors"
    succeed(
        capsys, "align", "mlp", a, b, "-o", tmp_path / "o.pt", "--save-permutation", file, *TINY
    )
    assert sorted(path.name for path in tmp_path.iterdir() if path not in (a, b)) == sorted(
        ["o.pt", file.name]
    )
    line = fail(
        capsys, "align", "mlp", a, b, "-o", tmp_path / "o2.pt", "--save-permutation",
        tmp_path / f"{'p' * 244}.safetensors", *TINY,
    )  # fmt: skip
    assert "cannot be written (File name too long)" in line
    assert not (tmp_path / "o2.pt").exists()


@contextlib.contextmanager
def full_disk() -> Iterator[None]:
    """Let no file grow beyond 100 bytes while a block runs; nothing in it may print."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("name", ["o.pt", "o.safetensors", "o/", "p.safetensors", "s.json"])
def test_a_full_disk_names_the_output(tmp_path, symmetry, name):
    out, state_dict = f"{tmp_path}/{name}", network(0)
    with pytest.raises(OneBasinError) as error, full_disk():
        if name.startswith("p"):
            Permutation.identity(symmetry).save(out)
        elif name.startswith("s"):
            symmetry.save(out)
        else:
            write_checkpoint(out, state_dict)
    assert str(error.value).startswith(f"{out}: cannot be written (File too large); free space or")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_inside_torch_save_ends_the_process(tmp_path, monkeypatch, number):
    inherited = signal.signal(number, signal.SIG_DFL)

    def write(recorder, content):
        signal.raise_signal(number)
        return len(content)

    monkeypatch.setattr("onebasin.checkpoints.save._ErrorRecorder.write", write)
    try:
        with pytest.raises(SystemExit) as caught:
            write_checkpoint(tmp_path / "o.pt", network(0))
    finally:
        signal.signal(number, inherited)
    assert caught.value.code == 128 + number
    assert os.listdir(tmp_path) == []


def test_names_that_are_not_utf8(capsys, tmp_path, a, b):
    out = os.fsdecode(os.fsencode(tmp_path / "out") + b"\xff.pt")
    found = succeed(capsys, "align", "mlp", a, b, "-o", out, *TINY)
    assert found.out.endswith("out\\udcff.pt\n")
    assert os.path.exists(out)
