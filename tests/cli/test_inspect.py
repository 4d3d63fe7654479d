import pytest

from onebasin.symmetry import Symmetry
from tests.cli.run import TINY, fail, succeed


def test_the_symmetry_is_summed_up(capsys):
    out = succeed(capsys, "inspect", "mlp").out
    assert "mlp: 3 groups, 10^3499.62 equivalent copies, 99.998% of the parameters move" in out
    assert "layers.1  512" in out
    assert "an input of the model   1" in out
    assert "proved" not in out


def test_verify_verifies_the_symmetry(capsys):
    assert " (verified, max error " in succeed(capsys, "inspect", "mlp", "--verify", *TINY).out


def test_all_shows_every_group_and_fixed_dimension(capsys):
    arguments = ("inspect", "mlp", "--arch-arg", "depth=20", "--arch-arg", "width=4")
    short, full = succeed(capsys, *arguments).out, succeed(capsys, *arguments, "--all").out
    assert "layers.11" in short
    assert "layers.19" not in short
    assert "... 8 more groups; --all shows them" in short
    assert "layers.19  4" in full
    assert "more groups" not in full
    assert "layers.0.weight   dimension 1  64  an input of the model" in full


def test_json_says_everything(capsys):
    data = succeed(capsys, "inspect", "mlp", "--json", "--verify", *TINY).data
    assert data["architecture"] == "mlp"
    group = {"size": 6, "nested_in": [], "class": "positive scales"}
    assert data["groups"]["layers.0"] == group
    assert data["classes"] == {"positive scales": 2}
    assert data["log10_order"] == pytest.approx(5.7147, abs=1e-3)
    assert data["proof"]["failed_groups"] == {}
    assert {
        "tensor": "layers.0.weight",
        "dimension": 1,
        "size": 64,
        "reason": "an input of the model",
    } in data["fixed"]
    assert data["unsupported_ops"] == []


def test_classes_can_be_restricted_to_permutations(capsys, tmp_path):
    file = tmp_path / "symmetry.json"
    found = succeed(capsys, "inspect", "mlp", "--save", file, "--all", *TINY).out
    assert "classes of the groups: 2 positive scales" in found
    assert "limited by: relu" in found
    restricted = ("--symmetry", file, "--classes", "permutation")
    for source in (("--classes", "permutation"), restricted):
        data = succeed(capsys, "inspect", "mlp", *source, "--json", *TINY).data
        assert data["classes"] == {"permutation": 2}


def test_unknown_classes_are_an_error(capsys):
    error = fail(capsys, "inspect", "mlp", "--classes", "none")
    assert "'none' is not one of 'all', 'permutation'" in error


def test_a_saved_symmetry_can_be_inspected_again(capsys, tmp_path):
    file = tmp_path / "symmetry.json"
    first = succeed(capsys, "inspect", "mlp", "--save", file, "--json", *TINY)
    assert list(Symmetry.load(file).groups) == ["layers.0", "layers.1"]
    again = succeed(capsys, "inspect", "mlp", "--symmetry", file, "--json", *TINY)
    assert again.data == first.data


def test_a_model_without_memory_has_the_same_symmetry(capsys):
    found = succeed(capsys, "inspect", "mlp", "--meta", "--json", *TINY)
    assert found.data == succeed(capsys, "inspect", "mlp", "--json", *TINY).data


COMPUTING = """
import torch

def build():
    width = int(torch.ones(6).sum())
    return torch.nn.Sequential(torch.nn.Linear(3, width), torch.nn.Linear(width, 2))
"""


def test_a_model_that_computes_while_it_is_built_is_built_with_memory(
    capsys, tmp_path, monkeypatch
):
    (tmp_path / "computing_models.py").write_text(COMPUTING)
    monkeypatch.chdir(tmp_path)
    spec = "computing_models:build"
    found = succeed(capsys, "inspect", spec, "--input", "2x3", "--meta", "--json")
    assert found.data["groups"] == {"0": {"size": 6, "nested_in": [], "class": "general linear"}}
    assert found.err == (
        f"onebasin: note: {spec} cannot be built without memory; it was built on the CPU\n"
    )


def test_models_on_meta_cannot_be_verified(capsys):
    line = fail(capsys, "inspect", "mlp", "--meta", "--verify", *TINY)
    assert line.startswith("inspect: --verify runs the model, which --meta builds without memory; ")


def test_where_no_symmetry_can_be_written_is_named(capsys, tmp_path):
    line = fail(capsys, "inspect", "mlp", "--save", tmp_path / "no" / "s.json", *TINY)
    assert "does not exist; create it first" in line


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nonsense", "invalid JSON"),
        ("[1]", "expected a file that inspect with --save wrote, or a mapping"),
        (
            '{"layers.0.weight": [1]}',
            "expected a file that inspect with --save wrote, or a mapping",
        ),
        ('{"other.weight": ["h"]}', "the model has no tensor 'other.weight'"),
        ('{"format": "onebasin-symmetry-0"}', "not a symmetry file of this version"),
    ],
)
def test_invalid_symmetry_files_are_named(capsys, tmp_path, text, message):
    file = tmp_path / "symmetry.json"
    file.write_text(text)
    line = fail(capsys, "inspect", "mlp", "--symmetry", file, *TINY)
    assert line.startswith(f"{file}: ")
    assert message in line


def test_the_symmetry_of_another_model_is_refused(capsys, tmp_path):
    file = tmp_path / "symmetry.json"
    succeed(capsys, "inspect", "mlp", "--save", file, "--arch-arg", "width=7")
    line = fail(capsys, "inspect", "mlp", "--symmetry", file, *TINY)
    assert line.startswith(
        f"{file}: tensor 'layers.0.weight' is (7, 64) in the symmetry but (6, 64)"
    )
