"""The shell commands of the documentation are valid: names, options and positional arguments."""

import re
import shlex
from pathlib import Path

import pytest
import torch
import typer
from safetensors.torch import save_file

from onebasin.api._architectures import is_named, is_path, recorded_architecture
from onebasin.checkpoints import ArchitectureRecord
from onebasin.checkpoints.architectures import BUILTIN_ARCHITECTURES
from onebasin.cli.app import create_app
from onebasin.cli.positionals import split_positionals

REPOSITORY = Path(__file__).resolve().parent.parent
SHELL_BLOCK = re.compile(r"^```(?:sh|bash|console)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"^(?:\$ )?(onebasin .*)$", re.MULTILINE)
MOST = {"align": 2, "compare-features": 2, "plane": 3}


def commands_of(text: str) -> list[str]:
    """Return the `onebasin` commands in the shell blocks of a page."""
    blocks = [block.replace("\\\n", " ") for block in SHELL_BLOCK.findall(text)]
    return [line for block in blocks for line in COMMAND.findall(block)]


def pages() -> list[Path]:
    """Return the README and the pages of docs/ with commands."""
    every = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").rglob("*.md"))]
    return [page for page in every if commands_of(page.read_text("utf-8"))]


def create(word: str, *, records: bool = True) -> list[str]:
    """Create the checkpoints that a positional argument names, with a record of ARCH or without."""
    metadata = ArchitectureRecord("mlp").to_metadata() if records else None
    if ":" in word:
        return [word]
    paths = [word.replace("*", each) for each in "01"] if "*" in word else [word]
    for name in paths:
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".safetensors":
            save_file({"x": torch.zeros(1)}, path, metadata=metadata)
        elif path.suffix:
            torch.save({"x": torch.zeros(1)}, path)
        elif name.endswith("/"):
            path.mkdir(exist_ok=True)
            (path / "config.json").write_text("{}")
    return paths


def check_command(line: str) -> None:
    """Parse a command, and split its positional arguments, without running it."""
    _, name, *words = shlex.split(line, comments=True)
    if name.startswith("-"):
        return
    command = typer.main.get_command(create_app()).commands[name]
    if name == "study":
        command = command.commands[words.pop(0)]
    if "--help" in words:
        return
    params = command.make_context(name, words).params
    if "networks" in params:
        given = params["networks"]
        records = not (":" in given[0] or given[0] in BUILTIN_ARCHITECTURES)
        networks = [path for word in given for path in create(word, records=records)]
        least = 1 if name == "evaluate" else 2
        split_positionals(name, networks, minimum=least, maximum=MOST.get(name))
    elif name == "inspect":
        (word,) = create(params["arch"])
        if is_path(word) and not is_named(word):
            recorded_architecture(word)


def problem_of(line: str) -> str:
    """Return what is wrong with a command, or an empty text."""
    try:
        check_command(line)
    except KeyError as error:
        return f"no command {error}"
    except Exception as error:
        return error.format_message() if hasattr(error, "format_message") else str(error)
    return ""


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_commands_are_valid(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    lines = commands_of(page.read_text("utf-8"))
    problems = {line: problem_of(line) for line in lines}
    assert {line: text for line, text in problems.items() if text} == {}


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("onebasin blend a.safetensors", "no command 'blend'"),
        ("onebasin align mlp a.pt b.pt -o c.pt --metod weights", "No such option: --metod"),
        ("onebasin align mlp a.pt b.pt c.pt -o d.pt", "3 checkpoints given"),
        ("onebasin evaluate a.pt b.pt --data digits", "ARCH is missing"),
        ("onebasin merge mlp a.pt b.pt", "Missing option '--output'"),
        ("onebasin study run all --speed 1", "No such option: --speed"),
    ],
)
def test_wrong_commands_are_found(
    line: str, problem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (found,) = commands_of(f"```sh\n{line} # a comment\n```\n")
    assert problem in problem_of(found)
