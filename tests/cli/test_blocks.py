from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from onebasin.cli.blocks import MatchingOptions, RunOptions, with_blocks
from onebasin.errors import OneBasinError


@dataclass(frozen=True)
class Size:
    width: Annotated[int, typer.Option(help="How wide.")]
    depth: Annotated[int, typer.Option(help="How deep.")] = 2


def app(found: list) -> typer.Typer:
    @with_blocks
    def build(*, name: Annotated[str, typer.Argument()], size: Size, last: bool = False) -> None:
        """Build it."""
        found.append((name, size, last))

    made = typer.Typer(rich_markup_mode=None)
    made.command()(build)
    return made


def test_a_command_is_called_with_its_blocks():
    found: list = []
    ran = CliRunner().invoke(app(found), ["it", "--width", "3", "--last"])
    assert ran.exit_code == 0, ran.output
    assert found == [("it", Size(3, 2), True)]


def test_help_shows_the_options_of_a_block_where_it_stands():
    text = CliRunner().invoke(app([]), ["--help"]).output
    assert "Build it." in text
    places = [text.index(part) for part in ("How wide.", "How deep.", "--last")]
    assert places == sorted(places)
    assert "--size" not in text


def test_what_a_block_demands_is_demanded_of_the_user():
    found: list = []
    ran = CliRunner().invoke(app(found), ["it"])
    assert ran.exit_code == 2
    assert found == []


def test_two_blocks_cannot_have_the_same_option():
    def twice(*, options: RunOptions, seed: int = 0) -> None: ...

    with pytest.raises(ValueError, match="duplicate parameter name: 'seed'"):
        with_blocks(twice)


@pytest.mark.parametrize(
    ("given", "option"),
    [
        (MatchingOptions(symmetry=Path("s.json")), "--symmetry"),
        (MatchingOptions(method="weights"), "--method"),
        (MatchingOptions(method_arg=["max_sweeps=1"]), "--method-arg"),
        (MatchingOptions(restarts=2), "--restarts"),
    ],
)
def test_options_of_the_matching_are_useless_without_one(given, option):
    with pytest.raises(OneBasinError, match=f"^merge: {option} has no effect with --no-align; "):
        given.refuse_useless("merge", "with --no-align")


def test_how_the_model_is_built_is_of_use_without_a_matching():
    given = MatchingOptions(arch_arg=["width=2"], input_=["2x3"], prove=False)
    given.refuse_useless("merge", "with --no-align")


def test_more_useless_options_are_named_in_their_order():
    given = MatchingOptions(method="weights")
    with pytest.raises(OneBasinError, match="--first"):
        given.refuse_useless("merge", "here", before={"--first": 1}, after={"--last": 1})
    with pytest.raises(OneBasinError, match="--last"):
        MatchingOptions().refuse_useless("merge", "here", after={"--last": 1})
