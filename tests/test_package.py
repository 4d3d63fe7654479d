"""The frame of the package: its surface, its version, and that the tests check types."""

import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

import onebasin
import onebasin_studies
from onebasin.matching import assign
from scripts.check_wheel import missing_files


def test_public_surface_is_small_and_real() -> None:
    assert len(onebasin.__all__) <= 30
    assert len(set(onebasin.__all__)) == len(onebasin.__all__)
    assert all(hasattr(onebasin, name) for name in onebasin.__all__)


def test_citation_has_the_version() -> None:
    citation = Path(__file__).parent.with_name("CITATION.cff").read_text(encoding="utf-8")
    assert f"\nversion: {onebasin.__version__}\n" in citation


def test_types_are_shipped() -> None:
    for package in (onebasin, onebasin_studies):
        assert Path(str(package.__file__)).with_name("py.typed").is_file()


def test_files_that_a_wheel_lacks_are_named(tmp_path) -> None:
    wheel = tmp_path / "onebasin.whl"
    lacking = ["onebasin/py.typed", "onebasin_studies/report/templates/page.css"]
    source = Path(onebasin.__file__).parents[1]
    with zipfile.ZipFile(wheel, "w") as archive:
        for path in source.rglob("*"):
            name = path.relative_to(source).as_posix()
            if path.is_file() and name not in lacking:
                archive.writestr(name, "")
    assert missing_files(wheel) == lacking


def test_types_and_shapes_are_checked_at_run_time() -> None:
    number: Any = 3
    with pytest.raises(TypeError, match="violates type hint"):
        onebasin.Permutation.identity(number)
    with pytest.raises(Exception, match=r"Expected type.*n n"):
        assign(torch.zeros(2, 3))
