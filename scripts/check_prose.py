"""Check the prose of the project for banned words and spellings.

Usage: python scripts/check_prose.py [PATH...]

Without paths, checks the whole project. Findings in files and folders under `unchecked` in the
table [tool.prose] of pyproject.toml are counted, not printed; give their paths to print them.
"""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from scripts.prose_rules import RULES
from scripts.prose_sources import prose_of

ROOT = Path(__file__).resolve().parents[1]
PLACES = (
    "README.md", "CHANGELOG.md", "CONTRIBUTING.md", "docs", "src", "tests", "scripts",
    "benchmarks", "examples",
)  # fmt: skip
SKIPPED = ("scripts/prose_rules.py", "tests/test_prose.py")
"""Files that list the banned words."""


@dataclass(frozen=True)
class Finding:
    """A banned word or pattern in a file.

    Args:
        path: the file.
        line: line number.
        words: the text that matches.
        advice: what to write instead.
    """

    path: Path
    line: int
    words: str
    advice: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.words!r}: write {self.advice}"


def check_file(path: Path) -> list[Finding]:
    """Return the findings of a Markdown or Python file, in order of the lines."""
    findings = []
    for prose in prose_of(path):
        for rule in RULES:
            if rule.only_docstrings and not prose.is_docstring:
                continue
            for match in rule.pattern.finditer(prose.text):
                line = prose.line + prose.text.count("\n", 0, match.start())
                words = " ".join(match[0].split())
                findings.append(Finding(path, line, words, rule.advice))
    return sorted(findings, key=lambda finding: finding.line)


def files_under(places: Iterable[str], root: Path) -> list[Path]:
    """Return the Markdown and Python files of files and folders."""
    found: list[Path] = []
    for place in places:
        path = root / place
        found += (
            [path] if path.is_file() else sorted(path.rglob("*.md")) + sorted(path.rglob("*.py"))
        )
    return [path for path in found if path not in {root / name for name in SKIPPED}]


def main(argv: Sequence[str]) -> int:
    """Print findings; return 1 if a checked file has any."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    others = [] if argv else files_under(settings["tool"]["prose"]["unchecked"], ROOT)
    paths = [path for path in files_under(argv or PLACES, ROOT) if path not in set(others)]
    findings = [finding for path in paths for finding in check_file(path)]
    for finding in findings:
        print(f"{finding}".removeprefix(f"{ROOT}/"))
    number = sum(len(check_file(path)) for path in others)
    print(f"prose: {len(findings)} findings in {len(paths)} checked files", end="")
    print(f"; {number} findings in {len(others)} other files" if others else "")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
