"""Validation of checkpoints: accepted values and errors."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from onebasin.checkpoints import (
    Checkpoint,
    TensorInfo,
    check_all_finite,
    check_finite,
    check_fits,
    check_same_architecture,
    is_same_checkpoint,
    open_checkpoint,
    require_matchable,
)
from onebasin.errors import OneBasinError

NAN, INF = float("nan"), float("inf")
FLOATS = [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.float8_e5m2]


def save(path: Path, tensors: dict[str, Tensor]) -> Checkpoint:
    save_file(tensors, path)
    return open_checkpoint(path)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_errors_count_nan_and_inf(dtype: torch.dtype) -> None:
    tensor = torch.tensor([[1.0, NAN, 2.0], [INF, -INF, 0.0]]).to(dtype)
    text = r"a\.pt: tensor 'w' has 1 NaN and 2 Inf among its 6 elements; use a checkpoint from"
    with pytest.raises(OneBasinError, match=text):
        check_finite("w", tensor, "a.pt")


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ([NAN, 1.0], "has 1 NaN among its 2"),
        ([1.0, -INF], "has 1 Inf among its 2"),
        ([1.0, INF], "has 1 Inf among its 2"),
    ],
)
def test_errors_name_only_the_present_kinds(values: list[float], text: str) -> None:
    with pytest.raises(OneBasinError, match=text):
        check_finite("w", torch.tensor(values), "a.pt")


def test_complex_parts_are_checked() -> None:
    check_finite("w", torch.ones(2, dtype=torch.complex64).conj(), "a.pt")
    with pytest.raises(OneBasinError, match="'w' has 1 NaN"):
        check_finite("w", torch.tensor([complex(1, NAN)]), "a.pt")


@pytest.mark.parametrize(
    "tensor",
    [
        torch.tensor(5),
        torch.zeros(0),
        torch.tensor([True]),
        torch.full((3,), torch.finfo(torch.float16).max, dtype=torch.float16),
        torch.full((4,), torch.finfo(torch.float32).max),
        torch.ones(3).to(torch.float8_e4m3fn),
        torch.tensor(2.0),
        torch.ones(4, 4).t()[::2],
    ],
    ids=["int", "empty", "bool", "half", "single", "float8", "scalar", "view"],
)
def test_finite_tensors_pass(tensor: Tensor) -> None:
    check_finite("w", tensor, "a.pt")


def test_the_last_element_of_a_long_tensor_is_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onebasin.checkpoints.validation._CHUNK", 4)
    tensor = torch.ones(10)
    tensor[9] = NAN
    with pytest.raises(OneBasinError, match="has 1 NaN among its 10"):
        check_finite("w", tensor, "a.pt")
    other = tensor.clone()
    assert not is_same_checkpoint({"w": torch.ones(10)}, {"w": other})


def test_all_tensors_of_a_checkpoint_are_checked(tmp_path: Path) -> None:
    good = {"a": torch.ones(2), "steps": torch.tensor(3)}
    with save(tmp_path / "a.safetensors", good) as checkpoint:
        check_all_finite(checkpoint)
    with save(tmp_path / "b.safetensors", good | {"z": torch.tensor([INF])}) as checkpoint:
        with pytest.raises(OneBasinError, match=r"b\.safetensors: tensor 'z' has 1 Inf"):
            check_all_finite(checkpoint)
    with pytest.raises(OneBasinError, match="the parameters: tensor 'z'"):
        check_all_finite({"z": torch.tensor([NAN])})


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_floating_point_is_matchable(dtype: torch.dtype) -> None:
    require_matchable("w", torch.ones(2).to(dtype), "a.pt")
    require_matchable("w", TensorInfo((2,), dtype), "a.pt")


@pytest.mark.parametrize(
    ("tensor", "text"),
    [
        (torch.ones(2, dtype=torch.int8), "'w' is int8; dequantize or convert"),
        (torch.ones(2, dtype=torch.bool), "'w' is bool; dequantize or convert"),
        (torch.ones(2, dtype=torch.complex64), r"'w' is complex \(complex64\)"),
        (torch.eye(2).to_sparse(), "'w' is sparse; convert it with .to_dense"),
        (TensorInfo((2,), torch.int64), "'w' is int64"),
        (TensorInfo((2,), torch.complex128), "complex128"),
    ],
)
def test_other_tensors_are_not_matchable(tensor: Tensor | TensorInfo, text: str) -> None:
    with pytest.raises(OneBasinError, match=rf"a\.pt: weights must be dense floating-.*{text}"):
        require_matchable("w", tensor, "a.pt")


def test_other_dtypes_are_accepted(tmp_path: Path) -> None:
    a = save(tmp_path / "a.safetensors", {"w": torch.ones(2, 3), "b": torch.ones(2)})
    b = save(tmp_path / "b.safetensors", {"b": torch.zeros(2).half(), "w": torch.zeros(2, 3)})
    check_same_architecture(a, b)


def test_a_different_shape_raises() -> None:
    a, b = {"conv1.weight": torch.ones(64, 3, 7, 7)}, {"conv1.weight": torch.ones(128, 3, 7, 7)}
    text = (
        r"^tensor 'conv1\.weight' is \(64, 3, 7, 7\) in the parameters \(A\) but "
        r"\(128, 3, 7, 7\) in the parameters \(B\); both must be the same architecture$"
    )
    with pytest.raises(OneBasinError, match=text):
        check_same_architecture(a, b)


def test_different_names_raise(tmp_path: Path) -> None:
    a = save(
        tmp_path / "a.safetensors",
        {name: torch.ones(1) for name in ["w", "x0", "x1", "x2", "x3", "x4"]},
    )
    b = save(tmp_path / "b.safetensors", {"w": torch.ones(1), "y": torch.ones(1)})
    text = (
        r"^5 tensors only in .*a\.safetensors \('x0', 'x1', 'x2' and 2 more\) and "
        r"1 tensor only in .*b\.safetensors \('y'\); both must be the same architecture$"
    )
    with pytest.raises(OneBasinError, match=text):
        check_same_architecture(a, b)
    with pytest.raises(OneBasinError, match=r"1 tensor only in .*b\.safetensors \('y'\);"):
        check_same_architecture({"w": torch.ones(1)}, b)


def test_tied_tensor_may_be_stored_once() -> None:
    a = {"embed": torch.ones(2), "head": torch.ones(2)}
    b = {"head": torch.ones(2)}
    check_same_architecture(a, b, ties=[("embed", "head")])
    check_same_architecture(b, a, ties=[("embed", "head")])
    with pytest.raises(OneBasinError, match="1 tensor only in"):
        check_same_architecture(a, b)


class Tied(nn.Module):
    """A tied pair, a saved buffer and one that is not saved."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(5, 3)
        self.norm = nn.BatchNorm1d(3)
        self.head = nn.Linear(3, 5, bias=False)
        self.head.weight = self.embed.weight
        self.register_buffer("positions", torch.arange(4), persistent=False)


def without(names: list[str]) -> dict[str, Tensor]:
    return {name: value for name, value in Tied().state_dict().items() if name not in names}


@pytest.mark.parametrize("device", ["cpu", "meta"])
@pytest.mark.parametrize(
    "params",
    [
        without([]),
        without(["head.weight"]),
        without(["embed.weight"]),
        without([]) | {"positions": torch.arange(4)},
        {name: value.half() for name, value in without([]).items()},
        {
            **without([]),
            "embed.weight": torch.full((5, 3), torch.nan),
            "head.weight": torch.full((5, 3), torch.nan),
        },
    ],
    ids=["all", "no-alias", "alias-only", "unsaved-buffer", "half", "nan"],
)
def test_valid_checkpoints_are_accepted(params: dict[str, Tensor], device: str) -> None:
    with torch.device(device):
        module = Tied()
    check_fits(params, module)


@pytest.mark.parametrize(
    ("params", "text"),
    [
        (
            without(["norm.weight", "norm.running_mean"]),
            r"^2 tensors missing in the parameters \('norm\.weight', 'norm\.running_mean'"
            r"\); check the architecture's name",
        ),
        (without(["embed.weight", "head.weight"]), "2 tensors missing in"),
        (
            without([]) | {"extra": torch.ones(1)},
            r"1 tensor unexpected in the parameters \('extra'\); check",
        ),
        (
            without(["norm.weight"]) | {"norm.gamma": torch.ones(3)},
            r"1 tensor missing in .*\('norm\.weight'\) and 1 tensor unexpected in .*gamma'\)",
        ),
        ({"x": torch.ones(1)}, r"no name is common \(the architecture has 'embed\.weight', "),
        (
            without([]) | {"norm.bias": torch.ones(4)},
            r"tensor 'norm\.bias' is \(4,\) in the parameters but \(3,\) in the architecture",
        ),
        (
            without([]) | {"norm.bias": torch.ones(3, dtype=torch.int8)},
            r"'norm\.bias' is int8 in the parameters but floating-point in the architecture; conv",
        ),
        (
            without([]) | {"norm.bias": torch.ones(3, dtype=torch.complex64)},
            r"'norm\.bias' is complex64 in the parameters but floating-point",
        ),
    ],
    ids=["missing", "both", "extra", "renamed", "foreign", "shape", "int8", "complex"],
)
def test_other_checkpoints_raise(params: dict[str, Tensor], text: str) -> None:
    with pytest.raises(OneBasinError, match=text) as caught:
        check_fits(params, Tied())
    assert "\n" not in str(caught.value)


def test_is_same_checkpoint(tmp_path: Path) -> None:
    tensors = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.tensor(1)}
    a = save(tmp_path / "a.safetensors", tensors)
    torch.save(tensors, tmp_path / "b.pt")
    assert is_same_checkpoint(a, open_checkpoint(tmp_path / "b.pt"))
    for change in (
        {"a": tensors["a"] + 1},
        {"a": tensors["a"].double()},
        {"a": tensors["a"].reshape(3, 2)},
        {"c": torch.ones(1)},
    ):
        assert not is_same_checkpoint(a, tensors | change)
    assert not is_same_checkpoint(a, {"a": tensors["a"]})
    float8 = {"a": torch.ones(3).to(torch.float8_e4m3fn)}
    assert is_same_checkpoint(float8, {"a": float8["a"].clone()})
