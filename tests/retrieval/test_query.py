"""A result set is cut into pages that can be read alone."""

from __future__ import annotations

from typing import Any

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from quire.retrieval.query import cut, packed, unpacked

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text() | st.floats(width=32),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)


@settings(max_examples=50)
@given(items=st.lists(json_values, max_size=30), page_size=st.integers(1, 12))
def test_any_json_survives_being_cut_and_packed(items: list[Any], page_size: int) -> None:
    as_json = orjson.loads(orjson.dumps(items))
    stored = [packed(page) for page in cut(items, page_size)]
    pages = [orjson.loads(unpacked(page)) for page in stored]
    assert [item for page in pages for item in page] == as_json
    assert all(len(page) == page_size for page in pages[:-1])
