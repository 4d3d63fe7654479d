"""`--data`: how it is laid out for an architecture, and how much of it is used."""

import pytest
import torch
from safetensors import safe_open

from onebasin.api import DataSource
from onebasin.checkpoints import build_architecture
from onebasin.data.datasets import load_digits
from onebasin.errors import OneBasinError
from tests.cli.run import TINY, fail, run, succeed, write

MODELS = """
from torch import nn

def words():
    return nn.Sequential(
        nn.Linear(64, 6), nn.ReLU(), nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 68),
        nn.Unflatten(1, (4, 17)),
    )

def images():
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 10))
"""
INPUTS = {"words": "2x64", "images": "2x1x8x8"}


@pytest.fixture
def pair_of(tmp_path, monkeypatch):
    """Return what makes two networks of an architecture, as arguments of a command."""
    (tmp_path / "models_of_test_data.py").write_text(MODELS)
    monkeypatch.chdir(tmp_path)

    def make(name):
        arch = f"models_of_test_data:{name}"
        files = []
        for seed in (0, 1):
            built = build_architecture(arch, input_spec=INPUTS[name], seed=seed)
            files.append(write(tmp_path / f"{name}-{seed}.safetensors", built.module.state_dict()))
        return (arch, *files, "--input", INPUTS[name], "--data", "digits")

    return make


@pytest.mark.parametrize(
    ("method", "repair"),
    [("combined", "repair"), ("activations", "rescale"), ("commutativity", "none"),
     ("functional-difference", "none")],
)  # fmt: skip
def test_what_looks_at_no_loss_needs_no_classes(capsys, tmp_path, pair_of, method, repair):
    out = tmp_path / "out.safetensors"
    options = ("-o", out, "--method", method, "--repair", repair, "--json")
    found = succeed(capsys, "merge", *pair_of("words"), *options).data
    assert found["matching"]["method"] == method
    assert out.exists()


def test_features_without_labels_need_no_classes(capsys, tmp_path, pair_of):
    folder = tmp_path / "features"
    succeed(capsys, "compare-features", *pair_of("words"), "-o", folder)
    line = fail(
        capsys, "compare-features", *pair_of("words"), "-o", folder, "--measure", "error-bound"
    )
    assert "words returns (2, 4, 17) for two examples but digits has 10 classes" in line


@pytest.mark.parametrize("options", [("--method", "annealing"), ("--init", "annealing")])
def test_a_loss_needs_classes(capsys, tmp_path, pair_of, options):
    out = tmp_path / "out.safetensors"
    line = fail(capsys, "align", *pair_of("words"), "-o", out, *options)
    assert line.startswith("align: models_of_test_data:words returns (2, 4, 17) for two examples")
    assert line.endswith("choose other data or other --arch-arg, or a --method without a loss")
    line = fail(capsys, "barrier", *pair_of("words"), "--num-points", 3)
    assert "returns (2, 4, 17) for two examples but digits has 10 classes" in line


@pytest.mark.parametrize(
    ("command", "options"),
    [("barrier", ("--num-points", 3)), ("align", ("--method", "activations", "-o", "b.pt")),
     ("merge", ("-o", "m.pt")), ("compare-features", ("-o", "features"))],
)  # fmt: skip
def test_flat_data_become_images_for_any_architecture(capsys, pair_of, command, options):
    succeed(capsys, command, *pair_of("images"), *options)


def test_fewer_examples_are_drawn_by_the_seed(capsys, tmp_path, a, b):
    found = {}
    for name, seed in {"first": 0, "again": 0, "other": 1}.items():
        out = tmp_path / f"{name}.safetensors"
        options = ("--data", "digits", "--max-train-examples", 20, "--seed", seed, *TINY)
        succeed(capsys, "merge", "mlp", a, b, "-o", out, *options)
        found[name] = out.read_bytes()
    assert found["first"] == found["again"] != found["other"]
    few, everything = DataSource("digits", max_train_examples=20, seed=1).load(), load_digits()
    assert few.num_examples() == 20
    assert torch.equal(few.test.first(360), everything.test_inputs)


def test_a_missing_folder_of_a_model_is_named_before_data_are_read():
    with pytest.raises(OneBasinError, match="hf:bert-base-uncased: no such folder"):
        DataSource("nothing-of-this-name").load("hf:bert-base-uncased")


def test_a_number_of_no_data_is_refused(capsys, tmp_path, a, b):
    given = (
        "align",
        "mlp",
        a,
        b,
        "-o",
        tmp_path / "out.safetensors",
        *TINY,
        "--max-train-examples",
    )
    line = fail(capsys, *given, 5)
    assert (
        line == "data: --max-train-examples has no effect without --data; remove it or give --data"
    )
    line = fail(capsys, *given, 5000, "--data", "digits")
    assert line == "data: subset of 5000 train examples of digits; it has 1437"


OWN = """
import torch
from torch import nn

def model():
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(),
                         nn.Linear(36, 3))

def unlabeled():
    return [torch.rand(40, 1, 5, 5, generator=torch.Generator().manual_seed(0)) * 9 for _ in "ab"]

def labeled():
    return torch.rand(40, 1, 5, 5), torch.arange(40) % 3
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    """Return the arguments for two networks of an own architecture, without --input."""
    (tmp_path / "own_of_test_data.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    arch, files = "own_of_test_data:model", []
    for seed in (0, 1):
        built = build_architecture(arch, input_spec="2x1x5x5", seed=seed)
        files.append(write(tmp_path / f"own-{seed}.safetensors", built.module.state_dict()))
    return arch, *files


def test_merging_needs_no_labels_no_test_split_and_no_input(capsys, own):
    found = run(capsys, "merge", *own, "-o", "m.pt", "--data", "own_of_test_data:unlabeled")
    assert found.code == 0, found.err
    assert "on own_of_test_data:unlabeled (held-out distance from the mean output: " in found.out
    # These pixels are 0 to 9, and the networks have the statistics of no data at all.
    assert "note: with its statistics reset" in found.err
    line = fail(capsys, "barrier", *own, "--data", "own_of_test_data:unlabeled", "--quiet")
    assert "own_of_test_data:unlabeled has no labels, and a loss needs them" in line


def test_a_barrier_on_training_data_alone_says_so(capsys, own):
    arguments = (*own, "--data", "own_of_test_data:labeled", "--num-points", 3, "--json")
    found = run(capsys, "barrier", *arguments, "--normalize", "0.5,0.25")
    assert found.code == 0, found.err
    assert "has no test split; its training examples are used" in found.err
    assert list(found.data["barrier"]["naive"]) == ["train"]
    assert found.data["normalize"] == "mean 0.5, std 0.25"


def test_trained_files_record_the_layout_that_the_network_takes(capsys, tmp_path, monkeypatch):
    (tmp_path / "models_of_test_data.py").write_text(MODELS)
    monkeypatch.chdir(tmp_path)
    options = ("--data", "digits", "--max-train-examples", 50, "--epochs", 1, "-o", "runs")
    succeed(capsys, "train", "models_of_test_data:images", *options)
    with safe_open("runs/seed-0.safetensors", "pt") as file:
        assert "2x1x8x8" in str(file.metadata())
