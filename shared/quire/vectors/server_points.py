"""Points to and from a Qdrant server, each kind of call the way that is fastest."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import httpx
import orjson
from qdrant_client import grpc as pb
from qdrant_client import models

from quire.vectors.fusion import candidates, fused_page, settled_records
from quire.vectors.port import (
    DENSE,
    SPARSE,
    Point,
    PointId,
    Query,
    Record,
    RecordPage,
    ScoredRecord,
)
from quire.vectors.server_connection import Connection
from quire.vectors.server_faults import refusal
from quire.vectors.server_translate import (
    from_id,
    from_json,
    from_record,
    from_scored,
    to_message,
    to_point,
    to_request,
)

_READ_STEP = 1_000


async def upserted(server: Connection, name: str, points: Sequence[Point]) -> None:
    """Write checked points in one request, which the server logs as one."""
    target = server.on_server(name)
    with server.answers(name):
        if server.writer is None:
            await server.client.upsert(target, [to_point(p) for p in points], wait=True)
            return
        request = pb.UpsertPoints(
            collection_name=target, wait=True, points=[to_message(p) for p in points]
        )
        await server.writer.grpc_points.Upsert(request, timeout=server.timeout)


async def retrieved(
    server: Connection,
    name: str,
    ids: Sequence[PointId],
    *,
    with_payload: bool = True,
    with_vectors: bool = False,
) -> list[Record]:
    """The points with these ids, in their order."""
    found: dict[PointId, Record] = {}
    for start in range(0, len(ids), _READ_STEP):
        step = list(ids[start : start + _READ_STEP])
        records = await _retrieved(server, name, step, with_payload, with_vectors)
        found.update((record.id, record) for record in records)
    return [found[identity] for identity in ids if identity in found]


async def _retrieved(
    server: Connection, name: str, ids: list[PointId], with_payload: bool, with_vectors: bool
) -> Iterable[Record]:
    target = server.on_server(name)
    if server.http is None:
        with server.answers(name):
            records = await server.client.retrieve(
                target, ids, with_payload=with_payload, with_vectors=with_vectors
            )
        return map(from_record, records)
    body = {"ids": ids, "with_payload": with_payload, "with_vector": with_vectors}
    found = await answered(server, "POST", f"/collections/{target}/points", body, name)
    return map(from_json, found)


async def scrolled(
    server: Connection,
    name: str,
    condition: models.Filter | None,
    start: PointId | None,
    limit: int,
    with_vectors: bool,
) -> RecordPage:
    """One page in id order."""
    if server.http is None:
        with server.answers(name):
            records, following = await server.client.scroll(
                server.on_server(name), condition, limit, offset=start, with_vectors=with_vectors
            )
        page = [from_record(record) for record in records]
        return RecordPage(page, None if following is None else from_id(following))
    found = await _scrolled(
        server, name, condition, start, limit, with_payload=True, with_vector=with_vectors
    )
    return RecordPage([from_json(r) for r in found["points"]], found["next_page_offset"])


async def listed(
    server: Connection,
    name: str,
    condition: models.Filter | None,
    start: PointId | None,
    limit: int,
) -> tuple[list[PointId], PointId | None]:
    """One page of ids in their order, and where the next one begins."""
    if server.http is None:
        page = await scrolled(server, name, condition, start, limit, False)
        return [record.id for record in page.records], page.next_cursor
    found = await _scrolled(
        server, name, condition, start, limit, with_payload=False, with_vector=False
    )
    return [point["id"] for point in found["points"]], found["next_page_offset"]


async def _scrolled(
    server: Connection,
    name: str,
    condition: models.Filter | None,
    start: PointId | None,
    limit: int,
    **parts: bool,
) -> Any:
    body = {
        "limit": limit,
        "offset": start,
        "filter": condition and condition.model_dump(mode="json", exclude_none=True),
        **parts,
    }
    path = f"/collections/{server.on_server(name)}/points/scroll"
    return await answered(server, "POST", path, body, name)


async def answered(
    server: Connection,
    method: str,
    path: str,
    body: Mapping[str, Any] | None,
    name: str | None = None,
    *,
    patient: bool = False,
) -> Any:
    """The server's result, past the client's models, because a copy spends its time there.

    `patient` waits for as long as the server works.
    """
    assert server.http is not None  # noqa: S101 - local mode has no such thing
    timeout = httpx.Timeout(server.timeout, read=None) if patient else httpx.USE_CLIENT_DEFAULT
    content = None if body is None else orjson.dumps(body)
    with server.answers(name):
        response = await server.http.request(method, path, content=content, timeout=timeout)
    if response.status_code != 200:
        raise refusal(response.status_code, response.text[:200], name)
    return orjson.loads(response.content)["result"]


async def searched(server: Connection, name: str, query: Query) -> list[ScoredRecord]:
    """The hits of a checked query; those for both vectors are ranked there and fused by us."""
    if query.dense is not None and query.sparse is not None:
        return await _fused(server, name, query)
    request = to_request(
        query,
        DENSE if query.dense is not None else SPARSE,
        query.limit,
        offset=query.offset,
        with_payload=query.with_payload,
        with_vector=query.with_vectors,
        score_threshold=query.score_threshold,
    )
    (hits,) = await _ranked(server, name, [request])
    return settled_records(hits)


async def _fused(server: Connection, name: str, query: Query) -> list[ScoredRecord]:
    depth = candidates(query)
    requests = [to_request(query, using, depth) for using in (DENSE, SPARSE)]
    rankings = await _ranked(server, name, requests)
    dense, sparse = ([(hit.id, hit.score) for hit in hits] for hits in rankings)
    page = dict(fused_page(query, dense, sparse))
    if not page:
        return []
    records = await retrieved(
        server, name, [*page], with_payload=query.with_payload, with_vectors=query.with_vectors
    )
    return [ScoredRecord(r.id, r.payload, r.dense, r.sparse, page[r.id]) for r in records]


async def _ranked(
    server: Connection, name: str, requests: list[models.QueryRequest]
) -> list[list[ScoredRecord]]:
    with server.answers(name):
        responses = await server.client.query_batch_points(server.on_server(name), requests)
    return [from_scored(response.points) for response in responses]
