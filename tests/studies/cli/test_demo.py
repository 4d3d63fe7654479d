import json

import pytest
import torch
from safetensors.torch import load_file

from tests.cli.run import fail, succeed

FILES = {
    "a.safetensors",
    "b.safetensors",
    "aligned.safetensors",
    "merged.safetensors",
    "curve.png",
    "report.html",
    "result.json",
}


@pytest.fixture
def brief(monkeypatch):
    """A demonstration that trains for two epochs only."""
    monkeypatch.setattr("onebasin_studies.report.demo.EPOCHS", 2)


def test_merged_network_is_better_than_its_parents(capsys, tmp_path):
    out = tmp_path / "made" / "here"
    found = succeed(capsys, "demo", "--out", out)
    assert {path.name for path in out.iterdir()} == FILES
    result = json.loads((out / "result.json").read_text())
    networks = result["merged"]["evaluation"]["test"]["networks"]
    errors = {name: each["error"] for name, each in networks.items()}
    assert list(errors) == ["A", "B", "average, unaligned", "merged", "ensemble of A and B"]
    assert errors["merged"] < 0.7 * min(errors["A"], errors["B"])
    assert errors["average, unaligned"] > 1.5 * max(errors["A"], errors["B"])
    naive, aligned = result["barrier"]["barrier"]["naive"], result["barrier"]["barrier"]["aligned"]
    assert naive["test"]["loss"] > 0.3
    assert aligned["test"]["loss"] < 0.03 * naive["test"]["loss"]
    assert result["seconds"]["total"] < 90
    assert f"{naive['train']['loss']:.4f}" in found.out
    page = (out / "report.html").read_text()
    assert f"{errors['merged']:.1%}" in page and "$" not in page.split("</style>")[-1]


def test_commands_write_the_same_files(capsys, tmp_path, brief):
    data = succeed(capsys, "demo", "--out", tmp_path, "--json", "--seed", "3").data
    assert data == json.loads((tmp_path / "result.json").read_text())
    assert data["seed"] == 3
    a, b = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    options = ("--data", "digits", "--seed", "3")
    for command, name in (("align", "aligned"), ("merge", "merged")):
        out = tmp_path / "again.safetensors"
        succeed(capsys, command, a, b, "-o", out, *options)
        assert out.read_bytes() == (tmp_path / f"{name}.safetensors").read_bytes()
    found = succeed(capsys, "barrier", a, b, *options, "--method", "combined", "--json").data
    assert found["barrier"] == data["barrier"]["barrier"]


def test_same_seed_gives_the_same_bytes(capsys, tmp_path, brief):
    for name in ("first", "again", "other"):
        seed = "2" if name == "other" else "1"
        succeed(capsys, "demo", "--out", tmp_path / name, "--seed", seed)

    def content(name, file):
        return (tmp_path / name / file).read_bytes()

    for file in ("a.safetensors", "b.safetensors", "merged.safetensors", "curve.png"):
        assert content("first", file) == content("again", file), file
        assert content("first", file) != content("other", file), file


def test_merged_network_has_the_same_size(capsys, tmp_path, brief):
    succeed(capsys, "demo", "--out", tmp_path)
    a, merged = (load_file(tmp_path / f"{name}.safetensors") for name in ("a", "merged"))
    assert {n: t.shape for n, t in a.items()} == {n: t.shape for n, t in merged.items()}
    assert not any(torch.equal(a[name], merged[name]) for name in a)


def test_folder_that_cannot_be_created_raises(capsys, tmp_path):
    file = tmp_path / "file"
    file.write_text("")
    line = fail(capsys, "demo", "--out", file)
    assert line == f"{file}: the folder cannot be created (File exists); choose another --out"
