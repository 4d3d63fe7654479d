"""The documentation builds, covers every public name, and its Python runs."""

import json
import os
import re
import shutil
import subprocess
import sys
import zlib
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

import onebasin
from onebasin_studies.report import demo

REPOSITORY = Path(__file__).resolve().parent.parent
README = REPOSITORY / "README.md"
HOME = REPOSITORY / "docs" / "index.md"
COMPARISON = REPOSITORY / "docs" / "comparison.md"
NOTEBOOK = REPOSITORY / "docs" / "quickstart.ipynb"
DEMO_FILE = "demo-out/a.safetensors"
PYTHON_BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?![a-z]+:)([^)\s#]+)")
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


def blocks_of(page: Path) -> list[str]:
    """Return the python blocks of a page, or the code cells of a notebook."""
    text = page.read_text(encoding="utf-8")
    if page.suffix != ".ipynb":
        return PYTHON_BLOCK.findall(text)
    cells = json.loads(text)["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]


def run_blocks(page: Path) -> int:
    """Run the python blocks of a page in order in one namespace, and return their number."""
    namespace: dict[str, object] = {"__name__": "__main__"}
    blocks = blocks_of(page)
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


@pytest.fixture(scope="session")
def demo_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the files of a short run of `onebasin demo --out demo-out`."""
    folder = tmp_path_factory.mktemp("demo")
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(demo, "EPOCHS", 2)
        demo.run_demo(folder / "demo-out")
    return folder


@pytest.mark.parametrize(
    "page", [*pages_with_python(), NOTEBOOK], ids=lambda page: str(page.relative_to(REPOSITORY))
)
# Short runs of the demo train networks that may be worse than a constant prediction.
@pytest.mark.filterwarnings("ignore::onebasin.OneBasinWarning")
def test_python_blocks_run(
    page: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    monkeypatch.chdir(tmp_path)
    if DEMO_FILE in "".join(blocks_of(page)):
        shutil.copytree(request.getfixturevalue("demo_folder"), tmp_path, dirs_exist_ok=True)
    if run_blocks(page) == 0:
        pytest.skip("no python blocks")


def table_row(page: str, *first: str) -> list[str]:
    """Return the first row of a benchmark page whose cells include the given ones."""
    for line in (REPOSITORY / "docs" / "benchmarks" / page).read_text("utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("|") and set(first) <= set(cells):
            return cells
    raise AssertionError(f"{page} has no row with {first}")


@pytest.mark.parametrize("page", [README, HOME, COMPARISON], ids=lambda page: page.name)
def test_figures_are_those_of_the_benchmarks(page: Path) -> None:
    text = " ".join(page.read_text(encoding="utf-8").split())
    _, models, _, _, verified, wrong, *_ = table_row("coverage.md", "all")
    assert f"{verified} of {models} models" in text
    assert wrong == "0"
    header = table_row("weight_matching.md", "speedup over rebasin")
    resnet, vit = (
        dict(zip(header, table_row("weight_matching.md", model, "unrelated"), strict=True))
        for model in ("resnet50", "vit_b_16")
    )
    assert f"{resnet['speedup over rebasin']} times faster than rebasin" in text
    assert "ViT" not in text or f"{vit['speedup over rebasin']} times faster for ViT" in text
    lowest = float(resnet["objective"].split(" to ")[0])
    theirs = float(resnet["rebasin, objective"])
    assert lowest > theirs, "the pages state that onebasin's objective is higher"
    assert f"{lowest:,.0f} instead of {theirs:,.0f}" in text


def test_linked_files_are_in_the_repository() -> None:
    pages = [README, NOTEBOOK, *(REPOSITORY / "docs").rglob("*.md")]
    links = [(page, link) for page in pages for link in LINK.findall(page.read_text("utf-8"))]
    assert len(links) > 100
    assert [(page.name, link) for page, link in links if not (page.parent / link).exists()] == []


def test_a_broken_block_is_reported_with_its_page(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("```python\nx = 1\n```\ntext\n```python\nassert x == 2\n```\n")
    with pytest.raises(AssertionError) as caught:
        run_blocks(page)
    assert str(caught.traceback[-1].path).endswith("page.md, python block 2")
