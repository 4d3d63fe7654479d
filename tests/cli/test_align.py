import json

import pytest
import torch

from onebasin.symmetry import Permutation, Symmetry
from tests.cli.run import TINY, network, outputs, read, run, succeed, write


def test_b_is_moved_to_a_and_computes_what_it_did(capsys, tmp_path, a, b):
    kept = a.read_bytes(), b.read_bytes()
    out = tmp_path / "out.safetensors"
    found = succeed(capsys, "align", "mlp", a, b, "-o", out, *TINY)
    moved = read(out)
    torch.testing.assert_close(outputs(moved), outputs(network(1)), atol=1e-12, rtol=0)
    assert not torch.equal(moved["layers.0.weight"], network(1)["layers.0.weight"])
    assert (a.read_bytes(), b.read_bytes()) == kept
    assert "2 groups (verified, max error " in found.out
    assert f"wrote {out}" in found.out
    assert found.err == ""


def test_a_planted_permutation_is_undone(capsys, tmp_path, a):
    saved = tmp_path / "symmetry.json"
    succeed(capsys, "inspect", "mlp", "--save", saved, *TINY)
    permutation = Permutation.random(Symmetry.load(saved), seed=1)
    b = write(tmp_path / "b.safetensors", permutation.apply(network(0)))
    out, found = tmp_path / "out.safetensors", tmp_path / "permutation.safetensors"
    succeed(capsys, "align", "mlp", a, b, "-o", out, "--save-permutation", found, *TINY)
    for name, tensor in network(0).items():
        assert torch.equal(read(out)[name], tensor), name
    inverse = Permutation.load(found, Symmetry.load(saved))
    assert (inverse @ permutation).equals(Permutation.identity(permutation.symmetry))


def test_json_is_all_there_is_on_stdout(capsys, tmp_path, a, b):
    out = tmp_path / "out.safetensors"
    found = succeed(capsys, "align", "mlp", a, b, "-o", out, "--json", *TINY)
    data = found.data
    assert data["command"] == "align"
    assert data["output"] == str(out)
    assert {name: group["size"] for name, group in data["symmetry"]["groups"].items()} == {
        "layers.0": 6,
        "layers.1": 6,
    }
    assert data["symmetry"]["proof"]["max_error"] < 1e-9
    objective = data["matching"]["objective"]
    assert objective == sorted(objective)
    assert data["matching"]["units"] == 12
    assert found.err == ""


def test_quiet_prints_nothing(capsys, tmp_path, a, b):
    found = succeed(capsys, "align", "mlp", a, b, "-o", tmp_path / "out.safetensors", "-q", *TINY)
    assert (found.out, found.err) == ("", "")


def test_same_seed_same_bytes(capsys, tmp_path, a, b):
    for name in ("first", "again"):
        succeed(capsys, "align", "mlp", a, b, "-o", tmp_path / f"{name}.safetensors", *TINY)
    first, again = ((tmp_path / f"{name}.safetensors").read_bytes() for name in ("first", "again"))
    assert first == again


@pytest.mark.parametrize("verify", ["--verify", "--no-verify"])
def test_a_symmetry_written_by_hand_is_used(capsys, tmp_path, a, b, verify):
    spec = {name: [None] * tensor.ndim for name, tensor in network(0).items()}
    spec["layers.0.weight"][0] = spec["layers.0.bias"][0] = spec["layers.1.weight"][1] = "hidden"
    file = tmp_path / "hand.json"
    file.write_text(json.dumps(spec))
    out = tmp_path / "out.safetensors"
    found = succeed(
        capsys, "align", "mlp", a, b, "-o", out, "--symmetry", file, verify, "--json", *TINY
    )
    assert list(found.data["symmetry"]["groups"]) == ["hidden"]
    assert (found.data["symmetry"]["proof"] is None) == (verify == "--no-verify")
    torch.testing.assert_close(outputs(read(out)), outputs(network(1)), atol=1e-12, rtol=0)
    assert torch.equal(read(out)["layers.2.weight"], network(1)["layers.2.weight"])


def test_a_wrong_group_is_dropped_and_named(capsys, tmp_path, a, b):
    spec = {name: [None] * tensor.ndim for name, tensor in network(0).items()}
    spec["layers.0.weight"][0] = spec["layers.0.bias"][0] = spec["layers.1.weight"][1] = "good"
    # The spec lacks the bias.
    spec["layers.1.weight"][0] = spec["layers.2.weight"][1] = "bad"
    file = tmp_path / "hand.json"
    file.write_text(json.dumps(spec))
    out = tmp_path / "out.safetensors"
    found = succeed(capsys, "align", "mlp", a, b, "-o", out, "--symmetry", file, "--json", *TINY)
    assert "onebasin: note: group 'bad' failed verification" in found.err
    assert "will not be permuted" in found.err
    assert list(found.data["symmetry"]["groups"]) == ["good"]
    assert list(found.data["symmetry"]["proof"]["failed_groups"]) == ["bad"]
    torch.testing.assert_close(outputs(read(out)), outputs(network(1)), atol=1e-12, rtol=0)


def test_every_form_of_checkpoint_is_taken_and_written(capsys, tmp_path, b):
    a = tmp_path / "a.pt"
    torch.save({"state_dict": {f"module.{n}": t for n, t in network(0).items()}}, a)
    succeed(capsys, "align", "mlp", a, b, "-o", tmp_path / "out.pt", *TINY)
    succeed(capsys, "align", "mlp", a, b, "-o", tmp_path / "out.safetensors", *TINY)
    succeed(capsys, "align", "mlp", a, b, "-o", tmp_path / "out", *TINY)
    expected = read(tmp_path / "out.safetensors")
    for found in (
        torch.load(tmp_path / "out.pt", weights_only=True),
        read(tmp_path / "out" / "model.safetensors"),
    ):
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


def test_dtypes_of_b_are_kept(capsys, tmp_path, a):
    b = write(tmp_path / "b.safetensors", {n: t.bfloat16() for n, t in network(1).items()})
    out = tmp_path / "out.safetensors"
    succeed(capsys, "align", "mlp", a, b, "-o", out, *TINY)
    assert {tensor.dtype for tensor in read(out).values()} == {torch.bfloat16}


def test_restarts_are_printed(capsys, tmp_path, a, b):
    out = tmp_path / "out.safetensors"
    found = succeed(capsys, "align", "mlp", a, b, "-o", out, "--restarts", 3, "--json", *TINY)
    restarts = found.data["matching"]["restarts"]
    assert len(restarts) == 3
    assert found.data["matching"]["objective"][-1] == max(restarts)
    text = succeed(capsys, "align", "mlp", a, b, "-o", out, "--restarts", 3, *TINY).out
    assert "objective best of 3 starts: " in text


def test_an_architecture_where_nothing_moves_leaves_b_as_it_is(capsys, tmp_path):
    files = [write(tmp_path / f"{s}.safetensors", network(s, depth=0)) for s in (0, 1)]
    out = tmp_path / "out.safetensors"
    found = run(capsys, "align", "mlp", *files, "-o", out, "--arch-arg", "depth=0")
    assert found.code == 0
    assert "no permutable units" in found.err
    assert torch.equal(read(out)["layers.0.weight"], network(1, depth=0)["layers.0.weight"])
