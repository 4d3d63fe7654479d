from pathlib import Path

import pytest

from tests.cli.run import network, write


@pytest.fixture
def a(tmp_path: Path) -> Path:
    return write(tmp_path / "a.safetensors", network(0))


@pytest.fixture
def b(tmp_path: Path) -> Path:
    return write(tmp_path / "b.safetensors", network(1))
