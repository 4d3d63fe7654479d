"""What every test shares: types and shapes checked at run time, few threads, real data."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import jaxtyping
import pytest
import torch
from beartype import BeartypeConf
from beartype.claw import beartype_package

REPOSITORY = Path(__file__).resolve().parent.parent

assert "onebasin" not in sys.modules, "imported too early: its types would go unchecked"


def modules_with(line: str) -> list[str]:
    sources = (REPOSITORY / "src").rglob("*.py")
    return [
        ".".join(source.relative_to(REPOSITORY / "src").with_suffix("").parts)
        for source in sources
        if f"\n{line}" in source.read_text(encoding="utf-8")
    ]


# Shapes cost a binding of arguments in every call, so only modules that have some pay for it.
jaxtyping.install_import_hook(modules_with("from jaxtyping import "), "beartype.beartype")

# What is imported for type checkers alone is not there at run time, and beartype looks for the
# types of inherited fields in the module of the heir.
UNCHECKED = (
    *modules_with("if TYPE_CHECKING:"),
    "onebasin.errors",  # the wrapper of `public` has the annotations of the wrapped function
    "onebasin.api._keywords",  # so has the wrapper of `takes_method_options`
    "onebasin.evaluation.features.additivity",
    "onebasin.evaluation.features.commutativity",
    "onebasin.data.batches",
)
beartype_package(
    "onebasin",
    conf=BeartypeConf(
        claw_is_pep526=False, claw_skip_package_names=UNCHECKED, violation_type=TypeError
    ),
)

os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

# Workers share the cores already; threads of their own only make them wait for each other.
torch.set_num_threads(1 if "PYTEST_XDIST_WORKER" in os.environ else 2)

# The same examples on every run, and no deadline that a busy machine could miss.
hypothesis.settings.register_profile("onebasin", derandomize=True, deadline=None)
hypothesis.settings.load_profile("onebasin")


@pytest.fixture(scope="session")
def repository() -> Path:
    return REPOSITORY


@pytest.fixture(scope="session")
def exported() -> dict[bytes, object]:
    """The graphs of all models that were exported in this process."""
    return {}


@pytest.fixture(scope="module", autouse=True)
def exports_are_shared(request: pytest.FixtureRequest, exported) -> Iterator[None]:
    """Export equal models once, except in the tests of inference."""
    from tests.exports import exports_shared

    if REPOSITORY / "tests" / "symmetry" in request.path.parents:
        yield
        return
    with exports_shared(exported):
        yield


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The folder that holds mnist/ and cifar10/; tests on real data skip without it."""
    default = REPOSITORY.parent / "shared" / "data"
    root = Path(os.environ.get("ONEBASIN_DATA") or default)
    if not root.is_dir():
        pytest.skip(f"no real data at {root}: set ONEBASIN_DATA to the folder with mnist/")
    return root
