"""Sessions as files over HTTP: out in every format, and in again, or refused with nothing left."""

from __future__ import annotations

import asyncio
import io
import json
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio
import sqlalchemy as sa

from quire.settings import BlobSettings, EmbeddingSettings, TransferSettings
from quire.store.tables import blob_references, documents, sessions
from quire.vectors.digest import Digest, digest_of
from tests.api.service import Service, assert_problem, new_id, serving, settings_for

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import httpx

pytestmark = pytest.mark.asyncio(loop_scope="module")

FAKE = {"embedding": EmbeddingSettings(provider="fake", dimension=32)}
BUNDLE = "application/vnd.quire.bundle"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def service(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Service]:
    more = {
        "transfer": TransferSettings(bundle_bytes=2_000_000),
        "blob": BlobSettings(sweep_grace_seconds=60),
    }
    settings = settings_for(tmp_path_factory.mktemp("files"), **more, **FAKE)
    async with serving(settings) as service:
        yield service


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def garden(service: Service) -> str:
    """A session with documents, points and labels."""
    client = service.client
    body = {
        "id": "garden",
        "name": "Gärten / Äpfel",
        "tags": ["spring"],
        "metadata": {"project": 1.5},
        "configuration": {"llm_model": "llama3"},
    }
    assert (await client.post("/sessions", json=body)).status_code == 200
    documents = [
        {"id": "md", "text": "# Binding\n\nLeaves are sewn — to a pulp.\n", "title": "Binding"},
        {"id": "long", "text": "Rags are beaten. " * 300, "metadata": {"part": 2}},
    ]
    answer = await client.post("/sessions/garden/documents", json={"documents": documents})
    assert answer.status_code == 200, answer.text
    points = [{"id": n, "text": f"tab {n}", "payload": {"n": n, "third": n / 3}} for n in range(20)]
    answer = await client.put("/sessions/garden/points", json={"points": points})
    assert answer.status_code == 200, answer.text
    return "garden"


async def exported(service: Service, session_id: str, **query: Any) -> httpx.Response:
    answer = await service.client.get(f"/sessions/{session_id}/export", params=query)
    assert answer.status_code == 200, answer.text
    return answer


async def imported(service: Service, content: bytes, type: str = BUNDLE, **query: Any) -> Any:
    answer = await service.client.post(
        "/sessions/import", content=content, params=query, headers={"Content-Type": type}
    )
    assert answer.status_code == 200, answer.text
    return answer.json()


async def digest(service: Service, session_id: str) -> Digest:
    session = await service.quire.repository.latest(session_id)
    assert session is not None
    total = Digest()
    async for batch in service.quire.engine.stream(session.collection):
        total += digest_of(batch)
    return total


async def test_a_bundle_brings_everything_back_but_who_owned_it(
    service: Service, garden: str
) -> None:
    bundle = await exported(service, garden, format="bundle")
    assert bundle.headers["content-type"] == BUNDLE
    assert bundle.headers["content-disposition"] == (
        'attachment; filename="G_rten _ _pfel.quire"; '
        "filename*=UTF-8''G%C3%A4rten%20_%20%C3%84pfel.quire"
    )
    before = (await service.client.get(f"/sessions/{garden}")).json()

    after = await imported(service, bundle.content, new_name="Again")

    assert after["name"] == "Again"
    assert after["tags"] == ["spring", "imported"]
    assert after["metadata"] == {"project": 1.5, "imported_from": "garden"}
    assert after["lineage"] == {"imported_from": "garden"}
    assert after["configuration"] == before["configuration"]
    assert after["embedding"] == before["embedding"]
    for count in ("points_count", "chunks_count"):
        assert after[count] == before[count]
    assert await digest(service, after["id"]) == await digest(service, garden)
    for path in ("documents/md/content", "documents/long/text", "chunks/3"):
        ours = await service.client.get(f"/sessions/{after['id']}/{path}")
        theirs = await service.client.get(f"/sessions/{garden}/{path}")
        assert ours.text.replace(after["id"], garden) == theirs.text
    found = await service.client.post(
        f"/sessions/{after['id']}/search", json={"query": "sewn leaves", "limit": 1}
    )
    assert found.json()["items"][0]["document_id"] == "md"
    # and it goes on: the next document gets the next number
    answer = await service.client.post(
        f"/sessions/{after['id']}/documents", json={"documents": [{"id": "new", "text": "More."}]}
    )
    assert answer.json()["documents"][0]["first_seq"] == before["chunks_count"]


async def test_the_same_session_gives_the_same_bytes(service: Service, garden: str) -> None:
    for format in ("bundle", "parquet", "jsonl", "csv"):
        first = await exported(service, garden, format=format)
        again = await exported(service, garden, format=format)
        assert first.content == again.content, format
        assert int(first.headers["content-length"]) == len(first.content)


@pytest.mark.parametrize(
    ("format", "type"),
    [
        ("parquet", "application/octet-stream"),
        ("jsonl", "application/x-ndjson"),
        ("csv", "text/csv"),
    ],
)
async def test_points_come_back_from_other_formats(
    service: Service, format: str, type: str
) -> None:
    made = (await service.client.post("/sessions", json={"name": "s"})).json()
    points = [{"id": n, "text": f"=tab {n}", "payload": {"third": n / 3}} for n in range(7)]
    await service.client.put(f"/sessions/{made['id']}/points", json={"points": points})
    file = await exported(service, made["id"], format=format)
    back = await imported(service, file.content, type, model="fake")
    assert back["points_count"] == 7
    assert await digest(service, back["id"]) == await digest(service, made["id"])
    # and without its vectors it is embedded as it was
    file = await exported(service, made["id"], format=format, vectors="omit")
    back = await imported(service, file.content, type)
    assert await digest(service, back["id"]) == await digest(service, made["id"])


async def test_chunks_without_their_documents_become_points(service: Service, garden: str) -> None:
    file = await exported(service, garden, format="jsonl")
    back = await imported(service, file.content, "application/x-ndjson")
    source = (await service.client.get(f"/sessions/{garden}")).json()
    assert (back["points_count"], back["chunks_count"]) == (source["points_count"], 0)
    assert back["embedding"]["provider"] == "external"


async def test_a_part_of_a_session_comes_with_its_documents(service: Service, garden: str) -> None:
    file = await exported(service, garden, format="bundle", document_ids="md")
    back = await imported(service, file.content)
    assert back["points_count"] == back["chunks_count"] > 0
    listed = (await service.client.get(f"/sessions/{back['id']}/documents")).json()
    assert [document["id"] for document in listed] == ["md"]
    filter = json.dumps({"must": [{"key": "n", "range": {"gte": 15}}]})
    lines = (await exported(service, garden, format="jsonl", filter=filter)).text.splitlines()
    assert [json.loads(line)["id"] for line in lines] == [15, 16, 17, 18, 19]


async def test_new_ids_tell_where_they_come_from(service: Service, garden: str) -> None:
    bundle = (await exported(service, garden, format="bundle")).content
    back = await imported(service, bundle, new_ids=True)
    page = (
        await service.client.get(f"/sessions/{back['id']}/points", params={"limit": 100})
    ).json()
    origins = [point["payload"]["_origin"] for point in page]
    assert {origin["session_id"] for origin in origins} == {garden}
    assert {origin["id"] for origin in origins} >= set(range(20))
    assert not {point["id"] for point in page} & set(range(20))


async def test_a_form_and_an_upload_bring_files_too(service: Service, garden: str) -> None:
    bundle = (await exported(service, garden, format="bundle")).content
    form = await service.client.post(
        "/sessions/import",
        files={"file": ("marsh.quire", bundle, "application/octet-stream")},
        data={"new_name": "By form", "new_ids": "false"},
    )
    assert form.status_code == 200, form.text
    assert form.json()["name"] == "By form"

    length = {"Upload-Length": str(len(bundle)), "Tus-Resumable": "1.0.0"}
    made = await service.client.post("/uploads", headers=length)
    upload = made.headers["location"].rpartition("/")[2]
    early = await service.client.post("/sessions/import", params={"upload": upload})
    assert_problem(early, 409, "conflict")
    for start in range(0, len(bundle), 20_000):
        headers = {
            "Upload-Offset": str(start),
            "Content-Type": "application/offset+octet-stream",
            "Tus-Resumable": "1.0.0",
        }
        piece = bundle[start : start + 20_000]
        sent = await service.client.patch(f"/uploads/{upload}", content=piece, headers=headers)
        assert sent.status_code == 204, sent.text
    whole = await service.client.post(
        "/sessions/import", params={"upload": upload, "new_name": "By upload", "id": "uploaded"}
    )
    assert whole.status_code == 200, whole.text
    assert whole.json()["id"] == "uploaded"
    gone = await service.client.post("/sessions/import", params={"upload": upload})
    assert_problem(gone, 404, "upload_not_found")
    taken = await service.client.post("/sessions/import", params={"id": "uploaded"}, content=bundle)
    assert_problem(taken, 409, "conflict", about="id")


async def test_columns_of_a_strangers_file_are_mapped(service: Service) -> None:
    rows = [{"key": f"k{n}", "emb": [float(n == i) for i in range(4)], "t": "x"} for n in range(4)]
    lines = "\n".join(json.dumps(row) for row in rows).encode()
    mapping = {"id": {"column": "key", "hash": True}, "vector": "emb", "text": "t"}
    back = await imported(
        service, lines, "application/x-ndjson", mapping=json.dumps(mapping), distance="dot"
    )
    assert back["points_count"] == 4
    assert back["embedding"]["provider"] == "external"
    assert (back["embedding"]["dimension"], back["embedding"]["distance"]) == (4, "dot")
    hits = await service.client.post(
        f"/sessions/{back['id']}/points/query", json={"vector": [0, 0, 1, 0], "limit": 1}
    )
    assert hits.json()[0]["payload"]["_id"] == "k2"


async def test_who_does_not_wait_is_told_of_the_job(service: Service, garden: str) -> None:
    bundle = (await exported(service, garden, format="bundle")).content
    headers = {"Prefer": "wait=0", "Idempotency-Key": new_id("key")}
    first = await service.client.post("/sessions/import", content=bundle, headers=headers)
    assert first.status_code == 202, first.text
    job = await service.quire.jobs.wait(first.json()["id"], 30)
    assert first.headers["location"] == f"/jobs/{job.id}"
    assert job.result is not None
    session = await service.client.get(f"/sessions/{job.result['session_id']}")
    assert session.json()["metadata"]["imported_from"] == garden
    again = await service.client.post("/sessions/import", content=bundle, headers=headers)
    assert again.json()["id"] == job.id


async def test_what_does_not_go_together_is_said(service: Service, garden: str) -> None:
    for query, about in (
        ({"vectors": "omit"}, "vectors"),
        ({"format": "csv", "include_data": "false"}, "include_data"),
        ({"filter": "{", "format": "csv"}, "filter"),
        ({"filter": "{}", "document_ids": "md"}, "document_ids"),
    ):
        answer = await service.client.get(f"/sessions/{garden}/export", params=query)
        assert_problem(answer, 422, about=about)
    both = await service.client.post("/sessions/import", params={"upload": "u"}, content=b"x")
    assert_problem(both, 422, about="upload")
    plain = await service.client.post("/sessions/import", params={"dimension": 0}, content=b"x")
    assert_problem(plain, 422, about="dimension")


def _members(bundle: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(bundle)) as archive:
        return {m.name: archive.extractfile(m).read() for m in archive}  # type: ignore[union-attr]


def _tar(members: dict[str, bytes], *, link: bool = False) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, data in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
        if link:
            entry = tarfile.TarInfo("content/00001.bin.zst")
            entry.type, entry.linkname = tarfile.SYMTYPE, "/etc/passwd"
            archive.addfile(entry)
    return file.getvalue()


def _newer(bundle: bytes) -> bytes:
    members = _members(bundle)
    head = json.loads(members["format.json"])
    return _tar({**members, "format.json": json.dumps({**head, "version": 99}).encode()})


def _flipped(bundle: bytes) -> bytes:
    middle = len(bundle) // 2
    return bundle[:middle] + bytes([bundle[middle] ^ 1]) + bundle[middle + 1 :]


BAD = {
    "truncated": lambda bundle: bundle[: len(bundle) * 2 // 3],
    "without its manifest": lambda bundle: _tar(
        {n: d for n, d in _members(bundle).items() if n != "manifest.json"}
    ),
    "tampered": _flipped,
    "newer": _newer,
    "climbing": lambda bundle: _tar({**_members(bundle), "../evil": b"x"}),
    "linking": lambda bundle: _tar(_members(bundle), link=True),
    "no file at all": lambda bundle: b"",
    "a pickle": lambda bundle: b"\x80\x04\x95" + bundle,
    "a bomb": lambda bundle: b'{"id":1,"payload":{"a":' + b"[" * 100_000,
    "ids twice": lambda bundle: b'{"id":1,"vector":[1,0]}\n' * 2,
    "a vector of another length": lambda bundle: b'{"id":1,"vector":[1,0]}\n{"id":2,"vector":[1]}',
}


@pytest.mark.parametrize("kind", BAD)
async def test_a_bad_file_is_refused_and_nothing_is_left(
    service: Service, garden: str, kind: str
) -> None:
    bundle = (await exported(service, garden, format="bundle")).content
    before = await _held(service)
    answer = await service.client.post("/sessions/import", content=BAD[kind](bundle))
    problem = assert_problem(answer, 422, "file_refused")
    assert len(problem["detail"]) > 20
    await _settled(service)
    assert await _held(service) == before


async def test_a_bundle_that_unpacks_to_too_much_is_refused(service: Service) -> None:
    made = (await service.client.post("/sessions", json={"name": "zeros"})).json()
    points = [{"id": n, "text": "a", "payload": {"zeros": "0" * 150_000}} for n in range(20)]
    put = await service.client.put(f"/sessions/{made['id']}/points", json={"points": points})
    assert put.status_code == 200, put.text
    bundle = (await exported(service, made["id"], format="bundle")).content
    assert len(bundle) < 500_000
    answer = await service.client.post("/sessions/import", content=bundle)
    problem = assert_problem(answer, 422, "file_refused")
    assert "QUIRE_TRANSFER_BUNDLE_BYTES" in problem["detail"]


async def _settled(service: Service) -> None:
    """Until what a failed import reserved has been purged."""
    for _ in range(200):
        async with service.quire.database.read() as connection:
            states = set((await connection.execute(sa.select(sessions.c.state))).scalars())
        if states <= {"active", "archived"}:
            return
        await asyncio.sleep(0.05)
    raise AssertionError(states)


async def _held(service: Service) -> dict[str, Any]:
    """Everything that an import could leave behind."""
    quire = service.quire
    held: dict[str, Any] = {}
    async with quire.database.read() as connection:
        for table in (sessions, documents, blob_references):
            count = sa.select(sa.func.count()).select_from(table)
            held[table.name] = await connection.scalar(count)
    held["collections"] = {name async for name in quire.engine.collections()}
    scratch = Path(quire.settings.data_dir) / "scratch"
    held["scratch"] = sorted(scratch.iterdir()) if scratch.is_dir() else []
    return held
