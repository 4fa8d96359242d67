"""The embedded engine and a real server, given the same random work, must stay alike."""

from __future__ import annotations

import asyncio
import random
import shutil
import tempfile
import uuid
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from quire.vectors.edge import EdgeEngine
from quire.vectors.port import (
    AllOf,
    AnyOf,
    CollectionSpec,
    Condition,
    Distance,
    HasId,
    IndexKind,
    Match,
    Missing,
    NoneOf,
    Point,
    PointId,
    Query,
    Range,
    Record,
    ScoredRecord,
    SparseVector,
    VectorEngine,
)
from quire.vectors.server import QdrantEngine

T = TypeVar("T")

DIMENSION = 6
TOLERANCE = 1e-4
LABELS = ["red", "green", "blue"]
UUIDS = [str(uuid.UUID(int=n << 64)) for n in range(1, 8)]

ids: st.SearchStrategy[PointId] = st.one_of(st.integers(0, 12), st.sampled_from(UUIDS))
seeds = st.integers(0, 2**32)
filters: st.SearchStrategy[Condition] = st.recursive(
    st.one_of(
        st.builds(lambda v: Match("label", v), st.lists(st.sampled_from(LABELS), max_size=2)),
        st.builds(lambda v: Match("seq", v), st.lists(st.integers(0, 9), max_size=3)),
        st.builds(lambda v: Match("flag", [v]), st.booleans()),
        st.builds(lambda v: Range("seq", gte=v), st.integers(0, 9)),
        st.builds(lambda v: Range("weight", lt=v), st.floats(0, 1)),
        st.builds(Missing, st.sampled_from(["label", "flag", "weight"])),
        st.builds(HasId, st.lists(ids, max_size=5)),
    ),
    lambda inner: st.one_of(
        st.builds(kind, st.lists(inner, max_size=3))  # type: ignore[arg-type]
        for kind in (AllOf, AnyOf, NoneOf)
    ),
    max_leaves=4,
)


def vector(seed: int) -> list[float]:
    """Random enough that no two scores are equal by chance."""
    source = random.Random(seed)
    return [source.uniform(-1, 1) for _ in range(DIMENSION)]


def words(seed: int) -> SparseVector:
    source = random.Random(seed)
    indices = sorted(source.sample(range(12), source.randint(1, 5)))
    return SparseVector(indices, [source.uniform(0.1, 2) for _ in indices])


def point(identity: PointId, seed: int) -> Point:
    source = random.Random(seed)
    payload: dict[str, Any] = {"seq": source.randint(0, 9), "nested": {"n": [seed, None]}}
    if source.random() < 0.7:
        payload["label"] = source.choice([*LABELS, LABELS[:2], []])
    if source.random() < 0.5:
        payload["flag"] = source.random() < 0.5
    if source.random() < 0.5:
        payload["weight"] = source.random()
    return Point(
        identity,
        vector(seed) if source.random() < 0.9 else None,
        words(seed) if source.random() < 0.8 else None,
        payload,
    )


class Alike(RuleBasedStateMachine):
    """Every rule does the same to both engines and compares what they answer."""

    url: str
    grpc_port: int | None

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.root = Path(tempfile.mkdtemp(prefix="quire-alike-"))
        self.name = f"alike-{uuid.uuid4().hex}"
        self.edge: EdgeEngine = self.do(EdgeEngine.open(self.root, max_open=1))
        self.server = self.do(QdrantEngine.open(self.url, grpc_port=self.grpc_port))

    def do(self, work: Awaitable[T]) -> T:
        async def run() -> T:
            return await work

        return self.runner.run(run())

    def both(self, call: Callable[[VectorEngine], Awaitable[T]]) -> tuple[T, T]:
        return self.do(call(self.edge)), self.do(call(self.server))

    def teardown(self) -> None:
        self.do(self.server.drop(self.name))
        self.do(self.server.close())
        self.do(self.edge.close())
        self.runner.close()
        shutil.rmtree(self.root)

    @initialize(distance=st.sampled_from(Distance))
    def create(self, distance: Distance) -> None:
        indexes = {
            "seq": IndexKind.INTEGER,
            "label": IndexKind.KEYWORD,
            "flag": IndexKind.BOOL,
        }
        self.both(lambda e: e.create(self.name, CollectionSpec(DIMENSION, distance, indexes)))

    @rule(chosen=st.lists(ids, min_size=1, max_size=8), seed=seeds)
    def upsert(self, chosen: list[PointId], seed: int) -> None:
        points = [point(identity, seed + n) for n, identity in enumerate(chosen)]
        self.both(lambda e: e.upsert(self.name, points))

    @rule(chosen=st.lists(ids, max_size=3))
    def delete(self, chosen: list[PointId]) -> None:
        self.both(lambda e: e.delete(self.name, chosen))

    @rule(condition=filters)
    def delete_by_filter(self, condition: Condition) -> None:
        self.both(lambda e: e.delete(self.name, AllOf([condition, Range("seq", lt=4)])))

    @rule(
        selector=st.one_of(st.lists(ids, max_size=4), filters),
        payload=st.dictionaries(
            st.sampled_from(["label", "flag", "more"]),
            st.one_of(st.none(), st.sampled_from(LABELS), st.booleans()),
        ),
    )
    def set_payload(self, selector: Any, payload: dict[str, Any]) -> None:
        self.both(lambda e: e.set_payload(self.name, payload, selector))

    @rule(seed=seeds, limit=st.integers(1, 8), condition=st.none() | filters, exact=st.booleans())
    def search_dense(self, seed: int, limit: int, condition: Condition | None, exact: bool) -> None:
        self.compare(Query(dense=vector(seed), filter=condition, limit=limit, exact=exact))

    @rule(seed=seeds, limit=st.integers(1, 8), offset=st.integers(0, 3))
    def search_sparse(self, seed: int, limit: int, offset: int) -> None:
        self.compare(Query(sparse=words(seed), limit=limit, offset=offset))

    @rule(seed=seeds, condition=st.none() | filters, weight=st.floats(0.1, 3))
    def search_fused(self, seed: int, condition: Condition | None, weight: float) -> None:
        self.compare(Query(vector(seed), words(seed), condition, limit=6, dense_weight=weight))

    @rule(condition=st.none() | filters, limit=st.integers(1, 5))
    def scroll(self, condition: Condition | None, limit: int) -> None:
        cursor: PointId | None = None
        while True:
            ours, theirs = self.both(
                lambda e, at=cursor: e.scroll(self.name, filter=condition, cursor=at, limit=limit)
            )
            assert [r.id for r in ours.records] == [r.id for r in theirs.records]
            assert ours.next_cursor == theirs.next_cursor
            cursor = ours.next_cursor
            if cursor is None:
                return

    @rule(condition=filters)
    def count(self, condition: Condition) -> None:
        ours, theirs = self.both(lambda e: e.count(self.name, condition))
        assert ours == theirs

    @rule(key=st.sampled_from(["seq", "label", "flag"]), condition=st.none() | filters)
    def facet(self, key: str, condition: Condition | None) -> None:
        ours, theirs = self.both(lambda e: e.facet(self.name, key, filter=condition))
        assert ours == theirs

    @rule()
    def flush(self) -> None:
        self.do(self.edge.flush(self.name))

    @rule()
    def release(self) -> None:
        self.do(self.edge.release(self.name))

    @precondition(lambda self: self.edge.hot_collections())
    @rule()
    def reopen(self) -> None:
        self.do(self.edge.close())
        self.edge = self.do(EdgeEngine.open(self.root, max_open=1))

    @invariant()
    def hold_the_same(self) -> None:
        if not self.do(self.edge.exists(self.name)):
            return
        ours, theirs = self.both(lambda e: e.scroll(self.name, limit=100, with_vectors=True))
        assert [r.id for r in ours.records] == [r.id for r in theirs.records]
        for mine, other in zip(ours.records, theirs.records, strict=True):
            same_record(mine, other)

    def compare(self, query: Query) -> None:
        ours, theirs = self.both(lambda e: e.query(self.name, query))
        same_hits(ours, theirs)


def same_record(ours: Record, theirs: Record) -> None:
    assert ours.payload == theirs.payload
    assert (ours.dense is None) == (theirs.dense is None)
    assert ours.dense == pytest.approx(theirs.dense, abs=1e-6)
    mine, other = ours.sparse, theirs.sparse
    assert (mine is None) == (other is None)
    if mine is not None and other is not None:
        assert dict(zip(mine.indices, mine.values, strict=True)) == dict(
            zip(other.indices, other.values, strict=True)
        )


def same_hits(ours: Sequence[ScoredRecord], theirs: Sequence[ScoredRecord]) -> None:
    assert [h.score for h in ours] == pytest.approx([h.score for h in theirs], abs=TOLERANCE)
    scores = {h.id: h.score for h in theirs}
    for place, (mine, other) in enumerate(zip(ours, theirs, strict=True)):
        # Equal ids, or a tie: the same point written under two ids.
        if mine.id != other.id:
            assert mine.id in scores or place == len(ours) - 1 or mine.score == ours[-1].score
            assert scores.get(mine.id, mine.score) == pytest.approx(mine.score, abs=TOLERANCE)


def _run(url: str, grpc_port: int | None, profile: settings) -> None:
    machine = type("AlikeHere", (Alike,), {"url": url, "grpc_port": grpc_port})
    run_state_machine_as_test(machine, settings=profile)


SHORT = settings(
    max_examples=12,
    stateful_step_count=20,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)


@pytest.mark.server
@pytest.mark.timeout(300)
def test_edge_and_server_stay_alike(qdrant_url: str, qdrant_grpc_port: int | None) -> None:
    _run(qdrant_url, qdrant_grpc_port, SHORT)


@pytest.mark.soak
@pytest.mark.server
@pytest.mark.timeout(3600)
def test_edge_and_server_stay_alike_for_long(qdrant_url: str, qdrant_grpc_port: int | None) -> None:
    long = settings(SHORT, max_examples=250, stateful_step_count=50, derandomize=False)
    _run(qdrant_url, qdrant_grpc_port, long)
