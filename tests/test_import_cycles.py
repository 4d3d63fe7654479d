"""No module imports another one that imports it, not even later inside a function."""

from __future__ import annotations

import ast
import importlib.util
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import onebasin
import onebasin_studies

PACKAGES = [Path(str(package.__file__)).parent for package in (onebasin, onebasin_studies)]


class Imports(ast.NodeVisitor):
    """Modules that a module imports, except for type checkers.

    Args:
        package: the package of the module.
        modules: names of all modules.
    """

    def __init__(self, package: str, modules: set[str]) -> None:
        self.package, self.modules = package, modules
        self.found: set[str] = set()

    def visit_If(self, node: ast.If) -> None:
        is_for_checkers = ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")
        for child in node.orelse if is_for_checkers else [node.test, *node.body, *node.orelse]:
            self.visit(child)

    def visit_Import(self, node: ast.Import) -> None:
        self.found |= {alias.name for alias in node.names} & self.modules

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        name = "." * node.level + (node.module or "")
        module = importlib.util.resolve_name(name, self.package)
        for alias in node.names:
            inner = f"{module}.{alias.name}"
            self.found |= {inner if inner in self.modules else module} & self.modules


def import_graph(packages: list[Path]) -> dict[str, set[str]]:
    """Return the modules that each module imports."""
    files: dict[str, Path] = {}
    for package in packages:
        for path in package.rglob("*.py"):
            parts = path.relative_to(package.parent).with_suffix("").parts
            files[".".join(parts).removesuffix(".__init__")] = path
    graph = {}
    for name, path in files.items():
        parent = name if path.stem == "__init__" else name.rpartition(".")[0]
        imports = Imports(parent, set(files))
        imports.visit(ast.parse(path.read_text(encoding="utf-8")))
        graph[name] = imports.found
    return graph


def cycle_of(graph: dict[str, set[str]]) -> list[str]:
    """Return the modules of a cycle, or nothing."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return error.args[1]
    return []


def test_there_are_no_import_cycles():
    graph = import_graph(PACKAGES)
    assert len(graph) > 200
    assert cycle_of(graph) == []


@pytest.mark.parametrize(
    ("text", "is_cycle"),
    [
        ("from toy.b import g", True),
        ("from toy import b", True),
        ("from . import b", True),
        ("import toy.b", True),
        ("def f():\n    from toy.b import g", True),
        ("if TYPE_CHECKING:\n    from toy.b import g", False),
        ("if TYPE_CHECKING:\n    pass\nelse:\n    import toy.b", True),
        ("import toy.c", False),
    ],
)
def test_cycles_are_found(tmp_path, text, is_cycle):
    package = tmp_path / "toy"
    package.mkdir()
    modules = {"__init__": "", "a": text, "b": "from toy.a import f", "c": "import json"}
    for name, content in modules.items():
        (package / f"{name}.py").write_text(content)
    cycle = cycle_of(import_graph([package]))
    assert set(cycle) == ({"toy.a", "toy.b"} if is_cycle else set())
