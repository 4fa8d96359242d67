"""The page about filters is true: every example finds what it says, or is refused."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from quire.errors import InvalidInput
from quire.points.fields import MAX_CONDITIONS, MAX_DEPTH, MAX_VALUES
from quire.points.filters import parse_filter
from quire.retrieval.kql import parse_kql
from quire.retrieval.kql_tokens import MAX_LENGTH, MAX_NESTING, MAX_TOKENS
from quire.vectors.edge import EdgeEngine
from quire.vectors.port import CollectionSpec, Condition, Point, VectorEngine

PAGE = (Path(__file__).parents[2] / "docs" / "filters.md").read_text()
POINTS: list[dict[str, Any]] = json.loads(PAGE.partition("```json\n")[2].partition("```")[0])


def rows(columns: str) -> list[list[str]]:
    """The rows of all tables with this heading."""
    tables = re.findall(
        rf"^\| {re.escape(columns)} \|\n\|[- |]+\|\n((?:\|.*\n)+)", PAGE, re.MULTILINE
    )
    lines = [line for table in tables for line in table.splitlines()]
    return [[c.strip() for c in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


FILTERS = rows("filter | finds | because")
QUERIES = rows("query | finds | searches for | because")


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[VectorEngine]:
    engine = await EdgeEngine.open(tmp_path, max_open=1)
    await engine.create("page", CollectionSpec(2))
    points = [Point(point["id"], [1.0, 0.0], None, point["payload"]) for point in POINTS]
    await engine.upsert("page", points)
    yield engine
    await engine.close()


async def found(engine: VectorEngine, condition: Condition | None) -> dict[Any, str]:
    """The texts of what a condition finds, by id."""
    page = await engine.scroll("page", filter=condition)
    return {record.id: record.payload["text"] for record in page.records}


def ids(cell: str) -> list[int]:
    return [int(part) for part in cell.split(",")]


async def test_every_filter_finds_what_the_page_says(engine: VectorEngine) -> None:
    assert len(FILTERS) > 30
    for code, finds, _ in FILTERS:
        condition = parse_filter(json.loads(code.strip("`")))
        assert list(await found(engine, condition)) == ids(finds), code


async def test_every_query_finds_and_searches_for_what_the_page_says(engine: VectorEngine) -> None:
    assert len(QUERIES) > 20
    for code, finds, text, _ in QUERIES:
        query = parse_kql(code.strip("`"))
        hits = await found(engine, query.filter)
        assert [point for point, text in hits.items() if query.accepts(text)] == ids(finds), code
        assert (query.text or "") == text, code


@pytest.mark.parametrize(("code", "field"), rows("filter | is refused at"))
def test_what_the_page_says_is_refused_is_refused_there(code: str, field: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        parse_filter(json.loads(code.strip("`")))
    assert refused.value.field == field.strip("`")


@pytest.mark.parametrize(("code", "why"), rows("query | why"))
def test_queries_that_the_page_says_are_refused_are(code: str, why: str) -> None:
    with pytest.raises(InvalidInput, match="at character"):
        parse_kql(code.strip("`"))


def test_the_limits_are_those_of_the_page() -> None:
    assert f"at most {MAX_CONDITIONS} conditions and {MAX_VALUES:,} values" in PAGE
    assert f"nests at most {MAX_DEPTH} levels" in PAGE
    assert f"at most {MAX_LENGTH:,} characters, {MAX_TOKENS:,} words" in PAGE
    assert f"{MAX_NESTING} brackets" in PAGE
