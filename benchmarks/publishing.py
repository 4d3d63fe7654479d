"""What benchmarks share: where they write what came out, and what they say of the machine."""

from __future__ import annotations

import argparse
import json
import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

DOCUMENTATION = Path(__file__).resolve().parent.parent / "docs" / "benchmarks"


def add_folder(parser: argparse.ArgumentParser) -> None:
    """Give a program the option `--out`, where `publish` writes."""
    parser.add_argument("--out", type=Path, default=DOCUMENTATION, help="folder of the page")


def machine(*packages: str) -> dict[str, str]:
    """Return versions of packages and of Python, and what the machine is, for the page."""
    found = {}
    for name in packages:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found | {
        "Python": platform.python_version(),
        "machine": f"{platform.machine()} with {os.cpu_count()} cores",
    }


def publish(name: str, text: str, document: Any, folder: Path | None) -> None:
    """Print a page, and write it beside its numbers.

    Args:
        name: of both files, which end in `.md` and `.json`.
        text: the page.
        document: the numbers, as plain JSON values.
        folder: where to; None prints only.
    """
    print(text)
    if folder is not None:
        write(name, text, document, folder)


def write(name: str, text: str, document: Any, folder: Path) -> None:
    """Write a page beside its numbers; arguments as for `publish`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.md").write_text(text)
    (folder / f"{name}.json").write_text(json.dumps(document, indent=1) + "\n")
