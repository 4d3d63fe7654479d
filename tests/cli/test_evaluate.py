"""Loss and error in the reports of commands, against plain PyTorch, and notes on weak networks."""

import csv
import json
from math import log
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import save_file

from onebasin.api._networks import names_of
from onebasin.checkpoints import MLP, ArchitectureRecord
from onebasin.data.datasets import load_digits
from onebasin_studies.training.train import train
from tests.cli.run import TINY, fail, read, run, succeed, write

SIZES = {"width": 16, "depth": 2}
WEAK = "no better than a constant prediction"


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Path:
    """Two networks that know the digits, and the digits in files: shifted and without labels."""
    folder = tmp_path_factory.mktemp("networks")
    data, model = load_digits(), MLP(**SIZES)
    metadata = ArchitectureRecord("mlp", SIZES).to_metadata()
    train(model, data, seeds=[0, 1], epochs=8, learning_rate=0.01, checkpoints=folder,
          metadata=metadata)  # fmt: skip
    for name, seed in (("a", 0), ("b", 1)):
        (folder / f"seed-{seed}.safetensors").rename(folder / f"{name}.safetensors")
    arrays = {
        "x_train": data.train_inputs.numpy(),
        "y_train": data.train_labels.numpy(),
        "x_test": data.test_inputs.numpy(),
        "y_test": data.test_labels.numpy(),
    }
    np.savez(folder / "digits.npz", **arrays)
    shifted = {key: each + 40 if key.startswith("x") else each for key, each in arrays.items()}
    np.savez(folder / "shifted.npz", **shifted)
    relabeled = {key: (each + 1) % 10 if key[0] == "y" else each for key, each in arrays.items()}
    np.savez(folder / "relabeled.npz", **relabeled)
    np.savez(folder / "unlabeled.npz", x=arrays["x_train"][:300])
    return folder


@pytest.fixture
def pair(files: Path) -> tuple[Path, Path]:
    return files / "a.safetensors", files / "b.safetensors"


def outputs_of(path: Path) -> torch.Tensor:
    model = MLP(**SIZES)
    model.load_state_dict(read(path))
    with torch.no_grad():
        return model.eval()(load_digits().test_inputs)


def check(found: dict, probabilities: torch.Tensor) -> None:
    """Compare numbers of a report with those that plain PyTorch gives."""
    labels = load_digits().test_labels
    assert found["loss"] == pytest.approx(float(F.nll_loss(probabilities.log(), labels)), rel=1e-4)
    wrong = int((probabilities.argmax(1) != labels).sum())
    assert found["error"] == pytest.approx(wrong / len(labels))
    assert found["examples"] == len(labels)


def test_evaluate_is_what_plain_pytorch_measures(capsys, tmp_path, pair):
    table = tmp_path / "table.csv"
    found = succeed(
        capsys, "evaluate", *pair, "--data", "digits", "--ensemble", "--json", "--save", table
    )
    test = found.data["splits"]["test"]
    probabilities = [outputs_of(path).softmax(1) for path in pair]
    check(test["networks"]["a"], probabilities[0])
    check(test["networks"]["b"], probabilities[1])
    check(test["networks"]["ensemble of a and b"], torch.stack(probabilities).mean(0))
    frequencies = load_digits().test_labels.bincount() / 360
    assert test["baseline"]["error"] == pytest.approx(1 - float(frequencies.max()))
    assert test["baseline"]["chance_loss"] == pytest.approx(log(10))
    rows = {row["name"]: row for row in csv.DictReader(table.read_text().splitlines())}
    assert float(rows["a"]["loss"]) == test["networks"]["a"]["loss"]
    assert list(rows) == ["a", "b", "ensemble of a and b", "constant prediction"]
    assert found.err == ""


def test_evaluate_prints_a_table(capsys, pair):
    lines = succeed(capsys, "evaluate", *pair, "--data", "digits", "--split", "both").out
    header, *rows = lines.splitlines()
    assert header.split("  ")[0] == "on digits"
    assert header.count("loss") == header.count("error") == 2
    assert [row.split()[0] for row in rows] == ["a", "b", "constant"]
    one = succeed(capsys, "evaluate", pair[0], "--data", "digits", "--max-test-examples", "100").out
    assert one.startswith("on digits, test split (100 examples)")


def test_evaluate_refuses_what_it_cannot_measure(capsys, files, pair):
    line = fail(capsys, "evaluate", *pair, "--data", files / "unlabeled.npz")
    assert "no labels" in line
    line = fail(capsys, "evaluate", pair[0], "--data", "digits", "--max-test-examples", "999")
    assert (
        line == "evaluate: --max-test-examples is 999, but digits has 360 test examples; give fewer"
    )
    line = fail(capsys, "evaluate", pair[0], pair[0], "--data", "digits")
    assert "is given twice" in line


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ("--split", "train", "--max-test-examples", 5),
            "--max-test-examples has no effect with --split train; remove it",
        ),
        (
            ("--max-train-examples", 5),
            "--max-train-examples has no effect because only the test split is used; re",
        ),
        (("--ensemble",), "--ensemble has no effect with one network; remove it"),
    ],
)
def test_evaluate_refuses_options_without_effect(capsys, pair, options, message):
    line = fail(capsys, "evaluate", pair[0], "--data", "digits", *options)
    assert line.startswith(f"evaluate: {message}")


@pytest.mark.parametrize("command", ["merge", "align"])
def test_num_test_without_effect_is_refused_before_work(capsys, tmp_path, files, pair, command):
    out = tmp_path / "out.safetensors"
    arguments = (command, *pair, "-o", out, "--max-test-examples", "5", "--data")
    line = fail(capsys, *arguments, "digits", "--no-evaluate")
    assert (
        line
        == f"{command}: --max-test-examples has no effect with --no-evaluate; remove one of them"
    )
    line = fail(capsys, *arguments, files / "unlabeled.npz")
    assert "--max-test-examples has no effect because unlabeled.npz has no test split" in line
    assert not out.exists()


def test_max_train_examples_counts_without_a_test_split(capsys, files, tmp_path, pair):
    arrays = np.load(files / "digits.npz")
    np.savez(tmp_path / "train.npz", x=arrays["x_train"], y=arrays["y_train"])
    given = ("evaluate", pair[0], "--data", tmp_path / "train.npz", "--max-train-examples", "50")
    assert "50 examples" in succeed(capsys, *given).out
    assert "no test split" in fail(capsys, *given, "--max-test-examples", "5")


def test_good_networks_get_no_note(capsys, pair):
    for command in ("evaluate", "barrier"):
        found = run(capsys, command, *pair, "--data", "digits")
        assert found.code == 0
        assert "constant" not in found.err


@pytest.mark.parametrize("command", ["evaluate", "barrier", "merge", "align"])
def test_a_wrong_normalization_is_noted(capsys, tmp_path, files, pair, command):
    out = ("-o", tmp_path / "out.safetensors") if command in ("merge", "align") else ()
    found = succeed(capsys, command, *pair, "--data", files / "shifted.npz", *out)
    assert WEAK in found.err
    assert "check the normalization" in found.err


def test_another_normalization_than_that_of_the_training_is_noted(capsys, tmp_path, pair):
    record = ArchitectureRecord("mlp", SIZES, normalization="mean 0.5, std 0.25")
    a = tmp_path / "a.safetensors"
    save_file(read(pair[0]), a, metadata=record.to_metadata())
    err = succeed(capsys, "evaluate", a, "--data", "digits", "--normalize", "none").err
    assert "was trained on inputs normalized with mean 0.5, std 0.25, but here it is none" in err
    assert "normalized" not in succeed(capsys, "evaluate", pair[1], "--data", "digits").err


def test_another_order_of_labels_is_noted(capsys, files, pair):
    found = succeed(capsys, "barrier", *pair, "--data", files / "relabeled.npz")
    assert WEAK in found.err or "above that of a constant prediction" in found.err


def test_merge_reports_its_parents_the_average_and_the_ensemble(capsys, tmp_path, pair):
    out = tmp_path / "merged.safetensors"
    arguments = ("merge", *pair, "-o", out, "--data", "digits")
    found = succeed(capsys, *arguments, "--json").data["evaluation"]["test"]["networks"]
    assert list(found) == ["A", "B", "average, unaligned", "merged", "ensemble of A and B"]
    check(found["A"], outputs_of(pair[0]).softmax(1))
    check(found["merged"], outputs_of(out).softmax(1))
    a, b = map(read, pair)
    naive = write(tmp_path / "naive.safetensors", {n: (a[n] + b[n]) / 2 for n in a})
    check(found["average, unaligned"], outputs_of(naive).softmax(1))
    mean = torch.stack([outputs_of(path).softmax(1) for path in pair]).mean(0)
    check(found["ensemble of A and B"], mean)
    text = succeed(capsys, *arguments).out
    assert "on digits, test split (360 examples)" in text
    again = succeed(capsys, "evaluate", out, "--data", "digits", "--json").data
    assert again["splits"]["test"]["networks"]["merged"] == pytest.approx(found["merged"], rel=1e-5)
    provenance = json.loads(safe_open(out, "pt").metadata()["onebasin.provenance"])
    assert provenance["sources"] == ["a.safetensors", "b.safetensors"]
    assert (provenance["method"], provenance["repair"]) == ("combined", "refit")
    quiet = succeed(capsys, *arguments, "--no-evaluate", "--json").data
    assert quiet["evaluation"] is None


def test_reserved_names_of_checkpoints_do_not_replace_rows(capsys, tmp_path, pair):
    names = ("merged", "ensemble", "average, unaligned")
    paths = [tmp_path / f"{name}.safetensors" for name in names]
    for path, source in zip(paths, (*pair, pair[0]), strict=True):
        tensors = read(source)
        tensors[next(iter(tensors))] += 0.01 * (path == paths[2])
        write(path, tensors)
    sizes = ("--arch-arg", "width=16", "--arch-arg", "depth=2")
    out = tmp_path / "out.safetensors"
    options = ("--data", "digits", "--json", *sizes)
    merge = succeed(capsys, "merge", "mlp", *paths, "-o", out, "--no-align", *options)
    found = merge.data["evaluation"]["test"]["networks"]
    results = ["average, unaligned", "merged", "ensemble of all 3"]
    assert list(found) == [*(path.name for path in paths), *results]
    check(found["merged.safetensors"], outputs_of(paths[0]).softmax(1))
    check(found["merged"], outputs_of(out).softmax(1))
    mean = torch.stack([outputs_of(path).softmax(1) for path in paths]).mean(0)
    check(found["ensemble of all 3"], mean)
    alone = succeed(capsys, "evaluate", "mlp", *paths[:2], *options, "--ensemble").data
    rows = alone["splits"]["test"]["networks"]
    assert list(rows) == ["merged", "ensemble", "ensemble of merged and ensemble"]
    check(rows["ensemble"], outputs_of(pair[1]).softmax(1))


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["x/a.pt", "y/a.pt"], ["x/a.pt", "y/a.pt"]),
        (["constant prediction", "b"], ["./constant prediction", "./b"]),
        (["b aligned.pt", "b.pt"], ["b aligned.pt", "b.pt"]),
        (["ensemble of all 3.pt", "b.pt"], ["./ensemble of all 3.pt", "./b.pt"]),
    ],
)
def test_names_of_checkpoints_are_distinct_from_results(paths, names):
    found = names_of(paths)
    assert found == names


def test_keys_distinguish_checkpoints():
    paths = ["x/a.pt", "y/a.pt", "x/a.pt"]
    assert names_of(paths[::2], keys=["m.b", "m.c"]) == ["a[m.b]", "a[m.c]"]
    assert names_of(paths[:2], keys=["m", "m"]) == ["x/a.pt[m]", "y/a.pt[m]"]


def test_align_reports_b_before_and_after(capsys, tmp_path, pair):
    out = tmp_path / "aligned.safetensors"
    arguments = ("align", *pair, "-o", out, "--data", "digits", "--json")
    found = succeed(capsys, *arguments).data["evaluation"]["test"]["networks"]
    names = ["A", "B", "B aligned", "average, unaligned", "average, aligned"]
    assert list(found) == names
    assert found["B aligned"]["loss"] == pytest.approx(found["B"]["loss"], rel=1e-4)
    a, moved = read(pair[0]), read(out)
    middle = write(tmp_path / "middle.safetensors", {n: (a[n] + moved[n]) / 2 for n in a})
    check(found["average, aligned"], outputs_of(middle).softmax(1))
    assert found["average, aligned"]["loss"] < found["average, unaligned"]["loss"]


def test_without_data_nothing_is_evaluated(capsys, tmp_path, pair):
    for command in ("merge", "align"):
        out = tmp_path / f"{command}.safetensors"
        found = succeed(capsys, command, *pair, "-o", out, "--json")
        assert found.data["evaluation"] is None
    line = fail(capsys, "merge", *pair, "-o", out, "--max-test-examples", "5")
    assert "--max-test-examples has no effect without --data" in line


def test_barrier_reports_ends_and_midpoints(capsys, pair):
    found = succeed(capsys, "barrier", *pair, "--data", "digits", "--num-points", "3", "--json")
    test = found.data["evaluation"]["test"]["networks"]
    assert list(test) == ["A", "B", "average, unaligned", "average, aligned"]
    check(test["A"], outputs_of(pair[0]).softmax(1))
    curve = found.data["curves"]["aligned"]["test"]
    assert test["average, aligned"]["loss"] == curve["losses"][1]
    assert set(found.data["evaluation"]) == {"train", "test"}


def test_data_without_labels_compare_outputs(capsys, tmp_path, files, pair):
    out = tmp_path / "out.safetensors"
    arguments = ("merge", *pair, "-o", out, "--data", files / "unlabeled.npz")
    found = succeed(capsys, *arguments, "--json").data["evaluation"]["train"]["networks"]
    assert list(found) == ["A", "B", "average, unaligned", "merged"]
    assert found["A"]["distance"] == pytest.approx(found["B"]["distance"], rel=1e-4)
    assert 0 < found["merged"]["distance"] < found["average, unaligned"]["distance"]
    assert "no labels" in succeed(capsys, *arguments).out


def test_labels_that_do_not_fit_do_not_stop_a_merge(capsys, tmp_path, files, pair):
    arrays = dict(np.load(files / "digits.npz"))
    arrays |= {key: arrays[key] + 5 for key in ("y_train", "y_test")}
    np.savez(tmp_path / "other.npz", **arrays)
    out = tmp_path / "out.safetensors"
    found = succeed(capsys, "merge", "mlp", *pair, "-o", out, "--data", tmp_path / "other.npz",
                    "--arch-arg", "num_classes=10", "--json")  # fmt: skip
    assert "the labels are not used" in found.err
    assert "distance" in found.data["evaluation"]["test"]["networks"]["merged"]


def test_data_of_another_size_are_named(capsys, tmp_path, a):
    table = tmp_path / "table.csv"
    table.write_text("x,y,label\n1,2,0\n3,4,1\n")
    line = fail(capsys, "evaluate", "mlp", a, "--data", table, "--label-column", "label", *TINY)
    assert "in the architecture, because the data " in line
    assert "gave it in_features=2, num_classes=2; choose other data, or set these" in line
