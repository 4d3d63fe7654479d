"""Command files are short: they parse, call one function and print."""

from pathlib import Path

import pytest

import onebasin.cli
import onebasin_studies.cli

MOST_LINES = 150
FILES = [
    path
    for package in (onebasin.cli, onebasin_studies.cli)
    for path in sorted(Path(str(package.__file__)).parent.rglob("*.py"))
]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_command_files_are_short(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MOST_LINES
