"""The documentation builds, covers every public name, and its Python runs."""

import os
import re
import subprocess
import sys
import zlib
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

import onebasin

REPOSITORY = Path(__file__).resolve().parent.parent
README = REPOSITORY / "README.md"
PYTHON_BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INVENTORY_LINE = re.compile(r"^(\S+) py:\w+ -?\d+ (\S+) ", re.MULTILINE)


def parse_inventory(raw: bytes) -> dict[str, str]:
    """Return where each name is documented, from an intersphinx inventory (four header lines)."""
    body = zlib.decompress(raw.split(b"\n", 4)[4]).decode()
    return dict(INVENTORY_LINE.findall(body))


def is_documented(path: str, value: object, inventory: dict[str, str]) -> bool:
    """Whether an API page covers the name, as exported or where it is defined."""
    home = f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', '')}"
    return any(inventory.get(name, "").startswith("api/") for name in (path, home))


def pages_with_python() -> list[Path]:
    """Return the pages of docs/ that have python blocks, and the README in any case."""
    pages = sorted((REPOSITORY / "docs").rglob("*.md"))
    return [README, *(page for page in pages if PYTHON_BLOCK.search(page.read_text("utf-8")))]


def run_blocks(page: Path) -> int:
    """Run a page's python blocks one after the other in one namespace; return how many."""
    namespace: dict[str, object] = {"__name__": "__main__"}
    blocks = PYTHON_BLOCK.findall(page.read_text(encoding="utf-8"))
    for number, block in enumerate(blocks, 1):
        exec(compile(block, f"{page.name}, python block {number}", "exec"), namespace)
    return len(blocks)


def build_docs(site: Path) -> dict[str, str]:
    """Build the documentation strictly; return names to addresses."""
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(site)],
        cwd=REPOSITORY,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return parse_inventory((site / "objects.inv").read_bytes())


def public_packages() -> list[ModuleType]:
    """Return the packages whose public names have a page."""
    folders = (REPOSITORY / "src" / "onebasin").glob("[a-z]*/__init__.py")
    packages = [import_module(f"onebasin.{path.parent.name}") for path in folders]
    return [package for package in packages if package.__name__ != "onebasin.cli"]


# One test, since each worker that has one of several would build the site again.
def test_every_public_name_is_on_an_api_page(tmp_path: Path) -> None:
    inventory = build_docs(tmp_path)
    values = {
        f"{package.__name__}.{name}": getattr(package, name)
        for package in (onebasin, *public_packages())
        for name in package.__all__
        if name != "__version__"
    }
    assert [
        path for path, value in values.items() if not is_documented(path, value, inventory)
    ] == []
    assert not is_documented("onebasin.Path", Path, inventory), "the check finds everything"
    error = onebasin.errors.OneBasinError
    assert is_documented("onebasin.OneBasinError", error, inventory)


def test_every_package_has_its_api_page() -> None:
    package = REPOSITORY / "src" / "onebasin"
    found = [*package.glob("[a-z]*.py"), *(init.parent for init in package.glob("*/__init__.py"))]
    for part in sorted({path.stem for path in found} - {"cli"}):
        page = REPOSITORY / "docs" / "api" / f"{part}.md"
        assert page.is_file(), f"add docs/api/{part}.md and name it in mkdocs.yml"
        assert f"::: onebasin.{part}\n" in page.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "page", pages_with_python(), ids=lambda page: str(page.relative_to(REPOSITORY))
)
def test_python_blocks_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    if run_blocks(page) == 0:
        pytest.skip("no python blocks")


def test_a_broken_block_is_reported_with_its_page(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("```python\nx = 1\n```\ntext\n```python\nassert x == 2\n```\n")
    with pytest.raises(AssertionError) as caught:
        run_blocks(page)
    assert str(caught.traceback[-1].path).endswith("page.md, python block 2")
