"""`onebasin compare-features`."""

import csv
import re

import pytest
import torch
from torch import nn

from onebasin import OneBasinError, Permutation, api, infer_symmetry
from onebasin.checkpoints import MLP
from tests.cli.run import TINY, WIDTH, fail, network, succeed, write

DATA = ("--data", "digits")


def test_llfc_is_printed_and_written(capsys, tmp_path, a, b):
    out = tmp_path / "features"
    found = succeed(capsys, "compare-features", "mlp", a, b, *DATA, "-o", out, "--no-align", *TINY)
    how, _, head, *lines, _, last = found.out.splitlines()
    assert how == "B is not aligned"
    titles = [title for title in re.split(" {2,}", head) if title]
    assert titles == ["llfc, α = 0.5", "1-cos", "distance", "projection", "c", "1-cos ends"]
    assert [line.split()[0] for line in lines] == [
        "layers.0.linear",
        "relu#1",
        "layers.1.linear",
        "relu#2",
        "layers.2.linear",
    ]
    assert last == f"wrote 3 files to {out}"
    assert sorted(p.name for p in out.iterdir()) == ["llfc.csv", "llfc.json", "llfc.png"]
    with (out / "llfc.csv").open() as file:
        numbers = {row["n"] for row in csv.DictReader(file) if row["measure"] == "1-cos"}
    assert numbers == {"360"}
    assert (out / "llfc.png").read_bytes().startswith(b"\x89PNG")


def test_all_measures_in_one_go(capsys, tmp_path, a, b):
    out = tmp_path / "features"
    options = ("--measure", "all", "--split", "train", "--batch-size", 1000, "--json")
    data = succeed(capsys, "compare-features", "mlp", a, b, *DATA, "-o", out, *options, *TINY).data
    measures = ["llfc", "additivity", "commutativity", "similarity", "error-bound", "interpolation"]
    assert list(data["features"]) == measures
    assert len(data["files"]) == len(list(out.iterdir())) == 18
    assert data["split"] == "train"
    assert {row["n"] for row in data["features"]["error-bound"]["rows"]} == {1437}


def test_a_permutation_moves_b_first(capsys, tmp_path, a):
    symmetry = infer_symmetry(MLP(width=WIDTH, depth=2), torch.zeros(2, 64))
    twin = Permutation.random(symmetry, seed=1).apply(network(0))
    b, out = write(tmp_path / "twin.safetensors", twin), tmp_path / "features"
    aligned, permutation = tmp_path / "aligned.safetensors", tmp_path / "permutation.safetensors"
    succeed(capsys, "align", "mlp", a, b, "-o", aligned, "--save-permutation", permutation, *TINY)

    def largest(*options) -> float:
        options = (*DATA, "-o", out, "--json", *options, *TINY)
        data = succeed(capsys, "compare-features", "mlp", a, b, *options).data
        rows = data["features"]["llfc"]["rows"]
        return max(row["mean"] for row in rows if row["measure"] == "1-cos")

    assert largest("--no-align") > 0.01
    assert largest("--permutation", permutation) < 1e-12
    assert largest("--split", "train", "--max-train-examples", 100) < 1e-12, (
        "B is aligned by default"
    )


def test_layers_can_be_chosen(capsys, tmp_path, a, b):
    options = (*DATA, "-o", tmp_path / "f", "--measure", "similarity", "--layer", "relu*", *TINY)
    lines = (
        succeed(capsys, "compare-features", "mlp", a, b, *options).out.split("\n\n")[1].splitlines()
    )
    assert [line.split()[0] for line in lines] == ["similarity", "relu#1", "relu#2"]


@pytest.mark.parametrize(
    ("measure", "pattern", "layers"),
    [
        ("additivity", "relu#2", ["relu#2"]),
        ("commutativity", "layers.1*", ["layers.1.linear"]),
    ],
)
def test_layers_can_be_chosen_of_measures_that_find_their_own(
    capsys, tmp_path, a, b, measure, pattern, layers
):
    options = (*DATA, "-o", tmp_path / "f", "--measure", measure, "--json", *TINY)
    every = succeed(capsys, "compare-features", "mlp", a, b, *options).data["features"][measure][
        "rows"
    ]
    found = succeed(capsys, "compare-features", "mlp", a, b, *options, "--layer", pattern).data
    assert found["features"][measure]["rows"] == [row for row in every if row["layer"] in layers]
    line = fail(capsys, "compare-features", "mlp", a, b, *options, "--layer", "flatten")
    assert line.startswith("compare-features: among the chosen layers there is no ")


def test_error_bound_is_one_line(capsys, tmp_path, a, b):
    options = (*DATA, "-o", tmp_path / "f", "--measure", "error-bound", *TINY)
    found = succeed(capsys, "compare-features", "mlp", a, b, *options).out.split("\n\n")[1]
    assert found.startswith("error bound: error of the endpoints at most 0.")
    assert re.search(r"; the bound of 1\.\d{4} is satisfied$", found)


BAD = {
    "data": (
        ["--data", "nothing"],
        "data: 'nothing' is not a file, a folder or a known dataset; known are:",
    ),
    "layer": (
        [*DATA, "--layer", "x.*"],
        "compare-features: no layer matches 'x.*'; the layers are flatten, layers.0.",
    ),
    "layers of the error bound": (
        [*DATA, "--measure", "error-bound", "--layer", "relu*"],
        "compare-features: --layer has no effect on --measure error-bound, which uses the outputs",
    ),
    "statistics of ends": (
        [*DATA, "--measure", "similarity", "--normalization", "reset"],
        "compare-features: --normalization has no effect on --measure similarity, which uses",
    ),
    "measure": ([*DATA, "--measure", "cka"], "Invalid value for '--measure'"),
    "permutation": ([*DATA, "--permutation", "nowhere"], "nowhere: no such file"),
    "two ways": (
        [*DATA, "--permutation", "p", "--method", "weights"],
        "compare-features: --method has no effect with --permutation; remove one of them",
    ),
    "restarts": (
        [*DATA, "--permutation", "p", "--restarts", "7"],
        "compare-features: --restarts has no effect with --permutation; remove one of them",
    ),
    "option of the method": (
        [*DATA, "--permutation", "p", "--method-arg", "max_sweeps=2"],
        "compare-features: the method option max_sweeps has no effect with --permutation",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line(capsys, tmp_path, a, b, case):
    options, message = BAD[case]
    line = fail(capsys, "compare-features", "mlp", a, b, *options, "-o", tmp_path / "f", *TINY)
    assert line.startswith(message), line
    assert not (tmp_path / "f").exists()


def test_a_checkpoint_that_cannot_be_used_leaves_no_folder(capsys, tmp_path, a, b):
    broken = {name: tensor * float("nan") for name, tensor in network(1).items()}
    wrong = [tmp_path / "nowhere", write(tmp_path / "broken.safetensors", broken)]
    for other in wrong:
        out = tmp_path / "new" / "f"
        fail(capsys, "compare-features", "mlp", a, other, *DATA, "-o", out, *TINY)
        assert not (tmp_path / "new").exists()
    (tmp_path / "there").mkdir()
    fail(capsys, "compare-features", "mlp", a, wrong[0], *DATA, "-o", tmp_path / "there", *TINY)
    assert (tmp_path / "there").is_dir()


def test_a_folder_that_cannot_be_made_is_named(capsys, tmp_path, a, b):
    (tmp_path / "file").write_text("")
    line = fail(capsys, "compare-features", "mlp", a, b, *DATA, "-o", tmp_path / "file", *TINY)
    assert line.endswith("the folder cannot be created (File exists); choose another --output")


def test_data_that_does_not_fit_is_named(capsys, tmp_path):
    files = [write(tmp_path / f"{i}.safetensors", network(i, in_features=32)) for i in (0, 1)]
    options = (*DATA, "-o", tmp_path / "f", "--arch-arg", "in_features=32", *TINY)
    assert fail(capsys, "compare-features", "mlp", *files, *options).startswith(
        "compare-features: mlp cannot be run on digits, whose inputs are 64"
    )


def test_function_advises_the_measurement_of_other_nonlinear_functions():
    model = nn.Sequential(nn.Linear(2, 4), nn.GELU(), nn.Linear(4, 2))
    data = [(torch.ones(4, 2), torch.tensor([0, 1, 0, 1]))]
    with pytest.raises(
        OneBasinError,
        match=r"^compare_features: the model has no relu; for other functions, use "
        r"onebasin\.evaluation\.features\.measure_additivity with operators=\['all'\]$",
    ):
        api.compare_features(model, model, model, data, measure="additivity", align=False)
