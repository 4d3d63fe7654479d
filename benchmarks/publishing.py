"""Output of benchmarks: pages, JSON files, and a description of the machine."""

from __future__ import annotations

import argparse
import json
import os
import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

DOCUMENTATION = Path(__file__).resolve().parent.parent / "docs" / "benchmarks"


def add_folder(parser: argparse.ArgumentParser) -> None:
    """Add the option `--out` to a program: the folder of its page."""
    parser.add_argument("--out", type=Path, default=DOCUMENTATION, help="folder of the page")


def machine(*packages: str) -> dict[str, str]:
    """Return the versions of packages and of Python, and the machine, for the page."""
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


def publish(name: str, text: str, document: Mapping[str, Any], folder: Path | None) -> None:
    """Print a page, and write it with its figures.

    Args:
        name: name of both files, `NAME.md` and `NAME.json`.
        text: the page.
        document: the figures, as plain JSON values.
        folder: folder of the files; None prints only.
    """
    print(text)
    if folder is not None:
        write(name, text, document, folder)


def write(name: str, text: str, document: Mapping[str, Any], folder: Path) -> None:
    """Write a page with its figures; arguments as for `publish`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.md").write_text(text)
    (folder / f"{name}.json").write_text(to_json(document) + "\n")


def to_json(document: Mapping[str, Any]) -> str:
    """Return figures as JSON, with one line for each entry of a list at the top level."""
    items = ",\n".join(f" {json.dumps(name)}: {_item(value)}" for name, value in document.items())
    return f"{{\n{items}\n}}"


def _item(value: Any) -> str:
    if isinstance(value, list) and value:
        lines = ",\n".join(f"  {json.dumps(entry)}" for entry in value)
        return f"[\n{lines}\n ]"
    return json.dumps(value, indent=1).replace("\n", "\n ")
