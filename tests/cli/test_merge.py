import pytest
import torch

from tests.cli.run import TINY, fail, network, read, succeed


def aligned(capsys, tmp_path, a, b):
    out = tmp_path / "aligned.safetensors"
    succeed(capsys, "align", "mlp", a, b, "-o", out, *TINY)
    return read(out)


@pytest.mark.parametrize(("weights", "share"), [(None, 0.5), ("3,1", 0.75), ("0.2, 0.8", 0.2)])
def test_the_mean_of_a_and_the_aligned_b_is_written(capsys, tmp_path, a, b, weights, share):
    moved = aligned(capsys, tmp_path, a, b)
    out = tmp_path / "merged.safetensors"
    option = ("--weights", weights) if weights else ()
    found = succeed(capsys, "merge", "mlp", a, b, "-o", out, "--json", *option, *TINY)
    for name, tensor in network(0).items():
        torch.testing.assert_close(read(out)[name], share * tensor + (1 - share) * moved[name])
    assert found.data["weights"] == pytest.approx([share, 1 - share])
    assert found.data["matching"]["units"] == 12


def test_without_aligning_it_is_the_plain_mean(capsys, tmp_path, a, b):
    out = tmp_path / "merged.safetensors"
    found = succeed(capsys, "merge", "mlp", a, b, "-o", out, "--no-align", *TINY)
    for name, tensor in network(0).items():
        torch.testing.assert_close(read(out)[name], (tensor + network(1)[name]) / 2)
    assert "averaged without aligning" in found.out


def test_names_and_dtypes_are_those_of_a(capsys, tmp_path, b):
    a = tmp_path / "a.pt"
    torch.save({name: tensor.half() for name, tensor in network(0).items()}, a)
    out = tmp_path / "merged.pt"
    succeed(capsys, "merge", "mlp", a, b, "-o", out, *TINY)
    found = torch.load(out, weights_only=True)
    assert list(found) == list(network(0))
    assert {tensor.dtype for tensor in found.values()} == {torch.float16}


def test_wrong_weights_are_named(capsys, tmp_path, a, b):
    arguments = ("merge", "mlp", a, b, "-o", tmp_path / "out.safetensors", *TINY, "--weights")
    assert "'1;2' is not numbers separated by commas, such as 0.7,0.3" in fail(
        capsys, *arguments, "1;2"
    )
    assert "3 weights (1, 2, 3) for 2 networks; give one for each" in fail(
        capsys, *arguments, "1,2,3"
    )
    assert "they must be finite and their sum not 0" in fail(capsys, *arguments, "1,-1")


def test_other_numbers_of_checkpoints_are_refused(capsys, tmp_path, a, b):
    out = tmp_path / "out.safetensors"
    assert "merge: 1 checkpoints given; give two" in fail(capsys, "merge", "mlp", a, "-o", out)
    assert "merge: 3 checkpoints given; give two" in fail(
        capsys, "merge", "mlp", a, b, b, "-o", out, *TINY
    )


def test_there_is_no_permutation_to_save_without_aligning(capsys, tmp_path, a, b):
    options = ("--no-align", "--save-permutation", tmp_path / "p.safetensors")
    line = fail(capsys, "merge", "mlp", a, b, "-o", tmp_path / "o.safetensors", *options, *TINY)
    assert "--save-permutation has nothing to save with --no-align; leave one" in line
