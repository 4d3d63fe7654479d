"""`KEY=VALUE` arguments: values and errors."""

from typing import Any

import pytest

from onebasin.checkpoints._arguments import parse_arguments
from onebasin.errors import OneBasinError


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3),
        ("-1", -1),
        ("0.5", 0.5),
        ("1e-3", 0.001),
        ("true", True),
        ("True", True),
        ("false", False),
        ("none", None),
        ("None", None),
        ("null", None),
        ("(2, 3)", (2, 3)),
        ("[1, 2]", [1, 2]),
        ('{"a": true}', {"a": True}),
        ("batch", "batch"),
        ("'3'", "3"),
        ("a=b", "a=b"),
        ("", ""),
        ("2x3", "2x3"),
        ("[1, 2", "[1, 2"),
        ("__import__('os')", "__import__('os')"),
    ],
)
def test_values(text: str, value: Any) -> None:
    parsed = parse_arguments([f"key={text}"])["key"]
    assert parsed == value
    assert type(parsed) is type(value)


def test_mapping_is_copied() -> None:
    given = {"depth": 3}
    parsed = parse_arguments(given)
    assert parsed == given
    assert parsed is not given


def test_no_arguments() -> None:
    assert parse_arguments(None) == parse_arguments([]) == {}


@pytest.mark.parametrize("text", ["depth", "=3", "3=3", "a b=3", "a-b=3"])
def test_a_missing_key_raises(text: str) -> None:
    with pytest.raises(OneBasinError, match=rf"arch_args='{text}': expected KEY=VALUE with a nam"):
        parse_arguments([text])


def test_a_repeated_key_raises() -> None:
    with pytest.raises(OneBasinError, match="arch_args='depth=4': 'depth' is given twice"):
        parse_arguments(["depth=3", "depth=4"])
