"""Payload numbers that are written are numbers that stay."""

from __future__ import annotations

import math
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quire.vectors.floats import settled, settled_float

FINITE = st.floats(allow_nan=False, allow_infinity=False)


@given(FINITE)
def test_a_settled_number_is_near_and_settles_no_further(value: float) -> None:
    stays = settled_float(value)
    assert settled_float(stays) == stays
    assert abs(stays - value) <= 100 * math.ulp(value)


@given(st.decimals(-(10**8), 10**8, places=6).map(float) | st.integers(-(2**53), 2**53).map(float))
def test_numbers_of_fifteen_digits_are_left_alone(value: float) -> None:
    if len(repr(abs(value)).replace(".", "").strip("0")) <= 15 and abs(value) < 1e15:
        assert settled_float(value) == value


@pytest.mark.parametrize("value", [0.0, -0.0, 5e-324, sys.float_info.max, -sys.float_info.max])
def test_the_ends_of_the_scale_are_numbers_too(value: float) -> None:
    stays = settled_float(value)
    assert (stays, math.copysign(1, stays)) == (value, math.copysign(1, value))


def test_only_what_holds_such_a_number_is_made_anew() -> None:
    moving = next(x / 7 for x in range(1, 1_000) if settled_float(x / 7) != x / 7)
    plain = {"a": [1, 0.25, {"b": "0.1234567890123456789"}], "c": (1.5,)}
    assert settled(plain) is plain

    changed = settled({**plain, "d": [{"e": moving}]})

    assert changed == {**plain, "d": [{"e": settled_float(moving)}]}
    assert changed["a"] is plain["a"]
