import csv
import json

import pytest

from tests.cli.run import TINY, fail, network, succeed, write

DIGITS = ("--data", "digits", "--num-points", 3)


@pytest.fixture
def three(tmp_path):
    return [write(tmp_path / f"net{seed}.safetensors", network(seed)) for seed in range(3)]


def test_all_pairs_are_measured(capsys, three):
    found = succeed(capsys, "barrier", "mlp", *three, *DIGITS, "--json", *TINY).data
    assert found["checkpoints"] == ["net0", "net1", "net2"]
    assert found["inputs"] == list(map(str, three))
    assert found["method"] == "weights"
    for state in ("naive", "aligned"):
        for split in ("train", "test"):
            direct = found["barrier"][state][split]["loss"]
            around = found["indirect"][state][split]["loss"]
            assert [direct[i][i] for i in range(3)] == [0, 0, 0]
            assert direct[0][1] == direct[1][0]
            assert around[0][1] == max(direct[0][2], direct[1][2])


def test_a_pair_of_the_matrix_is_the_pair_alone(capsys, three):
    options = (*DIGITS, "--json", *TINY)
    matrix = succeed(capsys, "barrier", "mlp", *three, *options).data["barrier"]
    for i, j in ((0, 1), (1, 2)):
        alone = succeed(capsys, "barrier", "mlp", three[i], three[j], *options).data["barrier"]
        for state, splits in alone.items():
            for split, barriers in splits.items():
                for quantity, value in barriers.items():
                    found = matrix[state][split][quantity][i][j]
                    assert found == pytest.approx(value, rel=1e-5, abs=1e-9)


def test_small_matrices_are_printed(capsys, three):
    out = succeed(capsys, "barrier", "mlp", *three, *DIGITS, *TINY).out
    aligned, header, *rows = out.splitlines()
    assert aligned == "each pair aligned by weights"
    assert "naive mean" in header
    assert "aligned max" in header
    assert any(row.split()[:2] == ["loss,", "train"] for row in rows)
    assert any(row.split() == ["aligned,", "test", "net0", "net1", "net2"] for row in rows)


def test_pictures_and_numbers_are_written(capsys, tmp_path, three):
    plot, table = tmp_path / "matrix.svg", tmp_path / "pairs.csv"
    options = (*DIGITS, "--plot", plot, "--save", table, "--split", "test", "--no-align")
    out = succeed(capsys, "barrier", "mlp", *three, *options, *TINY).out
    assert f"wrote {plot}\nwrote {table}" in out
    assert plot.read_text().startswith("<?xml")
    with open(table, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 3 * 2 * 2
    assert {(row["state"], row["split"]) for row in rows} == {("naive", "test")}
    assert {row["a"] for row in rows} == {"net0", "net1"}


@pytest.mark.parametrize(
    ("method", "option", "told"),
    [
        (
            "weights",
            "max_sweeps=1",
            "note: 3 of 3 matchings did not converge",
        ),
        ("annealing", "steps=20", ""),
    ],
)
def test_pairs_that_did_not_converge_are_counted(capsys, three, method, option, told):
    given = (*DIGITS, "--split", "test", "--method", method, "--method-arg", option)
    found = succeed(capsys, "barrier", "mlp", *three, *given, *TINY)
    assert found.notes == (f"onebasin: {told}\n" if told else "")


def test_equal_checkpoints_are_noted(capsys, tmp_path, three):
    twin = write(tmp_path / "twin.safetensors", network(0))
    found = succeed(
        capsys, "barrier", "mlp", *three[:2], twin, *DIGITS, "--json", "--no-align", *TINY
    )
    assert "net0.safetensors and " in found.err
    assert "hold the same tensors" in found.err
    assert json.loads(found.out)["barrier"]["naive"]["test"]["loss"][0][2] == 0


def test_a_checkpoint_given_twice_is_refused(capsys, three):
    line = fail(capsys, "barrier", "mlp", *three, three[0], *DIGITS, *TINY)
    assert line == f"barrier: {three[0]} is given twice; give each checkpoint once"


def test_a_checkpoint_of_another_architecture_is_named(capsys, tmp_path, three):
    other = write(tmp_path / "wide.safetensors", network(0, width=8))
    line = fail(capsys, "barrier", "mlp", *three, other, *DIGITS, *TINY)
    assert "wide.safetensors" in line
