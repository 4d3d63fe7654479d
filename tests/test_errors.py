import numpy as np
import pytest
import torch

from onebasin.errors import OneBasinError, check_whole, is_fraction, is_whole


@pytest.mark.parametrize("value", [3, np.int64(3), np.uint8(3), torch.tensor(3)])
def test_whole_numbers_of_any_library_become_pythons(value):
    found = check_whole("n", value, least=3, most=3)
    assert (type(found), found) == (int, 3)


@pytest.mark.parametrize("value", [2, 4, 3.0, "3", None, True, [3], torch.tensor(3.0)])
def test_what_is_none_or_out_of_range_is_named(value):
    assert is_whole(value) == (value in (2, 4))
    with pytest.raises(OneBasinError, match=r"^n is .*; it must be a whole number from 3 to"):
        check_whole("n", value, least=3, most=3)


def test_without_a_highest_one_the_least_is_named():
    with pytest.raises(OneBasinError, match=r"^n is 0; it must be a whole number of at leas"):
        check_whole("n", 0, least=1)


@pytest.mark.parametrize("value", [0, 1, 0.5, np.float32(0.5), torch.tensor(0.5)])
def test_numbers_from_0_to_1_of_any_library_are_shares(value):
    assert is_fraction(value)


@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan"), "0.5", None, True, [0.5]])
def test_nothing_else_is_a_share(value):
    assert not is_fraction(value)
