"""Options: the arguments that commands share, each described once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer


def _option(
    *names: str, metavar: str, help: str, default: str | bool = False, least: int | None = None
) -> Any:
    """Declare an option with a value.

    Args:
        *names: the long name, and perhaps a short one.
        metavar: the value in the help text.
        help: the description.
        default: text of the default in the help text; True shows the value, False nothing.
        least: the smallest number, or None.
    """
    return typer.Option(*names, metavar=metavar, help=help, show_default=default, min=least)


def _count(name: str, help: str, default: str | bool = False) -> Any:
    """Declare an option whose value is a number of at least 1."""
    return _option(name, metavar="N", help=help, default=default, least=1)


def _argument(metavar: str, help: str) -> Any:
    return typer.Argument(metavar=metavar, help=help, show_default=False)


Arch = Annotated[
    str,
    _argument(
        "ARCH",
        "Architecture: torchvision:NAME, timm:NAME, hf:FOLDER, package.module:callable, or a "
        "built-in name such as mlp.",
    ),
]
_POSITIONALS = (
    "Checkpoints, the reference first: folders, or files (.safetensors, .pt, .pth, .bin, .th, "
    ".ckpt, .tar, .checkpoint, .model, .weights). ARCH is the architecture: torchvision:NAME, "
    "timm:NAME, hf:FOLDER, package.module:callable, or a built-in name such as mlp. Omit ARCH if "
    "the first checkpoint determines it: a folder with a config.json, or a .safetensors file "
    "that train, align, merge or demo wrote."
)
ArchAndOne = Annotated[list[str], _argument("[ARCH] CHECKPOINT...", _POSITIONALS)]
ArchAndTwo = Annotated[list[str], _argument("[ARCH] A B", _POSITIONALS)]
ArchAndTwoOrThree = Annotated[list[str], _argument("[ARCH] A B [C]", _POSITIONALS)]
ArchAndSeveral = Annotated[list[str], _argument("[ARCH] A B ...", _POSITIONALS)]
Output = Annotated[
    Path,
    _option(
        "--output",
        "-o",
        metavar="OUT",
        help="Output: a .safetensors or .pt file, or a folder. Inputs are never replaced.",
    ),
]
ArchArgs = Annotated[
    list[str] | None,
    _option(
        "--arch-arg",
        metavar="KEY=VALUE",
        help="Argument of the architecture, such as width=256; may be repeated.",
    ),
]
Keys = Annotated[
    list[str] | None,
    _option(
        "--key",
        metavar="KEY",
        help="State dict to read from a file, such as model_ema or state_dict.encoder. Give it "
        "once for all checkpoints, or once for each. Default: the state dict of the model.",
    ),
]
Inputs = Annotated[
    list[str] | None,
    _option(
        "--input",
        metavar="SHAPE",
        help="Shape of an example input, if ARCH has no default: 2x3x224x224, or "
        "ids=2x16:int64<1000.",
    ),
]
SymmetryFile = Annotated[
    Path | None,
    _option(
        "--symmetry",
        metavar="FILE",
        help="Read the symmetry from a JSON file instead of tracing. The file is an output of "
        "inspect --save, or maps each tensor name to a group name or null per dimension.",
    ),
]
Verify = Annotated[
    bool,
    typer.Option(
        "--verify/--no-verify",
        help="Verify the symmetry on the model in float64 first, and drop groups that fail.",
    ),
]
PermutationFile = Annotated[
    Path | None,
    _option(
        "--save-permutation",
        metavar="FILE",
        help="Also write the permutation (.safetensors).",
    ),
]
Restarts = Annotated[
    int | None, _count("--restarts", "Number of restarts; the best result is used.", "1")
]
MethodName = Annotated[
    str | None,
    _option(
        "--method",
        metavar="NAME",
        help="Matching method. An unknown name lists the available ones. barrier, plane and "
        "features use combined only with --normalization reset, repair or rescale.",
        default="weights; combined with --data; many for three or more checkpoints",
    ),
]
MethodArgs = Annotated[
    list[str] | None,
    _option(
        "--method-arg",
        metavar="KEY=VALUE",
        help="Option of the method, such as max_sweeps=20; may be repeated.",
    ),
]
Init = Annotated[
    str | None,
    _option(
        "--init",
        metavar="NAME",
        help="Method to run first, with its defaults; its permutation initializes the search.",
    ),
]
DataRoot = Annotated[
    Path | None,
    _option(
        "--data-root",
        metavar="DIR",
        help="Folder with one subfolder for each dataset.",
        default="the environment variable ONEBASIN_DATA",
    ),
]
Normalize = Annotated[
    str | None,
    _option(
        "--normalize",
        metavar="none|MEAN,STD",
        help="Normalization of pixel values between 0 and 1: none, or means followed by standard "
        "deviations, such as 0.5,0.25.",
        default="the dataset's own, or the statistics of the training images",
    ),
]
ImageSize = Annotated[int | None, _count("--image-size", "Scale and crop images to N x N pixels.")]
LabelColumn = Annotated[
    str | None,
    _option(
        "--label-column",
        metavar="NAME",
        help="Label column of a table.",
        default="label, target, class, ...",
    ),
]
TokenizerName = Annotated[
    str | None,
    _option(
        "--tokenizer",
        metavar="NAME",
        help="Tokenizer of texts: bytes, or a transformers folder or name.",
        default="the tokenizer of an hf: folder; otherwise bytes",
    ),
]
Context = Annotated[
    int | None,
    _count(
        "--context", "Number of tokens per text, or per block of text for a language model.", "128"
    ),
]
MaxTrainExamples = Annotated[
    int | None,
    _count("--max-train-examples", "Use N training examples, drawn at random with --seed.", "all"),
]
MaxTrainExamplesFixed = Annotated[
    int | None,
    _count(
        "--max-train-examples",
        "Train on N examples, drawn at random. All seeds use the same examples.",
        "all",
    ),
]
MaxTestExamples = Annotated[
    int | None,
    _count("--max-test-examples", "Evaluate on N test examples, drawn at random.", "all"),
]
Evaluate = Annotated[
    bool,
    typer.Option(
        "--evaluate/--no-evaluate",
        help="With --data, also print the loss and error of all networks. This takes one pass "
        "over the test examples for each network.",
    ),
]
MethodData = Annotated[
    str | None,
    _option(
        "--data",
        metavar="DATA",
        help="Data for matching, such as digits or a file. The default method then uses weights "
        "and features together.",
    ),
]
MergingData = Annotated[
    str | None,
    _option(
        "--data",
        metavar="DATA",
        help="Data for matching and repair, such as digits or a file. By default, two networks "
        "are then matched by weights and features, and the average is repaired.",
    ),
]
Seed = Annotated[
    int,
    _option(
        "--seed",
        metavar="N",
        help="Random seed. Equal seeds give equal results.",
        default=True,
        least=0,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print only the result, as JSON, to stdout.")]
Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", help="Print only errors (and JSON with --json).")
]
DataName = Annotated[
    str,
    typer.Option(
        "--data",
        metavar="DATA",
        help="Data to evaluate on: a name such as digits, a file, a folder, or "
        "package.module:callable.",
        show_default=False,
    ),
]
NormalizationName = Annotated[
    Literal["interpolated", "reset"],
    typer.Option(
        "--normalization",
        help="BatchNorm statistics between the checkpoints: interpolated, or recomputed from "
        "training data (reset).",
    ),
]
LineNormalizationName = Annotated[
    Literal["interpolated", "reset", "repair", "rescale"],
    typer.Option(
        "--normalization",
        help="Statistics between the checkpoints: interpolate BatchNorm statistics, recompute "
        "them from training data (reset), or repair or rescale all units.",
    ),
]
TableFile = Annotated[
    Path | None,
    typer.Option(
        "--save",
        metavar="FILE",
        help="Write all numbers as rows of a table (.csv or .json).",
        show_default=False,
    ),
]
