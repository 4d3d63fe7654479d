"""What every test shares: shapes checked at run time, few threads, no network, real data."""

import os
import sys
from pathlib import Path

import hypothesis
import jaxtyping
import pytest
import torch

assert "onebasin" not in sys.modules, "imported too early: its shapes would go unchecked"
jaxtyping.install_import_hook("onebasin", "beartype.beartype")

os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

# Workers share the cores already; threads of their own only make them wait for each other.
torch.set_num_threads(1 if "PYTEST_XDIST_WORKER" in os.environ else 2)

# The same examples on every run, and no deadline that a busy machine could miss.
hypothesis.settings.register_profile("onebasin", derandomize=True, deadline=None)
hypothesis.settings.load_profile("onebasin")

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def repository() -> Path:
    return REPOSITORY


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The folder that holds mnist/ and cifar10/; tests on real data skip without it."""
    default = REPOSITORY.parent / "shared" / "data"
    root = Path(os.environ.get("ONEBASIN_DATA", default))
    if not root.is_dir():
        pytest.skip(f"no real data at {root}: set ONEBASIN_DATA to the folder with mnist/")
    return root
