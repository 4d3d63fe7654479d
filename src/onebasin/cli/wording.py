"""Messages of the library in the words of the command line.

The library names arguments, such as `verify=False`; the command line has options, such as
`--no-verify`.
"""

from __future__ import annotations

import re

OPTIONS = {
    "align": "--align",
    "arch_args": "--arch-arg",
    "batch_size": "--batch-size",
    "context": "--context",
    "data": "--data",
    "ensemble": "--ensemble",
    "evaluate": "--evaluate",
    "example_inputs": "--input",
    "image_size": "--image-size",
    "init": "--init",
    "key": "--key",
    "label_column": "--label-column",
    "layer": "--layer",
    "measure": "--measure",
    "meta": "--meta",
    "method": "--method",
    "model": "ARCH",
    "normalization": "--normalization",
    "normalize": "--normalize",
    "max_test_examples": "--max-test-examples",
    "max_train_examples": "--max-train-examples",
    "output": "--output",
    "permutation": "--permutation",
    "repair": "--repair",
    "restarts": "--restarts",
    "root": "--data-root",
    "save_permutation": "--save-permutation",
    "split": "--split",
    "symmetry": "--symmetry",
    "tokenizer": "--tokenizer",
    "verify": "--verify",
}
_ARGUMENT = re.compile(
    rf"(?<![\w.\-'\"/])({'|'.join(OPTIONS)})=(?:(True|False)\b|'([^'\s]*)')?(?=[\s,;.:)]|$)"
)


def as_options(text: str) -> str:
    """Replace names of the library in a message by those of the command line.

    Example:
        >>> as_options("repair='none' has no effect with align=False; remove data=")
        '--repair none has no effect with --no-align; remove --data'
    """
    return _ARGUMENT.sub(_option, text).replace("compare_features:", "compare-features:")


def _option(match: re.Match[str]) -> str:
    option, switch, value = OPTIONS[match[1]], match[2], match[3]
    if switch == "False":
        return option.replace("--", "--no-", 1)
    return option if value is None else f"{option} {value}"
