import csv

import pytest

from tests.cli.run import TINY, fail, network, succeed, write

DIGITS = ("--data", "digits", "--num-points", 4)


@pytest.fixture
def c(tmp_path):
    return write(tmp_path / "c.safetensors", network(2))


def test_the_plane_through_three_is_drawn(capsys, tmp_path, a, b, c):
    picture, table = tmp_path / "plane.png", tmp_path / "plane.csv"
    options = (*DIGITS, "-o", picture, "--save", table)
    out = succeed(capsys, "plane", "mlp", a, b, c, *options, *TINY).out
    assert f"wrote {picture}\nwrote {table}" in out
    assert picture.read_bytes().startswith(b"\x89PNG")
    with open(table, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["point"] for row in rows[:4]] == ["a", "b", "c", ""]
    assert len(rows) == 3 + 16


def test_without_a_third_b_is_aligned(capsys, tmp_path, a, b):
    picture = tmp_path / "plane.svg"
    options = (*DIGITS, "-o", picture, "--json", "--split", "train")
    data = succeed(capsys, "plane", "mlp", a, b, *options, *TINY).data
    points = {row["point"]: row for row in data["points"] if row["point"]}
    assert list(points) == ["a", "b", "b aligned"]
    # The same function at another place, nearer to A.
    assert points["b aligned"]["loss"] == pytest.approx(points["b"]["loss"], rel=1e-5)
    b_at, moved_at = ((points[n]["x"], points[n]["y"]) for n in ("b", "b aligned"))
    assert moved_at[0] ** 2 + moved_at[1] ** 2 < b_at[0] ** 2 + b_at[1] ** 2
    assert data["split"] == "train"
    assert data["matching"]["method"] == "weights"
    assert data["inputs"] == [str(a), str(b)]


def test_errors_can_be_drawn(capsys, tmp_path, a, b, c):
    for quantity in ("loss", "error"):
        options = (*DIGITS, "-o", tmp_path / f"{quantity}.svg", "--quantity", quantity)
        succeed(capsys, "plane", "mlp", a, b, c, *options, *TINY)
    loss, error = ((tmp_path / f"{name}.svg").read_bytes() for name in ("loss", "error"))
    assert loss != error


def test_wrong_calls_are_named_at_once(capsys, tmp_path, a, b, c):
    out = ("-o", tmp_path / "plane.png")
    line = fail(capsys, "plane", "mlp", a, *DIGITS, *out, *TINY)
    assert line.startswith("plane: 1 checkpoint given after ARCH 'mlp'; give 2 or 3, the")
    line = fail(capsys, "plane", "mlp", a, b, c, *DIGITS, *out, "--method", "weights", *TINY)
    assert line.startswith("plane: --method has no effect with three networks")
    line = fail(capsys, "plane", "mlp", a, b, c, *DIGITS, "-o", tmp_path / "plane.txt", *TINY)
    assert "unknown picture format '.txt'" in line
    line = fail(capsys, "plane", "mlp", a, b, a, *DIGITS, *out, *TINY)
    assert line == f"plane: {a} is given twice; give each checkpoint once"
    same = write(tmp_path / "same.safetensors", network(0))
    line = fail(capsys, "plane", "mlp", a, b, same, *DIGITS, *out, *TINY)
    assert "hold the same tensors" in line
    assert list(tmp_path.glob("plane.*")) == []
