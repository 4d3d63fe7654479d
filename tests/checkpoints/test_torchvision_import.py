"""Imports of torchvision with any build of torch, and their errors.

Each case runs in a process of its own, because an import happens once per process.
"""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

import onebasin

SOURCE = Path(onebasin.__file__).parent.parent

IMPORT = """
from onebasin._packages import import_torchvision
from onebasin.errors import OneBasinError
try:
    print("imported", import_torchvision().__name__, import_torchvision().__version__)
except OneBasinError as error:
    print(error)
"""

WITHOUT_SCHEMAS = """
import torch
import torchvision.half
__version__ = "fake"
for name in ("nms", "qnms"):
    if not hasattr(torch.ops.torchvision, name):
        raise RuntimeError(f"operator torchvision::{name} does not exist")
"""


def run(code: str, *folders: Path) -> str:
    """Run code with some importable folders and warnings as errors; return its output."""
    paths = [str(folder) for folder in (*folders, SOURCE)]
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", f"import sys; sys.path[:0] = {paths!r}\n{code}"],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def fake_torchvision(folder: Path, code: str) -> Path:
    (folder / "torchvision").mkdir()
    (folder / "torchvision" / "__init__.py").write_text(code)
    (folder / "torchvision" / "half.py").write_text("")
    return folder


@pytest.mark.skipif(importlib.util.find_spec("torchvision") is None, reason="needs torchvision")
def test_the_installed_torchvision_works() -> None:
    code = """
import torch
from onebasin.checkpoints import build_architecture
squeezenet = build_architecture("torchvision:squeezenet1_1", input_spec="2x3x64x64")
print(tuple(squeezenet.module(*squeezenet.example_args).shape))
"""
    assert run(IMPORT + code).splitlines()[1] == "(2, 1000)"


def test_missing_schemas_are_defined(tmp_path: Path) -> None:
    code = "import torchvision; print(hasattr(torchvision, 'half'))"
    printed = run(IMPORT + code, fake_torchvision(tmp_path, WITHOUT_SCHEMAS))
    assert printed == "imported torchvision fake\nTrue"


def test_other_errors_are_raised(tmp_path: Path) -> None:
    fake_torchvision(tmp_path, "raise RuntimeError('operator torchvision::roi does not exist')")
    assert re.fullmatch(
        r"torchvision cannot be imported \(RuntimeError: operator torchvision::roi does not "
        r"exist\); "
        r"reinstall it: pip install --force-reinstall 'timm>=[\d.]+' 'torchvision>=[\d.]+'",
        run(IMPORT, tmp_path),
    )


def test_a_broken_library_is_named_in_the_error(tmp_path: Path) -> None:
    fake_torchvision(tmp_path, "raise ImportError('libjpeg.so: cannot open')")
    assert run(IMPORT, tmp_path).startswith(
        "torchvision cannot be imported (ImportError: libjpeg.so: cannot open); reinstall it"
    )


@pytest.mark.parametrize("spec", ["torchvision:resnet18", "timm:resnet18"])
def test_a_missing_package_raises(monkeypatch: pytest.MonkeyPatch, spec: str) -> None:
    from onebasin.checkpoints import build_architecture
    from onebasin.errors import OneBasinError

    monkeypatch.setitem(sys.modules, "torchvision", None)
    text = r"^torchvision is not installed; install the extra 'vision': pip install 'timm>=1"
    with pytest.raises(OneBasinError, match=text):
        build_architecture(spec)
