"""Input specifications and the tensors made from them."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from onebasin.checkpoints import InputSpec
from onebasin.checkpoints._inputs import make_inputs, parse_input_spec
from onebasin.errors import OneBasinError


@pytest.mark.parametrize(
    ("text", "specs"),
    [
        ("2x3x224x224", [InputSpec((2, 3, 224, 224))]),
        ("7", [InputSpec((7,))]),
        ("2x16:int64", [InputSpec((2, 16), torch.int64)]),
        ("2x16:int64<1000", [InputSpec((2, 16), torch.int64, high=1000)]),
        ("2x16:int32<5", [InputSpec((2, 16), torch.int32, high=5)]),
        ("2x16<1000", [InputSpec((2, 16), torch.int64, high=1000)]),
        ("2x4:bfloat16", [InputSpec((2, 4), torch.bfloat16)]),
        ("2x4:bool", [InputSpec((2, 4), torch.bool)]),
        ("2x3, 2x4:int64", [InputSpec((2, 3)), InputSpec((2, 4), torch.int64)]),
        (
            "2x3,mask=2x4:bool",
            [InputSpec((2, 3)), InputSpec((2, 4), torch.bool, keyword="mask")],
        ),
    ],
)
def test_parsed_specifications(text: str, specs: list[InputSpec]) -> None:
    assert parse_input_spec(text) == tuple(specs)
    assert parse_input_spec([text]) == tuple(specs)


def test_several_texts() -> None:
    assert parse_input_spec(["2x3", "2x4"]) == parse_input_spec("2x3,2x4")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"example_inputs='': expected a shape such as 2x3x224x224, 2x16:int64<1000"),
        ("2x", "example_inputs='2x': expected a shape"),
        ("2x-3", "example_inputs='2x-3': expected a shape"),
        ("2*3", r"example_inputs='2\*3': expected a shape"),
        ("2x3:", "example_inputs='2x3:': expected a shape"),
        ("2x3,", "example_inputs='': expected a shape"),
        ("a b=2x3", "example_inputs='a b=2x3': expected a shape"),
        ("2x0x3", "example_inputs='2x0x3': every size must be at least 1"),
        ("2x3:float31", "example_inputs='2x3:float31': unknown dtype 'float31'; expected float32"),
        ("2x3:nn", "unknown dtype 'nn'"),
        ("2x3:complex64", "unknown dtype 'complex64'"),
        ("2x3:float32<5", "a bound must be at least 1 and requires an integer"),
        ("2x3:bool<5", "a bound must be at least 1 and requires an integer"),
        ("2x3:int64<0", "a bound must be at least 1 and requires an integer"),
        ("2,3,32,32", "4 inputs of one dimension; join .* with x, such as 2x3x32x32"),
        ("x=2,x=3", "example_inputs='x=2,x=3': an input is named twice"),
    ],
)
def test_malformed_specifications_raise(text: str, message: str) -> None:
    with pytest.raises(OneBasinError, match=message):
        parse_input_spec(text)


@given(
    shape=st.lists(st.integers(1, 6), min_size=1, max_size=4),
    low=st.integers(0, 5),
    span=st.integers(1, 20),
    seed=st.integers(0, 99),
)
def test_integers_are_in_their_range(shape: list[int], low: int, span: int, seed: int) -> None:
    spec = InputSpec(tuple(shape), torch.int64, low=low, high=low + span)
    (tensor,), _ = make_inputs([spec], dtype=torch.float32, device="cpu", seed=seed)
    assert tuple(tensor.shape) == spec.shape
    assert tensor.dtype == torch.int64
    assert low <= int(tensor.min()) <= int(tensor.max()) < low + span


def test_the_seed_determines_the_values_and_the_global_state_does_not_change() -> None:
    specs = parse_input_spec("2x3,2x4:int64<9,mask=2x5:bool,2x6:float64")
    state = torch.random.get_rng_state()
    one, two, other = (
        make_inputs(specs, dtype=torch.float32, device="cpu", seed=seed) for seed in (1, 1, 2)
    )
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(x, y) for x, y in zip(one[0], two[0], strict=True))
    assert torch.equal(one[1]["mask"], two[1]["mask"])
    assert not torch.equal(one[0][0], other[0][0])
    assert [x.dtype for x in one[0]] == [torch.float32, torch.int64, torch.float64]
    assert one[1]["mask"].dtype == torch.bool


def test_inputs_follow_the_default_dtype_and_device() -> None:
    specs = parse_input_spec("2x3,2x4:int64")
    args, _ = make_inputs(specs, dtype=torch.bfloat16, device="meta", seed=0)
    assert [x.dtype for x in args] == [torch.bfloat16, torch.int64]
    assert all(x.is_meta for x in args)
