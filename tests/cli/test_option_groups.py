from dataclasses import dataclass
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from onebasin.cli.option_groups import with_option_groups
from onebasin.cli.options.matching import MatchingOptions
from onebasin.cli.options.run import RunOptions


@dataclass(frozen=True)
class Size:
    width: Annotated[int, typer.Option(help="How wide.")]
    depth: Annotated[int, typer.Option(help="How deep.")] = 2


def app(found: list) -> typer.Typer:
    @with_option_groups
    def build(*, name: Annotated[str, typer.Argument()], size: Size, last: bool = False) -> None:
        """Build it."""
        found.append((name, size, last))

    made = typer.Typer(rich_markup_mode=None)
    made.command()(build)
    return made


def test_a_command_is_called_with_its_option_groups():
    found: list = []
    ran = CliRunner().invoke(app(found), ["it", "--width", "3", "--last"])
    assert ran.exit_code == 0, ran.output
    assert found == [("it", Size(3, 2), True)]


def test_help_shows_the_options_of_a_group_at_its_position():
    text = CliRunner().invoke(app([]), ["--help"]).output
    assert "Build it." in text
    places = [text.index(part) for part in ("How wide.", "How deep.", "--last")]
    assert places == sorted(places)
    assert "--size" not in text


def test_required_options_of_a_group_are_required():
    found: list = []
    ran = CliRunner().invoke(app(found), ["it"])
    assert ran.exit_code == 2
    assert found == []


def test_two_groups_cannot_have_the_same_option():
    def twice(*, options: RunOptions, seed: int = 0) -> None: ...

    with pytest.raises(ValueError, match="duplicate parameter name: 'seed'"):
        with_option_groups(twice)


def test_the_value_of_restarts_is_an_option_of_the_method():
    options = MatchingOptions(method_arg=["max_sweeps=3"], restarts=2).keywords["method_options"]
    assert options == {"max_sweeps": 3, "restarts": 2}
