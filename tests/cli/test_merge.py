import sys

import pytest
import torch

from onebasin.checkpoints import build_architecture
from onebasin.matching import ManyMatching, match_weights
from onebasin.matching.registry import MATCHERS, MatcherInfo
from onebasin.symmetry import Permutation, Symmetry
from tests.cli.run import TINY, fail, network, read, run, succeed, write


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


def test_negative_weights_go_beyond_an_end(capsys, tmp_path, a, b):
    out = tmp_path / "merged.safetensors"
    options = ("--no-align", "--weights", "-1,3", "--json")
    found = succeed(capsys, "merge", "mlp", a, b, "-o", out, *options, *TINY)
    assert found.data["weights"] == [-0.5, 1.5]
    for name, tensor in network(0).items():
        torch.testing.assert_close(read(out)[name], 1.5 * network(1)[name] - 0.5 * tensor)
    told = " ".join(run(capsys, "merge", "--help").out.replace("│", " ").split())
    assert "They are divided by their sum and may be negative" in told


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
    assert "3 weights (1, 2, 3) for 2 networks; pass one for each" in fail(
        capsys, *arguments, "1,2,3"
    )
    assert "must be finite with a sum other than 0; pass others, such as --weights 0.7,0.3" in fail(
        capsys, *arguments, "1,-1"
    )


def test_one_checkpoint_is_refused(capsys, tmp_path, a):
    line = fail(capsys, "merge", "mlp", a, "-o", tmp_path / "out.safetensors")
    assert line.startswith("merge: 1 checkpoint given after ARCH 'mlp'; give two or more, the")


@pytest.fixture
def c(tmp_path):
    return write(tmp_path / "c.safetensors", network(2))


def test_three_are_averaged_without_alignment(capsys, tmp_path, a, b, c):
    out = tmp_path / "merged.safetensors"
    options = ("--no-align", "--weights", "2,1,1", "--json")
    found = succeed(capsys, "merge", "mlp", a, b, c, "-o", out, *options, *TINY)
    assert found.data["weights"] == [0.5, 0.25, 0.25]
    for name, tensor in network(0).items():
        mean = tensor / 2 + network(1)[name] / 4 + network(2)[name] / 4
        torch.testing.assert_close(read(out)[name], mean)


def test_two_of_three_that_are_the_same_are_named(capsys, tmp_path, a, b):
    again = write(tmp_path / "again.safetensors", network(1))
    out = tmp_path / "merged.safetensors"
    line = fail(capsys, "merge", "mlp", a, b, again, "-o", out, "--no-align", *TINY)
    assert f"{b} and {again} hold the same tensors" in line


def match_in_pairs(symmetry, params_list, *, seed=0):
    """Match every network to the first: a matcher of many networks that is easy to check."""
    first, *others = params_list
    matchings = [match_weights(symmetry, first, other, seed=seed) for other in others]
    identity = Permutation.identity(symmetry)
    permutations = (identity, *(matching.permutation for matching in matchings))
    return ManyMatching(permutations, (1.0, 2.0), True, 1, 1, 0.0)


@pytest.fixture
def methods(monkeypatch):
    """Let the test say which methods there are."""
    return lambda known: [
        monkeypatch.setattr(f"onebasin.{home}.MATCHERS", known)
        for home in ("matching.registry", "api._matchers")
    ]


def test_three_are_matched_by_a_method_for_many(capsys, tmp_path, methods, a, b, c):
    methods(
        {
            "weights": MATCHERS["weights"],
            "many": MatcherInfo(match_in_pairs, "pairs", num_networks=None),
        }
    )
    out = tmp_path / "merged.safetensors"
    found = succeed(capsys, "merge", "mlp", a, b, c, "-o", out, "--json", *TINY)
    moved = []
    for other in (b, c):
        succeed(capsys, "align", "mlp", a, other, "-o", tmp_path / "moved.safetensors", *TINY)
        moved.append(read(tmp_path / "moved.safetensors"))
    for name, tensor in network(0).items():
        torch.testing.assert_close(read(out)[name], (tensor + moved[0][name] + moved[1][name]) / 3)
    assert found.data["matching"]["method"] == "many"
    assert found.data["matching"]["units"] == 24


def test_a_method_for_two_does_not_take_three(capsys, tmp_path, methods, a, b, c):
    arguments = ("merge", "mlp", a, b, c, "-o", tmp_path / "out.safetensors", *TINY)
    methods(
        {
            "weights": MATCHERS["weights"],
            "many": MatcherInfo(match_in_pairs, "pairs", num_networks=None),
        }
    )
    assert (
        "merge: 3 networks given, but method weights matches two; choose a --method for more: many"
    ) in fail(capsys, *arguments, "--method", "weights")


@pytest.mark.parametrize(
    "option",
    [
        ("--save-permutation", "p.safetensors"),
        ("--symmetry", "s.json"),
        ("--method", "weights"),
        ("--method-arg", "max_sweeps=2"),
        ("--restarts", "2"),
        ("--init", "weights"),
    ],
)
def test_what_says_how_to_align_has_no_use_without(capsys, tmp_path, a, b, option):
    out = tmp_path / "out.safetensors"
    line = fail(capsys, "merge", "mlp", a, b, "-o", out, "--no-align", *option, *TINY)
    name = option[0].replace("--method-arg", "the method option max_sweeps")
    assert line == f"merge: {name} has no effect with --no-align; pass --align, or remove it"


def test_with_data_networks_are_matched_by_features_too_and_the_mean_is_repaired(
    capsys, tmp_path, a, b
):
    out, plain = tmp_path / "merged.safetensors", tmp_path / "plain.safetensors"
    options = ("--data", "digits", "--no-verify", *TINY)
    found = succeed(capsys, "merge", "mlp", a, b, "-o", out, "--json", *options)
    assert found.data["matching"]["method"] == "combined"
    assert found.data["repair"]["method"] == "refit"
    assert found.data["repair"]["sites"] == [f"layers.{i}.linear" for i in (0, 1, 2)]
    assert found.data["repair"]["distances"]["refit"] < found.data["repair"]["distances"]["repair"]
    options += ("--repair", "none")
    found = succeed(capsys, "merge", "mlp", a, b, "-o", plain, "--json", *options)
    assert found.data["repair"] is None
    changed = {n for n, tensor in read(plain).items() if not torch.equal(tensor, read(out)[n])}
    assert {f"layers.{i}.weight" for i in (1, 2)} <= changed


def test_repair_without_data_is_refused(capsys, tmp_path, a, b):
    out = tmp_path / "out.safetensors"
    line = fail(capsys, "merge", "mlp", a, b, "-o", out, *TINY, "--repair", "rescale")
    assert "--repair rescale runs the networks on data; pass --data" in line
    assert not out.exists()


@pytest.mark.parametrize("option", [("--repair", "repair"), ()])
def test_a_mean_without_aligning_can_be_repaired(capsys, tmp_path, a, b, option):
    out = tmp_path / "out.safetensors"
    options = ("--no-align", "--data", "digits", *option, *TINY)
    found = succeed(capsys, "merge", "mlp", a, b, "-o", out, "--json", *options)
    assert found.data["matching"] is None
    assert found.data["repair"]["method"] == ("repair" if option else "refit")


def test_data_have_no_use_where_nothing_is_aligned_or_repaired(capsys, tmp_path, a, b):
    out = tmp_path / "out.safetensors"
    options = ("--no-align", "--data", "digits", "--repair", "none", *TINY)
    assert fail(capsys, "merge", "mlp", a, b, "-o", out, *options) == (
        "merge: --data has no effect with --no-align and --repair none; remove one of them"
    )


def test_statistics_that_there_are_not_are_not_reset(capsys, tmp_path, a, b):
    out = tmp_path / "out.safetensors"
    options = ("--data", "digits", "--repair", "reset", *TINY)
    assert fail(capsys, "merge", "mlp", a, b, "-o", out, *options) == (
        "merge: --repair reset recomputes running statistics, and this architecture has none; "
        "choose --repair refit or --repair repair"
    )
    assert not out.exists()


def test_json_says_what_was_merged_and_repaired_with_what(capsys, tmp_path, a, b):
    out = tmp_path / "out.safetensors"
    options = ("--data", "digits", "--max-train-examples", 100, "--json", *TINY)
    found = succeed(capsys, "merge", "mlp", a, b, "-o", out, *options).data
    assert found["inputs"] == [str(a), str(b)]
    assert (found["repair"]["data"], found["repair"]["examples"]) == ("digits", 100)


def test_every_network_but_the_first_has_a_permutation(capsys, tmp_path, a, b, c):
    out, saved = tmp_path / "merged.safetensors", tmp_path / "symmetry.json"
    options = ("--save-permutation", tmp_path / "p.safetensors", *TINY)
    found = succeed(capsys, "merge", "mlp", a, b, c, "-o", out, *options)
    succeed(capsys, "inspect", "mlp", "--save", saved, *TINY)
    moved = [network(0)]
    for number in (2, 3):
        path = tmp_path / f"p-{number}.safetensors"
        assert f"\nwrote {path}\n" in found.out
        permutation = Permutation.load(path, Symmetry.load(saved))
        moved.append(permutation.apply(network(number - 1)))
    for name, tensor in read(out).items():
        torch.testing.assert_close(tensor, sum(each[name] for each in moved) / 3)


def test_no_permutation_replaces_an_input(capsys, tmp_path, a, b, c):
    taken = write(tmp_path / "p-2.safetensors", network(3))
    options = ("--save-permutation", tmp_path / "p.safetensors", *TINY)
    out = tmp_path / "merged.safetensors"
    line = fail(capsys, "merge", "mlp", taken, b, c, "-o", out, *options)
    assert str(taken) in line


def test_averaged_running_statistics_are_noted(capsys, tmp_path):
    arguments = ("--arch-arg", "width=0.25", "--arch-arg", "norm=batch")
    files = []
    for seed in (0, 1):
        module = build_architecture("resnet20", arch_args=arguments[1::2], seed=seed).module
        files.append(write(tmp_path / f"{seed}.safetensors", module.state_dict()))
    given = ("merge", "resnet20", *files, "-o", tmp_path / "m.safetensors", *arguments)
    found = succeed(capsys, *given, "--no-align")
    assert found.err == (
        "onebasin: note: BatchNorm statistics are averaged; pass --data to recompute them\n"
    )


@pytest.mark.parametrize("norm", ["spectral_norm", "parametrizations.spectral_norm"])
def test_averaged_vectors_of_spectral_normalization_are_noted(capsys, tmp_path, monkeypatch, norm):
    (tmp_path / "spectral_models.py").write_text(
        "import warnings\n"
        "from torch import nn\n"
        "def build():\n"
        "    with warnings.catch_warnings():\n"
        "        warnings.simplefilter('ignore')\n"
        f"        hidden = nn.utils.{norm}(nn.Linear(4, 8))\n"
        "    return nn.Sequential(hidden, nn.ReLU(), nn.Linear(8, 2))\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "spectral_models", raising=False)
    files = []
    for seed in (0, 1):
        module = build_architecture("spectral_models:build", input_spec="2x4", seed=seed).module
        files.append(write(tmp_path / f"{seed}.safetensors", module.state_dict()))
    given = ("merge", "spectral_models:build", *files, "-o", tmp_path / "m.safetensors")
    found = succeed(capsys, *given, "--no-align", "--input", "2x4")
    assert found.err.startswith(
        "onebasin: note: the vectors of spectral normalization are averaged"
    )


def test_every_checkpoint_keeps_its_last_layer(capsys, tmp_path, a, b):
    out = tmp_path / "merged.safetensors"
    options = ("--heads", "own", "--data", "digits", "--json", *TINY)
    found = succeed(capsys, "merge", "mlp", a, b, "-o", out, *options)
    further = tmp_path / "merged-head-2.safetensors"
    assert found.data["heads"] == [str(further)]
    first, second = read(out), read(further)
    different = {name for name in first if not first[name].equal(second[name])}
    assert different == {"layers.2.weight", "layers.2.bias"}
    message = fail(capsys, "merge", "mlp", a, b, "-o", out, "--heads", "own", *TINY)
    assert "--heads own fits last layers on data; pass --data" in message
