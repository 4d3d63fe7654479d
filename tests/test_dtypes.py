"""Dtypes: promotion, rounding, and every public function on checkpoints of every dtype."""

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from onebasin._dtypes import all_finite, common_dtype, compute_dtype, round_to
from onebasin.errors import OneBasinError
from tests.graph.graphs import graphs_made_once
from tests.public_calls import CALLS, DATA, MODEL, reference

F8, F8B = torch.float8_e4m3fn, torch.float8_e5m2
F16, BF16, F32, F64 = torch.float16, torch.bfloat16, torch.float32, torch.float64

PAIRS = {"8 bits": (F8, F8), "32 and 64 bits": (F32, F64)}
PATCHWORK = {
    "0.weight": F8,
    "0.bias": F64,
    "1.weight": F16,
    "1.bias": F8B,
    "1.running_mean": BF16,
    "1.running_var": F8,
    "3.weight": F64,
    "3.bias": F16,
}


@pytest.fixture(scope="module", autouse=True)
def each_graph_is_made_once():
    """Keep graphs between calls: most of the time would go into making the same one."""
    with graphs_made_once():
        yield


def converted(
    params: Mapping[str, Tensor], dtype: torch.dtype, part: str = ""
) -> dict[str, Tensor]:
    return {
        name: tensor.to(dtype) if tensor.is_floating_point() and part in name else tensor
        for name, tensor in params.items()
    }


def numbers(result: Any) -> list[float]:
    """Return all numbers of a result."""
    if isinstance(result, Mapping):
        return numbers([result[name] for name in sorted(result)])
    if isinstance(result, list | tuple):
        return [number for each in result for number in numbers(each)]
    values = torch.as_tensor(result)
    assert not (values.is_complex() and values.imag.any())
    return values.real.double().flatten().tolist()


def approx(expected: list[float], tolerance: float) -> Any:
    return pytest.approx(expected, rel=tolerance, abs=tolerance, nan_ok=True)


class Watched(dict[str, Tensor]):
    """A state dict that shows the changes of a function."""

    def __init__(self, params: Mapping[str, Tensor]) -> None:
        super().__init__(params)
        self.before = {
            name: (tensor, tensor.clone(), tensor._version) for name, tensor in params.items()
        }

    def changes(self) -> list[str]:
        """Return the names that are new, gone, replaced, or written to."""
        changed = [name for name in self if name not in self.before]
        for name, (tensor, values, version) in self.before.items():
            is_same = self.get(name) is tensor and tensor._version == version
            if not (is_same and torch.equal(tensor, values)):
                changed.append(name)
        return changed


@pytest.fixture(scope="module")
def calls() -> dict[str, tuple[list[float], list[str]]]:
    """The result of every function in float32, and what it changed of its inputs."""
    found = {}
    for name, call in CALLS.items():
        data = {str(place): each for place, each in enumerate(pytree.tree_leaves(DATA))}
        watched = [Watched(each) for each in (*reference(), MODEL.state_dict(), data)]
        result = numbers(call(watched[0], watched[1]))
        found[name] = result, [each for inputs in watched for each in inputs.changes()]
    return found


@pytest.fixture(scope="module")
def expected(calls) -> dict[str, list[float]]:
    return {name: result for name, (result, _) in calls.items()}


@pytest.mark.parametrize("name", CALLS)
def test_inputs_model_and_data_do_not_change(calls, name):
    assert calls[name][1] == []


def test_writes_are_seen():
    watched = Watched({"kept": torch.zeros(2), "written": torch.zeros(2), "gone": torch.zeros(1)})
    watched["written"].add_(0)
    del watched["gone"]
    watched["new"] = torch.zeros(1)
    assert watched.changes() == ["new", "written", "gone"]


@pytest.mark.parametrize("dtypes", PAIRS.values(), ids=PAIRS)
@pytest.mark.parametrize("name", CALLS)
def test_results_are_those_of_float32(expected, name, dtypes):
    pair = [converted(params, dtype) for params, dtype in zip(reference(), dtypes, strict=True)]
    # Results in the dtype of A are rounded to it.
    tolerance = max(torch.finfo(dtypes[0]).eps, 1e-3)
    assert numbers(CALLS[name](*pair)) == approx(expected[name], tolerance)


@pytest.mark.parametrize("name", CALLS)
def test_every_tensor_may_have_its_own_dtype(expected, name):
    a, b = reference()
    a = {n: tensor.to(PATCHWORK.get(n, tensor.dtype)) for n, tensor in a.items()}
    assert numbers(CALLS[name](a, b)) == approx(expected[name], 0.25)


REORDERING = {"permuted_copies", "apply"}
AVERAGING = {"average", "average, weights", "average_tensors", "average_checkpoints"}
ACCEPTED = {torch.complex64: REORDERING | AVERAGING, torch.int8: REORDERING}
"""Calls that need no real floating-point numbers."""

INTEGERS = {"average_checkpoints"}
"""Calls that return the integers of the last network."""


def other_pair(dtype: torch.dtype) -> list[dict[str, Tensor]]:
    # Complex numbers have no order: only a real variance has a lower limit.
    return [
        {**converted(params, dtype), "1.running_var": params["1.running_var"]}
        for params in reference()
    ]


@pytest.mark.parametrize(
    ("dtype", "name"),
    [(dtype, name) for dtype in ACCEPTED for name in sorted(ACCEPTED[dtype])],
    ids=str,
)
def test_other_dtypes_give_the_results_of_their_numbers(name, dtype):
    pair = other_pair(dtype)
    real = [{n: t.real.float() for n, t in params.items()} for params in pair]
    assert numbers(CALLS[name](*pair)) == approx(numbers(CALLS[name](*real)), 1e-6)


def test_averaged_integers_are_those_of_the_last_network():
    a, b = (converted(params, torch.int8) for params in reference())
    for name in INTEGERS:
        assert numbers(CALLS[name](a, b)) == numbers(b)


REFUSED = [(torch.complex64, name) for name in CALLS if name not in ACCEPTED[torch.complex64]]
REFUSED += [(torch.int8, name) for name in CALLS if name not in ACCEPTED[torch.int8] | INTEGERS]


@pytest.mark.parametrize(("dtype", "name"), REFUSED, ids=str)
def test_other_dtypes_are_refused_in_a_line(name, dtype):
    with pytest.raises(OneBasinError, match="tensor '") as caught:
        CALLS[name](*(converted(params, dtype) for params in reference()))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("dtype", "wider"),
    [(torch.complex32, "complex64"), (torch.complex64, "complex128"), (F32, "float64")],
    ids=str,
)
def test_values_that_are_too_large_name_a_wider_dtype_of_the_same_kind(dtype, wider):
    unit, widest = (1j, torch.complex128) if dtype.is_complex else (1, F64)
    value = torch.tensor([2 * torch.finfo(dtype).max * unit], dtype=widest)
    with pytest.raises(OneBasinError, match=f"too large for .*; convert .* to {wider}$"):
        round_to("place", value, dtype)


def test_large_parts_of_complex_numbers_are_not_too_large():
    limit = torch.finfo(torch.complex64).max
    value = torch.tensor([limit * (1 + 1j)], dtype=torch.complex128)
    assert round_to("place", value, torch.complex64).isfinite().all()


@pytest.mark.parametrize(
    ("dtypes", "expected"),
    [
        ([F8], F32),
        ([F8, F8B], F32),
        ([F8, BF16], BF16),
        ([F8, torch.int64], F32),
        ([torch.float8_e8m0fnu, F16], F32),
        ([F16, BF16], F32),
        ([F8, F64], F64),
        ([F8, torch.complex64], torch.complex64),
        ([torch.int8, torch.int64], torch.int64),
    ],
    ids=str,
)
def test_promotion_holds_all_values(dtypes, expected):
    assert common_dtype(*dtypes) == expected
    assert common_dtype(*reversed(dtypes)) == expected
    assert compute_dtype(*dtypes) == torch.promote_types(expected, F32)


@pytest.mark.parametrize("dtype", [F8, F8B, torch.float8_e8m0fnu, F16, F32], ids=str)
def test_entries_that_are_not_finite_are_seen_in_every_dtype(dtype):
    assert all_finite(torch.tensor([1.0, 2.0]).to(dtype))
    assert not all_finite(torch.tensor([1.0, float("nan")]).to(dtype))


@pytest.mark.parametrize("dtype", [F8, F8B, F16, BF16, F32], ids=str)
def test_only_what_rounds_to_the_largest_number_is_written(dtype):
    limit = torch.finfo(dtype)
    largest = torch.tensor([limit.max, -limit.max, 1.0], dtype=F64)
    assert torch.equal(round_to("place", largest, dtype).double(), largest)
    near = largest * (1 + limit.eps / 8)
    assert torch.equal(round_to("place", near, dtype).double()[:2], largest[:2])
    with pytest.raises(OneBasinError, match=r"^place has values up to .*, too large for .*; conv"):
        round_to("place", largest * (1 + limit.eps / 2), dtype)
    assert round_to("place", torch.tensor([float("inf")]), F16).isinf().all()
