"""The architecture and the checkpoints of a command."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from onebasin.cli.option_groups import argument, option

Arch = Annotated[
    str,
    argument(
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
ArchAndOne = Annotated[list[str], argument("[ARCH] CHECKPOINT...", _POSITIONALS)]
ArchAndTwo = Annotated[list[str], argument("[ARCH] A B", _POSITIONALS)]
ArchAndTwoOrThree = Annotated[list[str], argument("[ARCH] A B [C]", _POSITIONALS)]
ArchAndSeveral = Annotated[list[str], argument("[ARCH] A B ...", _POSITIONALS)]
Output = Annotated[
    Path,
    option(
        "--output",
        "-o",
        metavar="OUT",
        help="Output: a .safetensors or .pt file, or a folder. An existing checkpoint file is "
        "replaced; inputs, other files and folders with files are not.",
    ),
]
ArchArgs = Annotated[
    list[str] | None,
    option(
        "--arch-arg",
        metavar="KEY=VALUE",
        help="Argument of the architecture, such as width=256; may be repeated.",
    ),
]
Keys = Annotated[
    list[str] | None,
    option(
        "--key",
        metavar="KEY",
        help="State dict to read from a file, such as model_ema or state_dict.encoder. Give it "
        "once for all checkpoints, or once for each. Default: the state dict of the model.",
    ),
]
Inputs = Annotated[
    list[str] | None,
    option(
        "--input",
        metavar="SHAPE",
        help="Shape of an example input, if ARCH has no default: 2x3x224x224, or "
        "ids=2x16:int64<1000.",
    ),
]


# This module evaluates its annotations: classes in other modules inherit the fields.
@dataclass(frozen=True)
class ArchitectureOptions:
    """How the architecture is built, and which state dicts are read."""

    arch_arg: ArchArgs = None
    input_: Inputs = None
    key: Keys = None

    def networks(
        self, call: str, words: Sequence[str], *, minimum: int = 2, maximum: int | None = None
    ) -> tuple[str, list[Path]]:
        """Return ARCH and the paths of the checkpoints.

        Args:
            call: the command, for messages.
            words: the positional arguments, `[ARCH] A B ...`.
            minimum: smallest number of checkpoints.
            maximum: largest number of checkpoints, or None.

        Raises:
            OneBasinError: as `split_positionals` does.
        """
        from onebasin.cli.positionals import split_positionals

        given = split_positionals(call, words, minimum=minimum, maximum=maximum)
        return given.model, list(given.paths)

    @property
    def keywords(self) -> dict[str, Any]:
        """The arguments of the library function."""
        return {"arch_args": self.arch_arg, "example_inputs": self.input_, "key": self.key}
