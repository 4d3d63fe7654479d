import json

import pytest
import torch
from safetensors.torch import load_file

from onebasin.measuring.curves import Curve
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
    monkeypatch.setattr("onebasin.cli.demo.EPOCHS", 2)


def test_the_demo_puts_two_networks_into_one_basin(capsys, tmp_path):
    out = tmp_path / "made" / "here"
    found = succeed(capsys, "demo", "--out", out)
    assert {path.name for path in out.iterdir()} == FILES
    result = json.loads((out / "result.json").read_text())
    naive, aligned = result["barrier"]["naive"], result["barrier"]["aligned"]
    assert set(naive) == set(aligned) == {"train", "test"}
    assert set(naive["train"]) == {"loss", "error"}
    assert naive["train"]["loss"] > 0.3
    assert aligned["train"]["loss"] <= 0.03 * naive["train"]["loss"]
    accuracy = result["accuracy"]
    assert set(accuracy) == {"a", "b", "naive", "merged"}
    assert accuracy["naive"] < accuracy["merged"]
    assert min(accuracy["a"], accuracy["b"], accuracy["merged"]) > 0.95
    assert result["seconds"]["total"] < 90
    assert f"{naive['train']['loss']:.4f}" in found.out
    a, aligned, merged = (
        load_file(out / f"{name}.safetensors") for name in ("a", "aligned", "merged")
    )
    for name, tensor in merged.items():
        torch.testing.assert_close(tensor, (a[name] + aligned[name]) / 2)


def test_json_is_the_result_and_the_commands_repeat_it(capsys, tmp_path, brief):
    data = succeed(capsys, "demo", "--out", tmp_path, "--json", "--seed", "3").data
    assert data == json.loads((tmp_path / "result.json").read_text())
    assert data["seed"] == 3
    a, b = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    for command, name in (("align", "aligned"), ("merge", "merged")):
        out = tmp_path / "again.safetensors"
        succeed(capsys, command, "mlp", a, b, "-o", out, "--seed", "3")
        assert out.read_bytes() == (tmp_path / f"{name}.safetensors").read_bytes()
    options = ("--data", "digits", "--method", "weights", "--json", "--seed", "3")
    curves = succeed(capsys, "barrier", "mlp", a, b, *options).data["curves"]
    for state in ("naive", "aligned"):
        found, expected = (Curve.from_json(c[state]["test"]) for c in (curves, data["curves"]))
        assert found.losses == pytest.approx(expected.losses, rel=1e-5)


def test_the_same_seed_gives_the_same_bytes(capsys, tmp_path, brief):
    for name in ("first", "again", "other"):
        seed = "2" if name == "other" else "1"
        succeed(capsys, "demo", "--out", tmp_path / name, "--seed", seed)

    def content(name, file):
        return (tmp_path / name / file).read_bytes()

    for file in ("a.safetensors", "b.safetensors", "merged.safetensors", "curve.png"):
        assert content("first", file) == content("again", file), file
        assert content("first", file) != content("other", file), file


def test_a_folder_that_cannot_be_made(capsys, tmp_path):
    (tmp_path / "file").write_text("")
    line = fail(capsys, "demo", "--out", tmp_path / "file")
    assert (
        line
        == f"{tmp_path / 'file'}: cannot be made into a folder (File exists); choose another --out"
    )
