"""Messages of the library in the words of the command line.

The library names arguments, such as `verify=False`; the command line has options, such as
`--no-verify`.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from typing import Any

OPTIONS = {
    "align": "--align",
    "arch_args": "--arch-arg",
    "baseline": "--baseline",
    "batch_size": "--batch-size",
    "context": "--context",
    "data": "--data",
    "ensemble": "--ensemble",
    "evaluate": "--evaluate",
    "example_inputs": "--input",
    "heads": "--heads",
    "image_size": "--image-size",
    "init": "--init",
    "key": "--key",
    "label_column": "--label-column",
    "layer": "--layer",
    "margin": "--margin",
    "max_test_examples": "--max-test-examples",
    "max_train_examples": "--max-train-examples",
    "measure": "--measure",
    "meta": "--meta",
    "method": "--method",
    "method_options": "--method-arg",
    "model": "ARCH",
    "normalization": "--normalization",
    "normalize": "--normalize",
    "num_points": "--num-points",
    "output": "--output",
    "permutation": "--permutation",
    "plot": "--plot",
    "quantity": "--quantity",
    "classes": "--classes",
    "repair": "--repair",
    "restarts": "--restarts",
    "root": "--data-root",
    "save": "--save",
    "save_permutation": "--save-permutation",
    "seed": "--seed",
    "shows_all": "--all",
    "size": "--size",
    "split": "--split",
    "symmetry": "--symmetry",
    "tokenizer": "--tokenizer",
    "tune_norms": "--tune-norms",
    "verify": "--verify",
    "weights": "--weights",
}
"""Options of the command line by the names of arguments of the library."""

_VALUE = r"(?P<switch>True|False)\b|'(?P<text>[^']*)'|\"(?P<other>[^\"]*)\"|\[(?P<items>[^\]]*)\]"
_ARGUMENT = re.compile(
    rf"(?<![\w.\-'\"/])(?P<name>{'|'.join(OPTIONS)})=(?:{_VALUE})?(?=[\s,;.:)]|$)"
)


def as_options(text: str) -> str:
    """Replace names of the library in a message by those of the command line.

    Examples:
        >>> as_options("repair='none' has no effect with align=False; remove data=")
        '--repair none has no effect with --no-align; remove --data'
        >>> as_options("example_inputs= is missing; pass a shape, such as example_inputs='2x9<50'")
        "--input is missing; pass a shape, such as --input '2x9<50'"
        >>> as_options("pass others, such as weights=[0.7, 0.3]")
        'pass others, such as --weights 0.7,0.3'
    """
    text = re.sub(r"^compare_features:", "compare-features:", text)
    text = re.sub(r"^compare_features:", "compare-features:", text)
    return _ARGUMENT.sub(_option, text)


def _option(match: re.Match[str]) -> str:
    option = OPTIONS[match["name"]]
    if match["switch"] == "False":
        return option.replace("--", "--no-", 1)
    if match["items"] is not None:
        return f"{option} {match['items'].replace(' ', '')}"
    text = match["other"] if match["text"] is None else match["text"]
    return option if text is None else f"{option} {shlex.quote(text)}"


_EXPECTED = {
    "greater_than_equal": "at least {ge:g}",
    "greater_than": "greater than {gt:g}",
    "less_than_equal": "at most {le:g}",
    "less_than": "less than {lt:g}",
    "int_parsing": "a whole number",
    "float_parsing": "a number",
    "finite_number": "finite",
}
"""Valid values of an option, by the kind of the error of pydantic, which typer uses."""


def usage_text(error: Exception) -> str | None:
    """Return the message of typer for bad usage, in plain words; None for other errors.

    Args:
        error: any exception.
    """
    usage = getattr(error, "format_message", None)
    if not callable(usage):
        return None
    text = str(usage())
    details = getattr(error.__cause__ or error.__context__, "errors", None)
    if callable(details):
        detail: Any = details()
        text = text.replace(str(getattr(error, "message", "")), _problem(detail[0]))
    return text.rstrip(". ")


def _problem(detail: Mapping[str, Any]) -> str:
    """Return what is wrong with the value of an option, from an error of pydantic."""
    context = detail.get("ctx", {})
    if detail["type"] == "value_error":
        return str(context["error"])
    expected = _EXPECTED.get(detail["type"])
    if expected is None:
        return str(detail["msg"])
    return f"{detail['input']!r}; it must be {expected.format(**context)}"
