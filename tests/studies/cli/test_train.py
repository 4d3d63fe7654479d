import json

import pytest
from safetensors import safe_open
from safetensors.torch import load_file

from onebasin.checkpoints import read_record
from tests.cli.run import fail, run, succeed

SMALL = ("--arch-arg", "width=8", "--arch-arg", "depth=1", "--epochs", "2")


def test_networks_history_and_picture_are_written(capsys, tmp_path):
    out = tmp_path / "out"
    found = succeed(
        capsys, "train", "mlp", "--data", "digits", "--seeds", "1..3", "-o", out, "--json", *SMALL
    )
    files = {path.name for path in out.iterdir()}
    assert files == {
        "manifest.json",
        "history",
        "history.jsonl",
        "curves.png",
        *(f"seed-{seed}.safetensors" for seed in (1, 2, 3)),
    }
    assert load_file(out / "seed-2.safetensors")["layers.0.weight"].shape == (8, 64)
    with safe_open(out / "seed-2.safetensors", "pt") as file:
        assert file.metadata()["seed"] == "2"
    record = read_record(out / "seed-2.safetensors")
    assert record is not None
    assert (record.spec, record.data, record.inputs) == ("mlp", "digits", ("2x64",))
    assert record.normalization == "mean and std of the training images"
    assert record.arguments == {"width": 8, "depth": 1, "in_features": 64, "num_classes": 10}
    rows = [json.loads(line) for line in (out / "history.jsonl").read_text().splitlines()]
    assert [(row["seed"], row["epoch"]) for row in rows] == [
        (seed, epoch) for seed in (1, 2, 3) for epoch in (1, 2)
    ]
    assert all(row["test_loss"] > 0 for row in rows)
    assert [network["seed"] for network in found.data["networks"]] == [1, 2, 3]
    assert found.data["engine"] == "vmap"
    assert (out / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_second_call_reads_the_results(capsys, tmp_path):
    arguments = ("train", "mlp", "--data", "digits", "-o", tmp_path, "--json", *SMALL)
    first = succeed(capsys, *arguments).data
    assert succeed(capsys, *arguments).data == first


def test_flat_data_are_reshaped_to_images(capsys, tmp_path):
    found = succeed(
        capsys,
        "train",
        "shallow-cnn",
        "--data",
        "digits",
        "-o",
        tmp_path,
        "--json",
        "--arch-arg",
        "width=2",
        "--epochs",
        "1",
        "--batch-size",
        "500",
    )
    assert found.data["engine"] == "loop"
    assert "convolutions" in found.data["reason"]


def test_custom_model_gets_input_shape_from_data(capsys, tmp_path, monkeypatch):
    (tmp_path / "own_models.py").write_text(
        "from torch import nn\n"
        "def build(): return nn.Sequential(nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, 10))\n"
        "def lazy(): return nn.Sequential(nn.LazyLinear(8), nn.ReLU(), nn.Linear(8, 10))\n"
    )
    monkeypatch.chdir(tmp_path)
    given = ("--data", "digits", "-o", tmp_path / "out", "--epochs", "1")
    succeed(capsys, "train", "own_models:build", *given)
    assert load_file(tmp_path / "out" / "seed-0.safetensors")["0.weight"].shape == (8, 64)
    assert fail(capsys, "train", "own_models:lazy", *given) == (
        "own_models:lazy: tensor '0.weight' of the model is uninitialized; run the model once "
        "on an input first"
    )


def test_text_is_a_table(capsys, tmp_path):
    found = succeed(capsys, "train", "mlp", "--data", "digits", "-o", tmp_path, *SMALL)
    assert found.out.splitlines()[0].split()[:3] == ["seed", "epochs", "loss"]
    assert found.out.rstrip().endswith(f"wrote {tmp_path}")


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        (("--seeds", "1.."), "--seeds: invalid numbers '1..'; expected a range such as 1..20"),
        (("--seeds", "5..1"), "--seeds: '5..1' has no numbers, or too many"),
        (("--seeds", "1,2,1"), "--seeds: '1,2,1' names a number twice"),
        (("--seeds", "9" * 23), "train: a seed is 9999"),
        (("--warmup", "3"), "warmup_epochs is 3, but there are 2 epochs"),
        (("--schedule", "steps", "--milestones", "5"), "milestones are 5, but there are 2 epochs"),
        (("--spawn", "1", "--save-epochs", "1"), "save_epochs has 1, but up to spawn_epoch 1"),
        (
            ("--data", "digit"),
            "'digit' is not a file, a folder or a known dataset; did you mean 'digits'? Known",
        ),
        (("--arch-arg", "in_features=7"), "mlp cannot be run on digits"),
        (("--arch-arg", "num_classes=7"), "labels of digits reach 9, but mlp has 7 outputs"),
        (("--epochs", "-1"), "epochs is -1; it must be a whole number of at least 0"),
        (("--lr", "nan"), "learning_rate is nan; it must be at least 0 and finite"),
        (("--schedule", "steps"), "'steps' needs milestones"),
        (("--milestones", "a"), "--milestones: invalid epochs 'a'"),
        (("--momentum", "0.9"), "momentum and nesterov require optimizer 'sgd'"),
        (("--stop-loss", "low"), "--stop-loss: invalid loss 'low'"),
        (("--save-epochs", "9"), "save_epochs is [9]; it must be 'all' or epochs from 1 to 2"),
        (("--device", "cuda:77"), "device 'cuda:77' is not available"),
        (("--augment",), "inputs are (100, 64); it takes square images"),
    ],
)
def test_invalid_input_gives_one_line(capsys, tmp_path, changes, text):
    line = fail(
        capsys, "train", "mlp", "--data", "digits", "-o", tmp_path / "out", *SMALL, *changes
    )
    assert text in line


def test_folder_of_another_training_is_unchanged(capsys, tmp_path):
    arguments = ("train", "mlp", "--data", "digits", "-o", tmp_path, *SMALL)
    succeed(capsys, *arguments)
    kept = (tmp_path / "seed-0.safetensors").read_bytes()
    line = fail(capsys, *arguments, "--lr", "0.01")
    assert "holds another training, with learning_rate 0.001, not 0.01" in line
    assert (tmp_path / "seed-0.safetensors").read_bytes() == kept
    succeed(capsys, *arguments, "--lr", "0.01", "--restart")
    assert (tmp_path / "seed-0.safetensors").read_bytes() != kept


def test_file_instead_of_a_folder_is_named(capsys, tmp_path):
    (tmp_path / "file").write_text("")
    line = fail(capsys, "train", "mlp", "--data", "digits", "-o", tmp_path / "file", *SMALL)
    assert "cannot be used for training" in line


def test_diverged_networks_are_reported_without_curves(capsys, tmp_path):
    arguments = ("train", "mlp", "--data", "digits", "--seeds", "0,1", "-o", tmp_path, *SMALL)
    succeed(capsys, *arguments)
    assert (tmp_path / "curves.png").exists()
    wild = (*arguments, "--restart", "--optimizer", "sgd", "--lr", "1e30")
    found = run(capsys, *wild)
    assert found.code == 3
    assert [line.split()[-1] for line in found.out.splitlines()[1:3]] == ["diverged", "diverged"]
    assert found.err.startswith("onebasin: error: train: all 2 networks diverged (non-finite loss)")
    assert found.err.count("\n") == 1
    assert not (tmp_path / "curves.png").exists()
    assert len((tmp_path / "history.jsonl").read_text().splitlines()) == 2
    quiet = run(capsys, *wild, "--json", "--quiet")
    assert (quiet.code, quiet.err) == (3, found.err)
    assert {network["status"] for network in quiet.data["networks"]} == {"diverged"}


def test_no_curves_without_epochs(capsys, tmp_path):
    succeed(capsys, "train", "mlp", "--data", "digits", "-o", tmp_path, *SMALL, "--epochs", "0")
    assert (tmp_path / "seed-0.safetensors").exists()
    assert not (tmp_path / "curves.png").exists()
