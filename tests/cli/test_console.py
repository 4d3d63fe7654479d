import io
import sys

import pytest

from onebasin._text import columns
from onebasin.cli.console import Console, open_console
from onebasin.cli.main import main


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_columns_stand_under_each_other():
    assert columns([("", "naive"), ("loss, train", "0.7")]) == (
        "             naive\nloss, train    0.7"
    )
    assert columns([("a", "x"), ("bc", "yz")], numbers_from=2) == "a   x\nbc  yz"


@pytest.mark.parametrize(("is_terminal", "quiet", "is_shown"), [(1, 0, 1), (0, 0, 0), (1, 1, 0)])
def test_progress_is_for_terminals(monkeypatch, is_terminal, quiet, is_shown):
    stderr = Terminal() if is_terminal else io.StringIO()
    monkeypatch.setattr(sys, "stderr", stderr)
    with Console(False, bool(quiet), io.StringIO()).progress("counting") as progress:
        assert (progress is not None) == bool(is_shown)
        if progress is not None:
            progress(1, 2)
    assert ("counting" in stderr.getvalue()) == bool(is_shown)
    assert ("1/2" in stderr.getvalue()) == bool(is_shown)


def test_only_the_result_goes_to_stdout(capsys):
    with open_console(True, False) as console:
        print("of a model")
        console.note("of a command")
        console.print({"answer": 1}, "text")
    found = capsys.readouterr()
    assert found.out == '{\n "answer": 1\n}\n'
    assert found.err == "of a model\nonebasin: note: of a command\n"


def test_quiet_silences_notes_and_text_but_not_json(capsys):
    for as_json in (False, True):
        with open_console(as_json, True) as console:
            console.note("note")
            console.print({}, "text")
    found = capsys.readouterr()
    assert (found.out, found.err) == ("{}\n", "")


def test_no_output_holds_escape_sequences_of_input(capsys, tmp_path):
    """A terminal would obey them, and bytes that are not UTF-8 could not be printed."""
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "config.json").write_text('{"model_type": "\\u001b[2Jx"}')
    main(["inspect", str(tmp_path / "a")])
    main(["inspect", "mlp", "--input", "\x1b[31m\udcff"])
    with open_console(False, False) as console:
        console.note("\x1b[2J")
        console.error("\x1b[2J")
        console.print({}, "one\ntwo\x1b[2J")
    captured = capsys.readouterr()
    assert "\x1b" not in captured.err + captured.out
    assert captured.err.count("\\x1b") >= 4
    assert captured.out == "one\ntwo\\x1b[2J\n"
