"""Checkpoints of training scripts on the command line: keys, prefixes and notes."""

import pytest
import torch

from onebasin.checkpoints import read_provenance
from tests.cli.run import TINY, fail, network, read, succeed, write


@pytest.fixture
def released(tmp_path):
    """A training checkpoint with two state dicts in the layout of DataParallel."""
    content = {
        key: {f"module.{name}": tensor for name, tensor in network(seed).items()}
        for key, seed in (("model", 1), ("model_ema", 2))
    }
    torch.save({**content, "epoch": 3}, tmp_path / "b.pth.tar")
    return tmp_path / "b.pth.tar"


def test_the_default_state_dict_is_reported(capsys, tmp_path, a, released):
    out = tmp_path / "out.safetensors"
    run = succeed(capsys, "merge", "mlp", a, released, "-o", out, "--no-align", *TINY)
    assert f"note: {released}: read 'model'; the file also holds 'model_ema'" in run.err
    assert f"note: {released}: the prefix 'module.' of all names is removed" in run.err
    mean = (network(0)["layers.0.weight"] + network(1)["layers.0.weight"]) / 2
    assert torch.allclose(read(out)["layers.0.weight"], mean)


def test_a_key_selects_a_state_dict(capsys, tmp_path, a, released):
    out = tmp_path / "out.safetensors"
    options = ("--key", ".", "--key", "model_ema", "--no-align")
    succeed(capsys, "merge", "mlp", a, released, "-o", out, *options, *TINY)
    mean = (network(0)["layers.0.weight"] + network(2)["layers.0.weight"]) / 2
    assert torch.allclose(read(out)["layers.0.weight"], mean)


def test_two_state_dicts_of_one_file_are_merged(capsys, tmp_path, released):
    out = tmp_path / "out.safetensors"
    options = ("--no-align", "--key", "model", "--key", "model_ema")
    succeed(capsys, "merge", "mlp", released, released, "-o", out, *options, *TINY)
    mean = (network(1)["layers.0.weight"] + network(2)["layers.0.weight"]) / 2
    assert torch.allclose(read(out)["layers.0.weight"], mean)


def test_a_wrong_number_of_keys_is_refused(capsys, tmp_path, a, released):
    b = write(tmp_path / "c.safetensors", network(3))
    keys = ("--key", ".", "--key", "model")
    line = fail(capsys, "merge", "mlp", a, b, released, "-o", tmp_path / "o.pt", *keys, *TINY)
    assert "merge: 2 keys for 3 networks; give --key once" in line


def test_names_cannot_write_to_the_terminal(capsys, tmp_path, a):
    b = write(tmp_path / "b.safetensors", {**network(1), "x\x1b[2J\u202e": torch.zeros(1)})
    line = fail(capsys, "align", "mlp", a, b, "-o", tmp_path / "o.pt", *TINY)
    assert "\x1b" not in line and "x\\x1b[2J\\u202e" in line


def test_outputs_record_how_they_were_computed(capsys, tmp_path, a):
    b, out = write(tmp_path / "b.safetensors", network(1)), tmp_path / "out.safetensors"
    succeed(capsys, "merge", "mlp", a, b, "-o", out, "--weights", "3,1", "--seed", "5", *TINY)
    written = read_provenance(out)
    assert written is not None
    assert written["sources"] == [a.name, b.name]
    assert (written["command"], written["method"], written["seed"]) == ("merge", "weights", 5)
    assert written["weights"] == [0.75, 0.25]
    first = out.read_bytes()
    succeed(capsys, "merge", "mlp", a, b, "-o", out, "--weights", "3,1", "--seed", "5", *TINY)
    assert out.read_bytes() == first
    succeed(capsys, "align", "mlp", a, b, "-o", out, *TINY)
    aligned = read_provenance(out)
    assert aligned is not None and aligned["command"] == "align"
