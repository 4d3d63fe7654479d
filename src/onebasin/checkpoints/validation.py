"""Validation of checkpoints before any long work."""

from collections.abc import Collection, Mapping, Sequence
from os import PathLike

import torch
from torch import Tensor, nn

from onebasin._dtypes import dtype_name
from onebasin._text import counted, some_names
from onebasin.checkpoints._lazy import TensorInfo, describe, label_of
from onebasin.checkpoints._missing_tensors import optional_names, saved_tensors, tied_names
from onebasin.errors import ArgumentError, OneBasinError

_CHUNK = 1 << 24


def check_finite(name: str, tensor: Tensor, path: str | PathLike[str]) -> None:
    """Check that a tensor has no NaN or infinite elements.

    Args:
        name: name of the tensor.
        tensor: any dense tensor.
        path: the file of the tensor, for messages.

    Raises:
        OneBasinError: some elements are not finite; the message has their numbers.
    """
    if tensor.numel() == 0 or not (tensor.is_floating_point() or tensor.is_complex()):
        return
    num_nan, num_inf = _count_not_finite(tensor.detach())
    if num_nan or num_inf:
        kinds = [f"{count} {kind}" for count, kind in ((num_nan, "NaN"), (num_inf, "Inf")) if count]
        raise OneBasinError(
            f"{path}: tensor {name!r} has {' and '.join(kinds)} among its {tensor.numel()} "
            "elements; use a checkpoint from before training diverged"
        )


def _count_not_finite(tensor: Tensor) -> tuple[int, int]:
    """Return the numbers of NaN and Inf, with bounded extra memory."""
    num_nan = num_inf = 0
    for chunk in tensor.reshape(-1).split(_CHUNK):
        if chunk.is_complex():
            chunk = torch.view_as_real(chunk.resolve_conj())
        elif chunk.dtype.itemsize == 1:
            chunk = chunk.float()  # float8 has no reductions
        low, high = torch.aminmax(chunk)
        if not (torch.isfinite(low) and torch.isfinite(high)):
            num_nan += int(chunk.isnan().sum())
            num_inf += int(chunk.isinf().sum())
    return num_nan, num_inf


def check_all_finite(params: Mapping[str, Tensor]) -> None:
    """Check that a checkpoint has no NaN or infinite elements, one tensor at a time.

    Args:
        params: a `Checkpoint` or any mapping of names to tensors.

    Raises:
        OneBasinError: a tensor has such elements.
    """
    for name in params:
        check_finite(name, params[name], label_of(params))


def require_matchable(name: str, tensor: Tensor | TensorInfo, path: str | PathLike[str]) -> None:
    """Check that the elements of a tensor can be compared by inner products.

    Args:
        name: name of the tensor.
        tensor: the tensor, or its shape and dtype.
        path: the file of the tensor, for messages.

    Raises:
        OneBasinError: its dtype is integer, boolean or complex, or it is quantized or sparse.
    """
    reason = None
    if isinstance(tensor, Tensor) and tensor.is_quantized:
        reason = "is quantized; dequantize the checkpoint"
    elif isinstance(tensor, Tensor) and tensor.layout != torch.strided:
        reason = "is sparse; convert it with .to_dense()"
    elif tensor.dtype.is_complex:
        reason = f"is complex ({dtype_name(tensor.dtype)}); store its real view instead"
    elif not tensor.dtype.is_floating_point:
        reason = f"is {dtype_name(tensor.dtype)}; dequantize or convert the checkpoint to float32"
    if reason:
        raise OneBasinError(f"{path}: weights must be dense floating-point, but {name!r} {reason}")


def check_same_architecture(
    params_a: Mapping[str, Tensor],
    params_b: Mapping[str, Tensor],
    *,
    ties: Sequence[Sequence[str]] = (),
    optional: Collection[str] = (),
) -> None:
    """Check that two checkpoints have equal names and shapes; dtypes may differ.

    Args:
        params_a: the reference, usually a `Checkpoint`.
        params_b: the other checkpoint.
        ties: names of tied tensors (see `tied_names`); one name of a group is enough.
        optional: names that only one of them may have (see `optional_names`).

    Raises:
        OneBasinError: a name is missing in one of them, or a shape differs.
    """
    label_a, label_b = _two_labels(params_a, params_b)
    only_a = _unmatched(params_a, params_b, ties, optional)
    only_b = _unmatched(params_b, params_a, ties, optional)
    parts = [
        f"{counted(len(names), 'tensor')} only in {where} ({some_names(names)})"
        for names, where in ((only_a, label_a), (only_b, label_b))
        if names
    ]
    if parts:
        raise ArgumentError(f"{' and '.join(parts)}; both must be the same architecture")
    for name in params_a:
        if name in params_b:
            shape_a, shape_b = describe(params_a, name).shape, describe(params_b, name).shape
            if shape_a != shape_b:
                raise ArgumentError(
                    f"tensor {name!r} is {shape_a} in {label_a} but {shape_b} in "
                    f"{label_b}; both must be the same architecture"
                )


def check_fits(params: Mapping[str, Tensor], module: nn.Module) -> None:
    """Check that a checkpoint fits an architecture.

    A tied tensor may be stored under any one of its names; under several, its values must be
    equal. Buffers that the module does not save, and counters of BatchNorm layers, may be
    missing.

    Args:
        params: the checkpoint.
        module: the architecture, on any device, meta included.

    Raises:
        OneBasinError: names are missing or unexpected, a shape differs, an integer or
            complex tensor replaces a floating-point one, or the
            names of a tied tensor have different values.
    """
    where = label_of(params)
    wanted = saved_tensors(module)
    ties = tied_names(module)
    missing = _unmatched(wanted, params, ties, optional_names(module))
    known = {**dict(module.named_buffers(remove_duplicate=False)), **wanted}
    unexpected = [name for name in params if name not in known]
    parts = [
        f"{counted(len(names), 'tensor')} {what} {where} ({some_names(names)})"
        for what, names in (("missing in", missing), ("unexpected in", unexpected))
        if names
    ]
    if parts:
        raise ArgumentError(f"{' and '.join(parts)}; {_names_remedy(params, wanted)}")
    for name in params:
        _check_tensor_fits(name, describe(params, name), known[name], where)
    for names in ties:
        _check_tie([name for name in names if name in params], params, where)


def _check_tie(names: Sequence[str], params: Mapping[str, Tensor], where: str) -> None:
    """Check that the names of a tied tensor have equal values."""
    for name in names[1:]:
        first, other = params[names[0]], params[name]
        if first is not other and not _equal_or_nan(first, other.to(first.dtype)):
            raise ArgumentError(
                f"{names[0]!r} and {name!r} differ in {where}, but they are one tensor in "
                "the architecture; build it without the tie (tie_word_embeddings=False in "
                "config.json of a Hugging Face folder), or remove one from the file"
            )


def _equal_or_nan(a: Tensor, b: Tensor) -> bool:
    """Return whether two tensors of one dtype are equal; NaN equals NaN."""
    if torch.equal(a, b) or a.shape != b.shape or not a.is_floating_point():
        return torch.equal(a, b)
    return torch.allclose(a.double(), b.double(), rtol=0, atol=0, equal_nan=True)


def _check_tensor_fits(name: str, info: TensorInfo, wanted: Tensor, where: str) -> None:
    if info.shape != tuple(wanted.shape):
        raise ArgumentError(
            f"tensor {name!r} is {info.shape} in {where} but {tuple(wanted.shape)} in "
            "the architecture; check the architecture's name and arguments"
        )
    if wanted.is_floating_point() and not info.dtype.is_floating_point:
        raise ArgumentError(
            f"tensor {name!r} is {dtype_name(info.dtype)} in {where} but floating-point "
            "in the architecture; convert the checkpoint to float32"
        )


def is_same_checkpoint(params_a: Mapping[str, Tensor], params_b: Mapping[str, Tensor]) -> bool:
    """Return whether two checkpoints have equal names, dtypes, shapes and values.

    Reads one tensor of each at a time and stops at the first difference.

    Args:
        params_a: one checkpoint.
        params_b: the other.

    Returns:
        True if nothing differs.
    """
    if params_a.keys() != params_b.keys():
        return False
    if any(describe(params_a, name) != describe(params_b, name) for name in params_a):
        return False
    return all(_equal(params_a[name], params_b[name]) for name in params_a)


def _equal(a: Tensor, b: Tensor) -> bool:
    return all(
        torch.equal(x, y)
        for x, y in zip(a.reshape(-1).split(_CHUNK), b.reshape(-1).split(_CHUNK), strict=True)
    )


def _two_labels(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> tuple[str, str]:
    label_a, label_b = label_of(a), label_of(b)
    return (label_a, label_b) if label_a != label_b else (f"{label_a} (A)", f"{label_b} (B)")


def _unmatched(
    names: Mapping[str, Tensor],
    others: Mapping[str, Tensor],
    ties: Sequence[Sequence[str]],
    optional: Collection[str],
) -> list[str]:
    """Return the required names that `others` lacks under every name of the tied tensor."""
    aliases = {name: group for group in ties for name in group}
    return [
        name
        for name in names
        if name not in others
        and name not in optional
        and not any(alias in others for alias in aliases.get(name, ()))
    ]


def _covering_prefix(params: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> str | None:
    """Return a prefix under which a checkpoint has all wanted names; it may have other tensors."""
    first = next(iter(wanted), None)
    ends = () if first is None else (name for name in params if name.endswith(f".{first}"))
    for end in ends:
        prefix = end.removesuffix(f".{first}")
        if all(f"{prefix}.{name}" in params for name in wanted):
            return prefix
    return None


def _names_remedy(params: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> str:
    prefix = _covering_prefix(params, wanted)
    if prefix:
        return f"pass key={prefix!r} to read only the tensors whose names begin with '{prefix}.'"
    if any(name in wanted for name in params):
        return "check the architecture's name and arguments"
    return (
        f"no name is common (the architecture has {some_names(wanted, limit=2)}); check the "
        "architecture's name, or rename the tensors"
    )
