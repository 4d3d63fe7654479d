"""Options: the arguments that commands share, each described once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Arch = Annotated[
    str,
    typer.Argument(
        metavar="ARCH",
        help="torchvision:NAME, timm:NAME, hf:FOLDER, package.module:callable, or a "
        "built-in one such as mlp.",
        show_default=False,
    ),
]
_POSITIONALS = (
    "Checkpoints, the reference first: .safetensors, .pt, .pth, .bin, .th or a folder. Before "
    "them the architecture: torchvision:NAME, timm:NAME, hf:FOLDER, package.module:callable or a "
    "built-in one such as mlp. ARCH can be omitted where A determines it: a folder with a "
    "config.json, or a file that train wrote."
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
        help="Where to write: .safetensors, .pt, or a folder. Never one of the inputs.",
        show_default=False,
    ),
]
ArchArgs = Annotated[
    list[str] | None,
    typer.Option(
        "--arch-arg",
        metavar="KEY=VALUE",
        help="Argument for the architecture, such as width=256; may be repeated.",
        show_default=False,
    ),
]
Keys = Annotated[
    list[str] | None,
    typer.Option(
        "--key",
        metavar="KEY",
        help="Which state dict of a file to read, such as model_ema or state_dict.encoder; once "
        "for all checkpoints, or once for each. Default: the one of the model.",
        show_default=False,
    ),
]
Inputs = Annotated[
    list[str] | None,
    typer.Option(
        "--input",
        metavar="SHAPE",
        help="Example input where the source gives none: 2x3x224x224, or ids=2x16:int64<1000.",
        show_default=False,
    ),
]
SymmetryFile = Annotated[
    Path | None,
    typer.Option(
        "--symmetry",
        metavar="FILE",
        help="Take the symmetry from a JSON file instead of tracing: one that inspect --save "
        "wrote, or a mapping of tensor name to a group name or null per dimension.",
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
        help="Also write the permutation found (.safetensors).",
        show_default=False,
    ),
]
Restarts = Annotated[
    int | None,
    typer.Option(
        "--restarts",
        metavar="N",
        min=1,
        help="Starts of the matching; the best one counts.",
        show_default="1",
    ),
]
MethodName = Annotated[
    str | None,
    typer.Option(
        "--method",
        metavar="NAME",
        help="How to match; a NAME that there is not lists those that there are.",
        show_default="weights; with data combined, but where statistics are interpolated; "
        "for more than two many",
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
        help="Method to run first, with its defaults: the search starts from its permutation.",
        show_default=False,
    ),
]
DataRoot = Annotated[
    Path | None,
    typer.Option(
        "--data-root",
        metavar="DIR",
        help="Folder with a folder for each dataset; else ONEBASIN_DATA.",
        show_default=False,
    ),
]
Normalize = Annotated[
    str | None,
    typer.Option(
        "--normalize",
        metavar="none|MEAN,STD",
        help="Normalization of pixels, which are 0 to 1: none, or means and then standard "
        "deviations, such as 0.5,0.25.",
        show_default="of the dataset, or of the training images",
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
        help="Column with the labels, of a table.",
        show_default="label, target, class, ...",
    ),
]
TokenizerName = Annotated[
    str | None,
    typer.Option(
        "--tokenizer",
        metavar="NAME",
        help="Tokenizer of texts: bytes, or a folder or name of transformers.",
        show_default="that of an hf: folder; else bytes",
    ),
]
Context = Annotated[
    int | None,
    typer.Option(
        "--context",
        metavar="N",
        min=1,
        help="Tokens of a text, or of a block of text for a language model.",
        show_default="128",
    ),
]
NumTrain = Annotated[
    int | None,
    typer.Option(
        "--num-train",
        metavar="N",
        min=1,
        help="Use N of the training examples, drawn by the seed.",
        show_default="all",
    ),
]
NumTest = Annotated[
    int | None,
    typer.Option(
        "--num-test",
        metavar="N",
        min=1,
        help="Evaluate on N of the test examples.",
        show_default="all",
    ),
]
Evaluate = Annotated[
    bool,
    typer.Option(
        "--evaluate/--no-evaluate",
        help="With --data, also print the loss and error of all networks: one pass over the test "
        "examples for each.",
    ),
]
MethodData = Annotated[
    str | None,
    typer.Option(
        "--data",
        metavar="DATA",
        help="Data to match with, such as digits or a file: by weights and features together, "
        "unless --method says otherwise.",
        show_default=False,
    ),
]
MergingData = Annotated[
    str | None,
    typer.Option(
        "--data",
        metavar="DATA",
        help="Data to match and repair with, such as digits or a file; with it two networks are "
        "matched by weights and features and the mean is repaired, unless --method and "
        "--repair say otherwise.",
        show_default=False,
    ),
]
Seed = Annotated[int, typer.Option("--seed", metavar="N", min=0, help="Same seed, same result.")]
Json = Annotated[
    bool, typer.Option("--json", help="Print the result as JSON, and nothing else, to stdout.")
]
Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", help="Print errors only (and JSON where asked for).")
]
