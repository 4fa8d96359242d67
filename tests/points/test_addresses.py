"""Ids of points as they stand in URLs."""

from __future__ import annotations

import uuid

import pytest

from quire.errors import InvalidInput
from quire.points.requests import address


@pytest.mark.parametrize("identity", [0, 2**64 - 1, str(uuid.UUID(int=7))])
def test_an_id_is_read_back_from_a_url(identity: int | str) -> None:
    assert address(str(identity), "here") == identity


@pytest.mark.parametrize("text", ["", "-1", "1.0", "٣", str(2**64), "9" * 5_000, "x"])
def test_what_is_no_id_in_a_url_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match=r"here: .* is no point id"):
        address(text, "here")
