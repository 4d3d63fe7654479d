"""Every command on a generated corpus of damaged inputs: success, or one line and exit code 2.

A sample runs by default. The environment variable ONEBASIN_CORPUS chooses more: `inputs`
gives every input to one command, `full` to every command.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from pathlib import Path

import pytest
import torch

from tests.cli.run import TINY, network, run, write
from tests.corpus import Case, cases, commands_for
from tests.corpus.writing import legacy_bytes
from tests.time_limits import time_limit

CORPUS = os.environ.get("ONEBASIN_CORPUS", "sample")
SAMPLE = {"checkpoint": 8, "symmetry": 12, "permutation": 8, "architecture": 40, "data": 10}
SECONDS = 120


def selected() -> list[Case]:
    """All cases, or every n-th of each kind."""
    seen: Counter[str] = Counter()
    chosen = []
    for case in cases():
        if CORPUS != "sample" or seen[case.kind] % SAMPLE[case.kind] == 0:
            chosen.append(case)
        seen[case.kind] += 1
    return chosen


def snapshot(folder: Path) -> dict[str, str]:
    """The content of every regular file below a folder, and what else is there."""
    found = {}
    for path in sorted(folder.rglob("*")):
        is_plain = path.is_file() and not path.is_symlink()
        data = path.read_bytes() if is_plain else b"" if path.is_dir() else b"special"
        found[str(path.relative_to(folder))] = hashlib.sha256(data).hexdigest()
    return found


def check(result, before: dict[str, str], folder: Path) -> None:
    """Accept success, or one clear line with nothing left behind; inputs never change."""
    after = snapshot(folder)
    assert {name: after.get(name) for name in before} == before, "an input was changed"
    assert result.code in (0, 2), (result.code, result.err)
    lines = result.err.splitlines()
    assert all(c.isprintable() or c == "\n" for c in result.err), "control characters"
    assert all(line.startswith("onebasin: ") for line in lines), result.err
    errors = [line for line in lines if line.startswith("onebasin: error: ")]
    assert len(errors) == (result.code == 2), result.err
    if errors:
        assert after == before, "something half-written remains"
        assert 20 < len(errors[0]) < 2_000
        assert "Traceback" not in errors[0]
        assert " at 0x" not in errors[0]


@pytest.mark.parametrize("case", selected(), ids=lambda case: f"{case.kind}-{case.name}"[:60])
def test_a_damaged_input(case: Case, capsys, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    a = write(tmp_path / "a.safetensors", network(0))
    write(tmp_path / "b.safetensors", network(3))
    folder = tmp_path / "given"
    folder.mkdir()
    given = case.create(folder)
    commands = commands_for(case, given, a, tmp_path / "out")
    if CORPUS != "full":
        number = int(hashlib.sha256(case.name.encode()).hexdigest(), 16) % len(commands)
        commands = dict([list(commands.items())[number]])
    for name, words in commands.items():
        before = snapshot(tmp_path)
        options = TINY if "mlp" in words else ()
        with time_limit(SECONDS):
            result = run(capsys, *words, *options)
        try:
            check(result, before, tmp_path)
        except AssertionError as error:
            raise AssertionError(f"{name}: {error}; {result.err[-500:]}") from error
        for path in tmp_path.glob("out*"):
            for file in path.rglob("*") if path.is_dir() else ():
                file.unlink()
            path.rmdir() if path.is_dir() else path.unlink()


def test_legacy_files_are_valid_and_the_same_in_every_run(tmp_path: Path) -> None:
    contents = [{"model": network(1), "epoch": 3} for _ in range(2)]
    first, second = (legacy_bytes(content) for content in contents)
    assert first == second
    (tmp_path / "x.pth").write_bytes(first)
    loaded = torch.load(tmp_path / "x.pth", weights_only=True)
    assert loaded["epoch"] == 3
    assert all(torch.equal(loaded["model"][n], t) for n, t in contents[0]["model"].items())


def test_the_oracle_finds_faults(tmp_path: Path) -> None:
    """The check itself refuses what it must refuse."""
    from tests.cli.run import Run

    good = "onebasin: error: x.pt: is not a complete checkpoint; copy it again\n"
    check(Run(0, "", ""), {}, tmp_path)
    check(Run(2, "", good), {}, tmp_path)
    for code, text in ((1, good), (2, ""), (2, good * 2), (0, good), (2, "x\n" + good)):
        with pytest.raises(AssertionError):
            check(Run(code, "", text), {}, tmp_path)
    with pytest.raises(AssertionError, match="control characters"):
        check(Run(2, "", good.replace("copy", "\x1b[2Jcopy")), {}, tmp_path)
    (tmp_path / "left").touch()
    with pytest.raises(AssertionError, match="half-written"):
        check(Run(2, "", good), {}, tmp_path)
    with pytest.raises(AssertionError, match="changed"):
        check(Run(0, "", ""), {"a": "0"}, tmp_path)
