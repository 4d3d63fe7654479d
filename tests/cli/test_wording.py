"""Messages of the library in the words of the command line."""

import re
from pathlib import Path

import pytest
import typer

from onebasin.cli.app import create_app
from onebasin.cli.wording import OPTIONS, as_options

COMMANDS = ("align", "barrier", "compare-features", "evaluate", "inspect", "merge", "plane")
COMMAND_LINE_ONLY = {"--json", "--quiet"}
LIBRARY = Path(__file__).parents[2] / "src" / "onebasin"


def options_of(command: str) -> set[str]:
    group = typer.main.get_command(create_app())
    parameters = group.get_command(None, command).params
    return {name for each in parameters for name in each.opts if name.startswith("--")}


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_has_an_argument(command):
    options = options_of(command)
    assert options
    assert options - COMMAND_LINE_ONLY <= set(OPTIONS.values())


def test_every_argument_has_an_option_of_a_command():
    options = {"ARCH"}.union(*map(options_of, COMMANDS))
    assert set(OPTIONS.values()) <= options


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("pass data=", "pass --data"),
        ("pass weights=; or align=False", "pass --weights; or --no-align"),
        ("verify=True is slow", "--verify is slow"),
        ("repair='none' is fine", "--repair none is fine"),
        ("label_column='a b' is missing", "--label-column 'a b' is missing"),
        ("example_inputs='': empty", "--input '': empty"),
        ("example_inputs='ids=2x16', or", "--input ids=2x16, or"),
        ('key="it\'s" is unknown', "--key 'it'\"'\"'s' is unknown"),
        ("12 more groups; shows_all=True shows them", "12 more groups; --all shows them"),
    ],
)
def test_arguments_become_options(text, expected):
    assert as_options(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "mlp(width=8)",
        "'data=' is a name",
        "in /tmp/data=1/a.pt",
        "restarts=1, limit=2",
        "data is key",
    ],
)
def test_other_text_remains(text):
    assert as_options(text) == text


def test_library_names_no_option_of_the_command_line():
    option = re.compile(r"[\s'\"`(]--[a-z][a-z-]+")
    allowed = {"--help", "--force-reinstall"}
    named = [
        f"{path.name}: {found.group().strip()}"
        for path in sorted(LIBRARY.rglob("*.py"))
        if "cli" not in path.relative_to(LIBRARY).parts
        for found in option.finditer(path.read_text())
        if found.group()[1:] not in allowed
    ]
    assert named == []
