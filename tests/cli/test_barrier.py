import pytest
import torch

from onebasin.api._matchers import Matcher
from onebasin.checkpoints import build_architecture
from onebasin.evaluation.curves import Curve
from tests.cli.run import TINY, fail, network, run, succeed, write


def test_barriers_before_and_after_are_printed(capsys, a, b):
    out = succeed(capsys, "barrier", "mlp", a, b, "--data", "digits", "--num-points", 5, *TINY).out
    header = next(line for line in out.splitlines() if line.startswith("barrier"))
    assert header.split() == ["barrier", "naive", "aligned"]
    for measure in ("loss, train", "loss, test", "error, train", "error, test"):
        assert measure in out
    assert "statistics between" not in out


def test_json_has_the_curves_too(capsys, a, b):
    options = ("--data", "digits", "--num-points", 3, "--json")
    data = succeed(capsys, "barrier", "mlp", a, b, *options, *TINY).data
    assert set(data["barrier"]) == {"naive", "aligned"}
    for state, splits in data["curves"].items():
        for split, curve in splits.items():
            curve = Curve.from_json(curve)
            assert len(curve.losses) == 3
            assert data["barrier"][state][split]["loss"] == curve.barrier()
    naive, aligned = (data["curves"][state]["test"]["losses"] for state in ("naive", "aligned"))
    # The ends are the same functions; the middle is not the same network.
    assert naive[0] == pytest.approx(aligned[0], rel=1e-6)
    assert naive[2] == aligned[2]
    assert naive[1] != aligned[1]
    assert (data["baseline"], data["normalization"]) == ("linear", "interpolated")


def test_without_aligning_there_is_one_column(capsys, a, b):
    options = ("--data", "digits", "--num-points", 3, "--no-align", "--json")
    data = succeed(capsys, "barrier", "mlp", a, b, *options, *TINY).data
    assert set(data["barrier"]) == {"naive"}
    assert data["matching"] is None


@pytest.mark.parametrize("option", [("--method", "many"), ("--restarts", 2)])
def test_options_of_aligning_are_refused_where_nothing_is_aligned(capsys, a, b, option):
    line = fail(capsys, "barrier", "mlp", a, b, "--data", "digits", "--no-align", *option, *TINY)
    assert line == f"barrier: {option[0]} has no effect with --no-align; pass --align, or remove it"


def test_a_network_has_no_barrier_to_itself(capsys, tmp_path, a):
    same = write(tmp_path / "same.safetensors", network(0))
    found = run(capsys, "barrier", "mlp", a, same, "--data", "digits", "--json", *TINY)
    assert found.code == 0
    assert found.notes == "onebasin: note: A and B hold the same tensors\n"
    zero = {"loss": 0.0, "error": 0.0}
    assert found.data["barrier"] == {"naive": {"train": zero, "test": zero}}


def test_the_curves_are_drawn(capsys, tmp_path, a, b):
    plot = tmp_path / "curve.png"
    options = ("--data", "digits", "--num-points", 3, "--plot", plot)
    assert f"wrote {plot}" in succeed(capsys, "barrier", "mlp", a, b, *options, *TINY).out
    assert plot.read_bytes().startswith(b"\x89PNG")


def test_a_picture_of_an_unknown_kind_is_refused_at_once(capsys, tmp_path, a, b):
    plot = tmp_path / "curve.txt"
    line = fail(capsys, "barrier", "mlp", a, b, "--data", "digits", "--plot", plot, *TINY)
    assert "unknown picture format '.txt'; expected .png, .svg, .pdf" in line


def test_unknown_data_lists_the_known(capsys, a, b):
    line = fail(capsys, "barrier", "mlp", a, b, "--data", "digit", *TINY)
    assert line.startswith(
        "data: 'digit' is not a file, a folder or a known dataset; did you mean 'digits'? Known"
    )


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"in_features": 32}, "mlp cannot be run on digits, whose inputs are 64 (RuntimeError"),
        ({"num_classes": 4}, "labels of digits reach 9, but mlp has 4 outputs"),
    ],
)
def test_data_that_does_not_fit_is_named(capsys, tmp_path, sizes, message):
    files = [write(tmp_path / f"{seed}.safetensors", network(seed, **sizes)) for seed in (0, 1)]
    arguments = [f"--arch-arg={name}={size}" for name, size in sizes.items()]
    line = fail(capsys, "barrier", "mlp", *files, "--data", "digits", *arguments, *TINY)
    assert message in line
    assert "choose other data or other --arch-arg" in line


NORMALISED = """
from torch import nn

def build():
    return nn.Sequential(nn.Linear(64, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 10))
"""


def test_statistics_can_be_reset_on_the_way(capsys, tmp_path, monkeypatch):
    (tmp_path / "normalized_models.py").write_text(NORMALISED)
    monkeypatch.chdir(tmp_path)
    architecture = build_architecture("normalized_models:build", input_spec="2x64")
    files = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        params = architecture.build("cpu").state_dict()
        params = {
            name: torch.rand(tensor.shape) if tensor.is_floating_point() else tensor
            for name, tensor in params.items()
        }
        files.append(write(tmp_path / f"{seed}.safetensors", params))
    options = ("--input", "2x64", "--data", "digits", "--method", "weights")
    arguments = ("barrier", architecture.name, *files, *options)
    curves = {
        way: succeed(capsys, *arguments, "--num-points", 3, "--json", "--normalization", way).data[
            "curves"
        ]["aligned"]["train"]
        for way in ("interpolated", "reset")
    }
    hint = (
        "onebasin: note: BatchNorm statistics are interpolated; pass --normalization reset to "
        "recompute them from the training data\n"
    )
    for way, expected in (("interpolated", hint), ("reset", "")):
        options = ("--num-points", 2, "--normalization", way)
        assert succeed(capsys, *arguments, *options).notes == expected
    plain, reset = curves["interpolated"], curves["reset"]
    assert (reset["normalization"], reset["num_reset"]) == ("reset", 1)
    assert (plain["losses"][0], plain["losses"][2]) == (reset["losses"][0], reset["losses"][2])
    assert reset["losses"][1] < plain["losses"][1]


@pytest.mark.parametrize("method", ["repair", "rescale"])
def test_units_can_be_repaired_on_the_way(capsys, a, b, tmp_path, method):
    options = ("--data", "digits", "--num-points", 3, "--no-align", "--json")
    plain = succeed(capsys, "barrier", "mlp", a, b, *options, *TINY).data
    table = tmp_path / "curve.csv"
    options = (*options, "--normalization", method, "--save", table)
    found = succeed(capsys, "barrier", "mlp", a, b, *options, *TINY).data
    before, after = (each["curves"]["naive"]["train"]["losses"] for each in (plain, found))
    assert (before[0], before[2]) == (after[0], after[2])
    assert before[1] != after[1]
    assert found["normalization"] == method
    assert f",{method}" in table.read_text()


def test_one_split_can_be_asked_for(capsys, a, b):
    options = ("--data", "digits", "--num-points", 3, "--json")
    both = succeed(capsys, "barrier", "mlp", a, b, *options, *TINY).data
    for split in ("train", "test"):
        one = succeed(capsys, "barrier", "mlp", a, b, *options, "--split", split, *TINY).data
        for state, splits in one["curves"].items():
            assert splits == {split: both["curves"][state][split]}


def test_the_baseline_can_be_chosen(capsys, a, b):
    options = ("--data", "digits", "--num-points", 3, "--json", "--no-align")
    for baseline in ("linear", "mean"):
        data = succeed(capsys, "barrier", "mlp", a, b, *options, "--baseline", baseline, *TINY).data
        curve = Curve.from_json(data["curves"]["naive"]["test"])
        assert data["barrier"]["naive"]["test"]["loss"] == curve.barrier("loss", baseline)


def test_the_method_can_be_chosen_and_sees_the_data(capsys, a, b):
    options = ("--data", "digits", "--num-points", 3, "--json", "--method", "activations")
    data = succeed(capsys, "barrier", "mlp", a, b, *options, *TINY).data
    assert data["matching"]["method"] == "activations"
    line = fail(capsys, "barrier", "mlp", a, b, "--data", "digits", "--method", "nonsense", *TINY)
    assert "nonsense" in line
    assert "weights" in line


def test_b_is_aligned_by_weights_or_as_it_is_for_merging(capsys, tmp_path, a, b):
    options = ("--data", "digits", "--max-train-examples", 200, *TINY)
    merging = succeed(capsys, "merge", "mlp", a, b, "-o", tmp_path / "m.pt", "--json", *options)
    measuring = ("barrier", "mlp", a, b, "--num-points", 2, "--json", *options)
    plain = succeed(capsys, *measuring)
    assert plain.data["matching"]["method"] == "weights"
    measured = succeed(capsys, *measuring, "--normalization", "repair")
    aligned = succeed(capsys, "align", "mlp", a, b, "-o", tmp_path / "b.pt", "--json", *options)
    kinds = ("method", "objective", "moved_units")
    first, *others = (
        [found.data["matching"][kind] for kind in kinds] for found in (merging, measured, aligned)
    )
    assert first[0] == "combined"
    assert others == [first, first]


def test_what_is_measured_repaired_is_matched_as_it_is_for_merging(capsys, tmp_path, a, b):
    options = ("--data", "digits", "--max-train-examples", 100, "--method", "sinkhorn", *TINY)
    options += ("--method-arg", "max_steps=1")
    asked = []

    def with_defaults(self, **given):
        asked.append(given)
        return self

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Matcher, "with_defaults", with_defaults)
        for way in ("interpolated", "repair"):
            given = ("--num-points", 2, "--normalization", way, *options)
            succeed(capsys, "barrier", "mlp", a, b, *given)
    assert asked == [{"normalization": "batch"}]


def test_it_says_what_was_measured_and_how(capsys, a, b):
    options = ("--data", "digits", "--num-points", 3, "--max-train-examples", 50, *TINY)
    given = ("barrier", "mlp", a, b, *options, "--normalization", "repair")
    assert succeed(capsys, *given, "--json").data["inputs"] == [str(a), str(b)]
    found = succeed(capsys, *given)
    assert "\ncombined: objective " in found.out
    assert "\nstatistics between the networks: repair\n" in found.out
    assert found.notes == ""


@pytest.mark.parametrize("command", ["barrier", "plane", "compare-features"])
def test_max_train_examples_needs_training_examples(capsys, tmp_path, a, b, command):
    out = {"plane": ("-o", tmp_path / "p.png"), "compare-features": ("-o", tmp_path / "f")}.get(
        command, ()
    )
    given = (command, "mlp", a, b, *out, "--data", "digits", "--max-train-examples", 20, *TINY)
    line = fail(capsys, *given, "--split", "test")
    assert line.startswith(
        f"{command}: --max-train-examples has no effect because only the test split is"
    )
    assert not list(tmp_path.glob("[pf]*")), "nothing was written"


def test_max_train_examples_counts_where_training_examples_are_used(capsys, a, b):
    given = (
        "barrier",
        "mlp",
        a,
        b,
        "--data",
        "digits",
        "--max-train-examples",
        20,
        "--num-points",
        2,
    )
    for used in (("--normalization", "repair", "--no-align"), ("--method", "activations")):
        succeed(capsys, *given, "--split", "test", *used, *TINY)
    line = fail(capsys, *given, "--split", "test", "--no-align", *TINY)
    assert "--max-train-examples has no effect" in line


def test_the_numbers_are_saved(capsys, tmp_path, a, b):
    table = tmp_path / "curves.csv"
    options = ("--data", "digits", "--num-points", 3, "--save", table)
    assert f"wrote {table}" in succeed(capsys, "barrier", "mlp", a, b, *options, *TINY).out
    lines = table.read_text().splitlines()
    assert lines[0] == "state,split,alpha,loss,error,normalization"
    assert len(lines) == 1 + 2 * 2 * 3
    wrong = ("--data", "digits", "--save", tmp_path / "curves.txt")
    line = fail(capsys, "barrier", "mlp", a, b, *wrong, *TINY)
    assert "unknown table format '.txt'; expected .json or .csv" in line


def test_one_checkpoint_is_not_enough(capsys, a):
    line = fail(capsys, "barrier", "mlp", a, "--data", "digits", *TINY)
    assert line.startswith("barrier: 1 checkpoint given after ARCH 'mlp'; give two or more, the")


@pytest.mark.parametrize("command", ["barrier", "merge", "align", "compare-features"])
def test_a_built_in_architecture_is_fitted_to_the_data(capsys, tmp_path, command):
    """Images of digits are no default of any network: without fitting, nothing would load."""
    files = [tmp_path / f"{seed}.safetensors" for seed in (0, 1)]
    for seed, file in enumerate(files):
        fitting = {"in_channels": 1, "image_size": 8, "width": 4}
        built = build_architecture("shallow-cnn", arch_args=fitting, seed=seed)
        write(file, built.module.state_dict())
    options = {
        "barrier": ("--num-points", 3),
        "merge": ("-o", tmp_path / "merged.safetensors"),
        "align": ("-o", tmp_path / "aligned.safetensors", "--method", "activations"),
        "compare-features": ("-o", tmp_path / "features"),
    }[command]
    given = ("--data", "digits", "--arch-arg", "width=4", *options)
    succeed(capsys, command, "shallow-cnn", *files, *given)


def test_the_seed_draws_no_other_test_set(capsys, a, b):
    options = ("--data", "digits", "--num-points", 3, "--no-align", "--json")
    found = [
        succeed(capsys, "barrier", "mlp", a, b, *options, "--seed", seed, *TINY).data["curves"]
        for seed in (0, 5)
    ]
    assert found[0] == found[1]
