"""Example inputs of architectures: parsing of their shapes, and random tensors."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from onebasin._dtypes import dtype_name
from onebasin.errors import OneBasinError

_PATTERN = re.compile(
    r"(?:(?P<keyword>[A-Za-z_]\w*)=)?(?P<shape>\d+(?:x\d+)*)(?::(?P<dtype>\w+))?(?:<(?P<bound>\d+))?"
)
_EXAMPLES = "2x3x224x224, 2x16:int64<1000 or input_ids=2x16:int64<1000"


@dataclass(frozen=True)
class InputSpec:
    """Shape, dtype and integer range of one input of a model.

    Args:
        shape: size of every dimension, the batch first.
        dtype: dtype; None for that of the parameters of the model.
        low: smallest integer value.
        high: exclusive upper bound of integer values.
        keyword: name of the keyword argument, or None for a positional input.
    """

    shape: tuple[int, ...]
    dtype: torch.dtype | None = None
    low: int = 0
    high: int = 2
    keyword: str | None = None


def parse_input_spec(text: str | Sequence[str]) -> tuple[InputSpec, ...]:
    """Return the inputs that a text such as `[NAME=]SHAPE[:DTYPE][<BOUND],...` specifies.

    Integers without a bound are 0 or 1, which any vocabulary has. A bound without a dtype
    implies int64.

    Args:
        text: one text, or one text for each input.

    Returns:
        One specification per input.

    Raises:
        OneBasinError: a text does not match the pattern.

    Examples:
        >>> parse_input_spec("2x16<1000")
        (InputSpec(shape=(2, 16), dtype=torch.int64, low=0, high=1000, keyword=None),)
    """
    texts = text.split(",") if isinstance(text, str) else [p for t in text for p in t.split(",")]
    if len(texts) > 1 and all(part.strip().isdecimal() for part in texts):
        raise OneBasinError(
            f"example_inputs={','.join(texts)!r}: {len(texts)} inputs of one dimension; join the "
            f"sizes of one input with x, such as {'x'.join(part.strip() for part in texts)}"
        )
    specs = tuple(_parse_one(part.strip()) for part in texts)
    keywords = [spec.keyword for spec in specs if spec.keyword]
    if len(set(keywords)) != len(keywords):
        raise OneBasinError(
            f"example_inputs={','.join(texts)!r}: an input is named twice; name it once"
        )
    return specs


def _parse_one(text: str) -> InputSpec:
    match = _PATTERN.fullmatch(text)
    if match is None:
        raise OneBasinError(f"example_inputs={text!r}: expected a shape such as {_EXAMPLES}")
    shape = tuple(int(size) for size in match["shape"].split("x"))
    dtype = _parse_dtype(match["dtype"], text) if match["dtype"] else None
    if 0 in shape:
        raise OneBasinError(f"example_inputs={text!r}: every size must be at least 1")
    if match["bound"] is None:
        return InputSpec(shape, dtype, keyword=match["keyword"])
    dtype = dtype or torch.int64
    if dtype.is_floating_point or dtype == torch.bool or int(match["bound"]) < 1:
        raise OneBasinError(
            f"example_inputs={text!r}: a bound must be at least 1 and requires an integer "
            "dtype, such as int64"
        )
    return InputSpec(shape, dtype, high=int(match["bound"]), keyword=match["keyword"])


def _parse_dtype(name: str, text: str) -> torch.dtype:
    dtype = getattr(torch, name, None)
    if not isinstance(dtype, torch.dtype) or dtype.is_complex or dtype.itemsize < 1:
        raise OneBasinError(
            f"example_inputs={text!r}: unknown dtype {name!r}; expected float32, bfloat16, int64, "
            "bool or another of torch's real dtypes"
        )
    return dtype


def make_inputs(
    specs: Sequence[InputSpec], *, dtype: torch.dtype, device: torch.device | str, seed: int
) -> tuple[tuple[Tensor, ...], dict[str, Tensor]]:
    """Return random inputs: normal numbers, uniform integers, or fair booleans.

    Args:
        specs: specification of each input.
        dtype: dtype of inputs without a specified one.
        device: device of the tensors; those on meta have no values.
        seed: random seed.

    Returns:
        Positional inputs and keyword inputs.
    """
    generator = torch.Generator().manual_seed(seed)
    tensors = [_make(spec, spec.dtype or dtype, device, generator) for spec in specs]
    pairs = list(zip(specs, tensors, strict=True))
    args = tuple(tensor for spec, tensor in pairs if spec.keyword is None)
    return args, {spec.keyword: tensor for spec, tensor in pairs if spec.keyword is not None}


def _make(
    spec: InputSpec, dtype: torch.dtype, device: torch.device | str, generator: torch.Generator
) -> Tensor:
    if torch.device(device).type == "meta":
        return torch.empty(spec.shape, dtype=dtype, device=device)
    if dtype.is_floating_point:
        values = torch.randn(spec.shape, generator=generator)
    elif dtype == torch.bool:
        values = torch.rand(spec.shape, generator=generator) < 0.5
    else:
        assert spec.low < spec.high, f"no {dtype_name(dtype)} between {spec.low} and {spec.high}"
        values = torch.randint(spec.low, spec.high, spec.shape, generator=generator)
    return values.to(device=device, dtype=dtype)
