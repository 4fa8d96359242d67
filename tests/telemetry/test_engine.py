"""The measured engine is the engine it wraps, with every operation timed."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from quire.errors import CollectionNotFound
from quire.telemetry.engine import MeasuredEngine
from quire.telemetry.metrics import Metrics
from quire.vectors.port import (
    CollectionSpec,
    HasId,
    IndexKind,
    Match,
    Point,
    Query,
    VectorEngine,
)

SPEC = CollectionSpec(dimension=4)
QUERY = Query(dense=[1, 0, 0, 0])
POINTS = [Point(1, [1, 0, 0, 0])]
WHERE = Match("a", ["b"])

CALLS: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = [
    ("create", ("c", SPEC), {}),
    ("drop", ("c",), {}),
    ("exists", ("c",), {}),
    ("info", ("c",), {}),
    ("upsert", ("c", POINTS), {"as_read": True}),
    ("delete", ("c", HasId([1])), {}),
    ("set_payload", ("c", {"a": 1}, [1, 2]), {}),
    ("retrieve", ("c", [1, 2]), {"with_payload": False, "with_vectors": True}),
    ("copy", ("c", "d"), {}),
    ("begin_filling", ("c",), {}),
    ("end_filling", ("c",), {}),
    ("query", ("c", QUERY), {}),
    ("scroll", ("c",), {"filter": WHERE, "cursor": 7, "limit": 9, "with_vectors": True}),
    ("count", ("c", WHERE), {"exact": False}),
    ("facet", ("c", "a"), {"filter": WHERE, "limit": 3}),
    ("create_index", ("c", "a", IndexKind.KEYWORD), {}),
    ("flush", ("c",), {}),
    ("release", ("c",), {}),
    ("ping", (), {}),
]

ONE_BY_ONE: dict[str, tuple[tuple[Any, ...], dict[str, Any]]] = {
    "collections": ((), {}),
    "stream": (("c",), {"filter": WHERE, "cursor": 7}),
    "ids": (("c",), {"filter": WHERE, "cursor": 7}),
}


class FakeEngine:
    """Remembers what it was asked and answers with something that cannot be mistaken."""

    name = "fake"

    def __init__(self, error: BaseException | None = None) -> None:
        self.calls: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []
        self.answer = object()
        self.error = error
        self.closed = False
        self.left = False

    def __getattr__(self, operation: str) -> Any:
        if operation not in {name for name, _, _ in CALLS}:
            raise AttributeError(operation)

        async def call(*args: Any, **kwargs: Any) -> Any:
            self.calls.append((operation, args, kwargs))
            if self.error is not None:
                raise self.error
            return self.answer

        return call

    async def collections(self) -> AsyncIterator[str]:
        try:
            for name in ("one", "two", "three"):
                yield name
            if self.error is not None:
                raise self.error
        finally:
            self.left = True

    def stream(self, *args: Any, **kwargs: Any) -> AsyncIterator[str]:
        self.calls.append(("stream", args, kwargs))
        return self.collections()

    def ids(self, *args: Any, **kwargs: Any) -> AsyncIterator[str]:
        self.calls.append(("ids", args, kwargs))
        return self.collections()

    def hot_collections(self) -> int | None:
        return 5

    async def close(self) -> None:
        self.closed = True


def measured(error: BaseException | None = None) -> tuple[Any, FakeEngine, Metrics]:
    engine, metrics = FakeEngine(error), Metrics()
    return MeasuredEngine(engine, metrics), engine, metrics


def observed(metrics: Metrics) -> dict[tuple[str, str], float]:
    return {
        (sample.labels["operation"], sample.labels["outcome"]): sample.value
        for family in text_string_to_metric_families(metrics.render().decode())
        for sample in family.samples
        if sample.name == "quire_engine_operation_duration_seconds_count"
    }


def port_methods() -> set[str]:
    return {name for name, _ in inspect.getmembers(VectorEngine, inspect.isfunction)} - {
        "__init__",
        "__init_subclass__",
        "__subclasshook__",
        "_no_init_or_replace_init",
    }


def test_the_whole_port_is_covered() -> None:
    public = {name for name in port_methods() if not name.startswith("_")}
    assert public == {name for name, _, _ in CALLS} | {*ONE_BY_ONE, "hot_collections", "close"}
    for name in public:
        assert name in vars(MeasuredEngine), f"{name} is inherited from the port, not measured"
        assert inspect.signature(getattr(MeasuredEngine, name)) == inspect.signature(
            getattr(VectorEngine, name)
        )


@pytest.mark.parametrize(("operation", "args", "kwargs"), CALLS)
async def test_an_operation_is_passed_on_and_timed(
    operation: str, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    engine, fake, metrics = measured()
    answer = await getattr(engine, operation)(*args, **kwargs)
    [(called, got, got_kwargs)] = fake.calls
    assert called == operation
    # Passed by identity: nothing is copied on the way.
    assert [id(value) for value in got] == [id(value) for value in args]
    assert got_kwargs == kwargs
    returns = inspect.signature(getattr(VectorEngine, operation)).return_annotation
    assert answer is (None if returns in (None, "None") else fake.answer)
    assert observed(metrics) == {(operation, "ok"): 1}


@pytest.mark.parametrize(("operation", "args", "kwargs"), CALLS)
@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (CollectionNotFound(), "collection_not_found"),
        (asyncio.CancelledError(), "cancelled"),
        (RuntimeError("x"), "internal"),
    ],
)
async def test_an_error_comes_through_and_is_counted(
    operation: str,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    error: BaseException,
    outcome: str,
) -> None:
    engine, _, metrics = measured(error)
    with pytest.raises(type(error)) as caught:
        await getattr(engine, operation)(*args, **kwargs)
    assert caught.value is error
    assert observed(metrics) == {(operation, outcome): 1}


@pytest.mark.parametrize("operation", ONE_BY_ONE)
async def test_answers_in_parts_are_passed_on_one_by_one(operation: str) -> None:
    engine, fake, metrics = measured()
    args, kwargs = ONE_BY_ONE[operation]
    assert [part async for part in getattr(engine, operation)(*args, **kwargs)] == [
        "one",
        "two",
        "three",
    ]
    assert fake.calls == ([] if operation == "collections" else [(operation, args, kwargs)])
    assert observed(metrics) == {(operation, "ok"): 1}


@pytest.mark.parametrize("operation", ONE_BY_ONE)
async def test_a_caller_who_stops_half_way_lets_the_engine_clean_up(operation: str) -> None:
    engine, fake, metrics = measured()
    args, kwargs = ONE_BY_ONE[operation]
    parts = getattr(engine, operation)(*args, **kwargs)
    assert await anext(parts) == "one"
    await parts.aclose()
    assert fake.left
    assert observed(metrics) == {(operation, "ok"): 1}


@pytest.mark.parametrize("operation", ONE_BY_ONE)
async def test_an_error_among_the_parts_comes_through(operation: str) -> None:
    error = CollectionNotFound()
    engine, _, metrics = measured(error)
    args, kwargs = ONE_BY_ONE[operation]
    with pytest.raises(CollectionNotFound):
        _ = [part async for part in getattr(engine, operation)(*args, **kwargs)]
    assert observed(metrics) == {(operation, "collection_not_found"): 1}


async def test_only_the_engines_time_counts_not_the_callers() -> None:
    engine, _, metrics = measured()
    async for _part in engine.stream("c"):
        await asyncio.sleep(0.02)
    spent = [
        sample.value
        for family in text_string_to_metric_families(metrics.render().decode())
        for sample in family.samples
        if sample.name == "quire_engine_operation_duration_seconds_sum"
    ]
    assert sum(spent) < 0.02


async def test_the_rest_is_passed_on_as_it_is() -> None:
    engine, fake, _ = measured()
    assert engine.name == "fake"
    assert engine.hot_collections() == 5
    await engine.close()
    assert fake.closed
