"""Build the wheel and the sdist, check them, and use the wheel without the checkout.

Usage: python scripts/check_wheel.py

Everything happens in a temporary folder. A fresh virtual environment gets `build` and `twine`;
another one gets the wheel, and takes the dependencies from the environment of this script. There,
outside the repository, `onebasin demo` and the Python examples of the README run.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
import tempfile
import time
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
EXAMPLE = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
WHERE = """
import onebasin, onebasin_studies, pathlib, sys
for package in (onebasin, onebasin_studies):
    path = pathlib.Path(package.__file__)
    assert path.is_relative_to(sys.prefix), f"{path} is not in the fresh environment"
"""


def main() -> int:
    """Run all steps; the first one that fails raises an error."""
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        wheel = build(folder)
        missing = missing_files(wheel)
        if missing:
            print(f"wheel: files of src are missing: {', '.join(missing)}")
            return 1
        use(wheel, folder)
    print(f"wheel: all checks passed ({time.monotonic() - start:.0f} s)")
    return 0


def build(folder: Path) -> Path:
    """Build the wheel and the sdist in a folder, check them, and return the wheel."""
    tools, dist = create_environment(folder / "tools"), folder / "dist"
    run(tools, "-m", "pip", "install", "-q", "-c", str(ROOT / "constraints.txt"), "build", "twine")
    run(tools, "-m", "build", "--outdir", str(dist), str(ROOT), quiet=True)
    run(tools, "-m", "twine", "check", "--strict", *map(str, sorted(dist.iterdir())))
    return next(dist.glob("*.whl"))


def missing_files(wheel: Path) -> list[str]:
    """Return the files of src that a wheel lacks: modules, pages, style sheets and py.typed."""
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    source = ROOT / "src"
    files = [
        path for path in source.rglob("*") if path.is_file() and "__pycache__" not in path.parts
    ]
    wanted = {path.relative_to(source).as_posix() for path in files if path.suffix != ".pyc"}
    return sorted(name for name in wanted if ".egg-info/" not in name and name not in names)


def use(wheel: Path, folder: Path) -> None:
    """Install a wheel into a fresh environment and run the demo and the README."""
    environment = create_environment(folder / "environment")
    run(environment, "-m", "pip", "install", "-q", "--no-index", "--no-deps", str(wheel))
    paths = {key: str(folder / "environment") for key in ("base", "platbase")}
    # The dependencies come last on the path, so that the installed wheel is found first.
    dependencies = Path(sysconfig.get_path("purelib", vars=paths)) / "dependencies.pth"
    dependencies.write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    work = folder / "work"
    work.mkdir()
    run(environment, "-c", WHERE, cwd=work)
    run(environment.with_name("onebasin"), "demo", "--out", "demo-out", cwd=work)
    examples = EXAMPLE.findall((ROOT / "README.md").read_text(encoding="utf-8"))
    assert examples, "the README has no Python examples"
    run(environment, "-c", "\n".join(examples), cwd=work)


def create_environment(folder: Path) -> Path:
    """Create a virtual environment with pip and return its interpreter."""
    venv.create(folder, with_pip=True)
    return folder / "bin" / "python"


def run(program: Path, *args: str, cwd: Path | None = None, quiet: bool = False) -> None:
    """Run a program without the Python settings of this process; fail if it fails."""
    environ = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    output = subprocess.DEVNULL if quiet else None
    subprocess.run([str(program), *args], cwd=cwd, env=environ, stdout=output, check=True)


if __name__ == "__main__":
    sys.exit(main())
