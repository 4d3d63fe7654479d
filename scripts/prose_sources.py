"""Prose of files: Markdown text, docstrings, comments, messages and names of tests."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

FENCE = re.compile(r"^( *)(```|~~~).*?^\1\2 *$", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"(`+)[^`]+\1|\]\([^)\s]*\)|https?://\S+")
LEAST_WORDS = 3
"""Strings with fewer words are names, not messages."""


@dataclass(frozen=True)
class Prose:
    """A piece of prose.

    Args:
        line: line number of its start.
        text: the text; code is replaced by other characters.
        is_docstring: whether the text is a docstring.
    """

    line: int
    text: str
    is_docstring: bool = False


def prose_of(path: Path) -> list[Prose]:
    """Return the prose of a Markdown or Python file.

    Strings of tests are not messages; of their files, only docstrings, comments and names of
    tests are returned.
    """
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".md":
        return [Prose(1, _without_code(FENCE.sub(_blank, text)))]
    tree = ast.parse(text)
    is_test = "tests" in path.parts
    pieces = [*_comments(text), *_docstrings(tree)]
    pieces += _test_names(tree) if is_test else _messages(tree)
    return [Prose(p.line, _without_code(p.text), p.is_docstring) for p in pieces]


def _blank(match: re.Match[str]) -> str:
    """Replace a match by dots that keep the line numbers."""
    return re.sub(r"[^\n]", ".", match[0])


def _without_code(text: str) -> str:
    return CODE.sub(_blank, text)


def _comments(text: str) -> Iterator[Prose]:
    """Yield comments; adjacent lines form one piece."""
    lines: list[str] = []
    start = previous = 0
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type != tokenize.COMMENT:
            continue
        if lines and token.start[0] == previous + 1:
            lines.append(token.string.lstrip("# "))
        else:
            yield from _joined(start, lines)
            start, lines = token.start[0], [token.string.lstrip("# ")]
        previous = token.start[0]
    yield from _joined(start, lines)


def _joined(start: int, lines: list[str]) -> Iterator[Prose]:
    if lines:
        yield Prose(start, "\n".join(lines))


def _docstrings(tree: ast.Module) -> Iterator[Prose]:
    """Yield docstrings, also those of constants."""
    for node in ast.walk(tree):
        if _is_docstring(node):
            text = node.value.value
            examples = re.sub(r"^ *(>>>|\.\.\.).*$", _blank, text, flags=re.MULTILINE)
            yield Prose(node.lineno, examples, is_docstring=True)


def _is_docstring(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def _messages(node: ast.AST) -> Iterator[Prose]:
    """Yield strings of several words, and f-strings without their values."""
    for child in ast.iter_child_nodes(node):
        if _is_docstring(child):
            continue
        if isinstance(child, ast.JoinedStr):
            parts = [p.value if isinstance(p, ast.Constant) else "`…`" for p in child.values]
            yield from _message(child.lineno, "".join(map(str, parts)))
            for part in child.values:
                yield from _messages(part) if isinstance(part, ast.FormattedValue) else ()
        elif isinstance(child, ast.Constant) and isinstance(child.value, str):
            yield from _message(child.lineno, child.value)
        else:
            yield from _messages(child)


def _message(line: int, text: str) -> Iterator[Prose]:
    if len(re.findall(r"[A-Za-z]{2,}", text)) >= LEAST_WORDS:
        yield Prose(line, text.replace("\n", " "))


def _test_names(tree: ast.Module) -> Iterator[Prose]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            yield Prose(node.lineno, node.name.removeprefix("test_").replace("_", " "))
