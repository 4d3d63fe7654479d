"""Options: the arguments that commands share, each described once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Arch = Annotated[
    str,
    typer.Argument(
        metavar="ARCH",
        help="Architecture: torchvision:NAME, timm:NAME, hf:FOLDER, package.module:callable, or a "
        "built-in name such as mlp.",
        show_default=False,
    ),
]
_POSITIONALS = (
    "Checkpoints, the reference first: folders, or files (.safetensors, .pt, .pth, .bin, .th, "
    ".ckpt, .tar, .checkpoint, .model, .weights). ARCH is the architecture: torchvision:NAME, "
    "timm:NAME, hf:FOLDER, package.module:callable, or a built-in name such as mlp. Omit ARCH if "
    "the first checkpoint determines it: a folder with a config.json, or a .safetensors file "
    "that train, align, merge or demo wrote."
)
ArchAndOne = Annotated[
    list[str],
    typer.Argument(metavar="[ARCH] CHECKPOINT...", help=_POSITIONALS, show_default=False),
]
ArchAndTwo = Annotated[
    list[str],
    typer.Argument(metavar="[ARCH] A B", help=_POSITIONALS, show_default=False),
]
ArchAndTwoOrThree = Annotated[
    list[str],
    typer.Argument(metavar="[ARCH] A B [C]", help=_POSITIONALS, show_default=False),
]
ArchAndSeveral = Annotated[
    list[str],
    typer.Argument(metavar="[ARCH] A B ...", help=_POSITIONALS, show_default=False),
]
Output = Annotated[
    Path,
    typer.Option(
        "--output",
        "-o",
        metavar="OUT",
        help="Output: a .safetensors or .pt file, or a folder. Inputs are never replaced.",
        show_default=False,
    ),
]
ArchArgs = Annotated[
    list[str] | None,
    typer.Option(
        "--arch-arg",
        metavar="KEY=VALUE",
        help="Argument of the architecture, such as width=256; may be repeated.",
        show_default=False,
    ),
]
Keys = Annotated[
    list[str] | None,
    typer.Option(
        "--key",
        metavar="KEY",
        help="State dict to read from a file, such as model_ema or state_dict.encoder. Give it "
        "once for all checkpoints, or once for each. Default: the state dict of the model.",
        show_default=False,
    ),
]
Inputs = Annotated[
    list[str] | None,
    typer.Option(
        "--input",
        metavar="SHAPE",
        help="Shape of an example input, if ARCH has no default: 2x3x224x224, or "
        "ids=2x16:int64<1000.",
        show_default=False,
    ),
]
SymmetryFile = Annotated[
    Path | None,
    typer.Option(
        "--symmetry",
        metavar="FILE",
        help="Read the symmetry from a JSON file instead of tracing. The file is an output of "
        "inspect --save, or maps each tensor name to a group name or null per dimension.",
        show_default=False,
    ),
]
Prove = Annotated[
    bool,
    typer.Option(
        "--prove/--no-prove",
        help="Verify the symmetry on the model in float64 first, and drop groups that fail.",
    ),
]
PermutationFile = Annotated[
    Path | None,
    typer.Option(
        "--save-permutation",
        metavar="FILE",
        help="Also write the permutation (.safetensors).",
        show_default=False,
    ),
]
Restarts = Annotated[
    int | None,
    typer.Option(
        "--restarts",
        metavar="N",
        min=1,
        help="Number of restarts; the best result is used.",
        show_default="1",
    ),
]
MethodName = Annotated[
    str | None,
    typer.Option(
        "--method",
        metavar="NAME",
        help="Matching method. An unknown name lists the available ones. barrier, plane and "
        "features use combined only with --normalization reset, repair or rescale.",
        show_default="weights; combined with --data; many for three or more checkpoints",
    ),
]
MethodArgs = Annotated[
    list[str] | None,
    typer.Option(
        "--method-arg",
        metavar="KEY=VALUE",
        help="Option of the method, such as max_sweeps=20; may be repeated.",
        show_default=False,
    ),
]
Init = Annotated[
    str | None,
    typer.Option(
        "--init",
        metavar="NAME",
        help="Method to run first, with its defaults; its permutation initializes the search.",
        show_default=False,
    ),
]
DataRoot = Annotated[
    Path | None,
    typer.Option(
        "--data-root",
        metavar="DIR",
        help="Folder with one subfolder for each dataset.",
        show_default="the environment variable ONEBASIN_DATA",
    ),
]
Normalize = Annotated[
    str | None,
    typer.Option(
        "--normalize",
        metavar="none|MEAN,STD",
        help="Normalization of pixel values between 0 and 1: none, or means followed by standard "
        "deviations, such as 0.5,0.25.",
        show_default="the dataset's own, or the statistics of the training images",
    ),
]
ImageSize = Annotated[
    int | None,
    typer.Option(
        "--image-size",
        metavar="N",
        min=1,
        help="Scale and crop images to N x N pixels.",
        show_default=False,
    ),
]
LabelColumn = Annotated[
    str | None,
    typer.Option(
        "--label-column",
        metavar="NAME",
        help="Label column of a table.",
        show_default="label, target, class, ...",
    ),
]
TokenizerName = Annotated[
    str | None,
    typer.Option(
        "--tokenizer",
        metavar="NAME",
        help="Tokenizer of texts: bytes, or a transformers folder or name.",
        show_default="the tokenizer of an hf: folder; otherwise bytes",
    ),
]
Context = Annotated[
    int | None,
    typer.Option(
        "--context",
        metavar="N",
        min=1,
        help="Number of tokens per text, or per block of text for a language model.",
        show_default="128",
    ),
]
NumTrain = Annotated[
    int | None,
    typer.Option(
        "--num-train",
        metavar="N",
        min=1,
        help="Use N training examples, drawn at random with --seed.",
        show_default="all",
    ),
]
NumTrainFixed = Annotated[
    int | None,
    typer.Option(
        "--num-train",
        metavar="N",
        min=1,
        help="Train on N examples, drawn at random. All seeds use the same examples.",
        show_default="all",
    ),
]
NumTest = Annotated[
    int | None,
    typer.Option(
        "--num-test",
        metavar="N",
        min=1,
        help="Evaluate on N test examples, drawn at random.",
        show_default="all",
    ),
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
    typer.Option(
        "--data",
        metavar="DATA",
        help="Data for matching, such as digits or a file. The default method then uses weights "
        "and features together.",
        show_default=False,
    ),
]
MergingData = Annotated[
    str | None,
    typer.Option(
        "--data",
        metavar="DATA",
        help="Data for matching and repair, such as digits or a file. By default, two networks "
        "are then matched by weights and features, and the average is repaired.",
        show_default=False,
    ),
]
Seed = Annotated[
    int,
    typer.Option("--seed", metavar="N", min=0, help="Random seed. Equal seeds give equal results."),
]
Json = Annotated[bool, typer.Option("--json", help="Print only the result, as JSON, to stdout.")]
Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", help="Print only errors (and JSON with --json).")
]
