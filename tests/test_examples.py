"""The examples run, print the expected output, and are short."""

import importlib.util
import runpy
import tempfile
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"

EXPECTED = {
    "align_checkpoints": ("groups: layers.0, layers.1, layers.2", "verified, max error"),
    "hand_written_symmetry": (
        "not inferred: infer_symmetry: torch.export",
        "dropped ['hid",
    ),
    "inspect_timm_model": ("vit_tiny_patch16_224: 49 groups, 99.98% permutable", "on 127 tensors"),
    "merge_larger_than_memory": ("inferred without memory: 3 groups", "8 tensors, 563,722 entries"),
    "custom_evaluation": ("above the line between the ends",),
}

BARRIERS = {
    "align_checkpoints": ("barrier, unaligned: ", "barrier, aligned: "),
    "custom_evaluation": ("unaligned: ", "\naligned: "),
}
"""The texts before the barrier without alignment, and before the barrier after alignment."""


def number_after(text: str, lines: str) -> float:
    """Return the number that follows a text."""
    return float(lines.split(text, 1)[1].split()[0])


@pytest.mark.parametrize("name", EXPECTED)
def test_examples_print_the_expected_output(name, capsys, monkeypatch, tmp_path):
    if name == "inspect_timm_model" and importlib.util.find_spec("timm") is None:
        pytest.skip("timm is not installed: it comes with the extra vision")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", [name])
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
    out = capsys.readouterr().out
    for text in EXPECTED[name]:
        assert text in out
    if name in BARRIERS:
        naive, aligned = (number_after(text, out) for text in BARRIERS[name])
        assert aligned < naive / 2


def test_examples_are_listed_and_short():
    found = {path.stem: path for path in EXAMPLES.glob("*.py")}
    assert found.keys() == EXPECTED.keys()
    for path in found.values():
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 60, path.name
