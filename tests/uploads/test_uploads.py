"""Uploads: pieces in, a file out, and what becomes of those that break off."""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from quire.access.principal import LOCAL, Principal, Scope
from quire.blobs.ledger import BlobLedger
from quire.blobs.objects import open_blobs
from quire.errors import (
    BadRequest,
    BodyTooLarge,
    Conflict,
    Expired,
    Forbidden,
    InvalidInput,
    QuireError,
    Unavailable,
    UploadNotFound,
)
from quire.settings import BlobSettings, TransferSettings
from quire.store.columns import now
from quire.store.database import Database
from quire.store.tables import blob_references, upload_parts, uploads
from quire.uploads.checksum import Checksum, ChecksumMismatch
from quire.uploads.models import Upload
from quire.uploads.uploads import OffsetConflict, Uploads
from tests.backends.s3 import S3Bucket
from tests.contract.test_blobs import s3_settings
from tests.sessions.house import ADA, GRACE, OPERATOR
from tests.store.template import migrated, prepare_database

PIECE = 1_000
LIMIT = 50_000
DAY = timedelta(hours=24)
CONTENT = random.Random(4).randbytes(10_500)


class House:
    """Uploads over one database and one store of blobs, looked at from several sides."""

    def __init__(self, database: Database, directory: Path, blobs: BlobSettings) -> None:
        self.database = database
        self.blobs = open_blobs(blobs, directory)
        self.ledger = BlobLedger(database, self.blobs, grace_seconds=60)
        self.uploads = self.replica()

    def replica(self) -> Uploads:
        settings = TransferSettings(upload_bytes=LIMIT, upload_hours=24)
        return Uploads(self.database, self.blobs, self.ledger, settings, piece_bytes=PIECE)

    async def begun(self, size: int | None = len(CONTENT), who: Principal = ADA) -> Upload:
        return await self.uploads.create(who, size, {"filename": "marsh.quire"})

    async def content(self, upload: Upload, **bounds: int) -> bytes:
        return b"".join([block async for block in self.uploads.read(upload, **bounds)])

    async def count(self, table: sa.Table) -> int:
        async with self.database.read() as connection:
            query = sa.select(sa.func.count()).select_from(table)
            return int((await connection.execute(query)).scalar_one())

    async def swept(self) -> set[str]:
        """What is in the store once everything unreferenced is gone."""
        await self.ledger.sweep(now() + timedelta(hours=2))
        return {blob.sha256 async for blob in self.blobs.blobs()}


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    database = Database.sqlite(migrated(tmp_path) / "quire.db")
    yield House(database, tmp_path, BlobSettings())
    await database.close()


async def sent(content: bytes, block: int = 300) -> AsyncIterator[bytes]:
    for start in range(0, len(content), block):
        yield content[start : start + block]


async def broken_off(content: bytes) -> AsyncIterator[bytes]:
    async for block in sent(content):
        yield block
    raise BadRequest("The body broke off")


async def test_a_file_comes_back_as_it_was_sent(house: House) -> None:
    upload = await house.begun()
    for start in range(0, len(CONTENT), 2_700):
        upload = await house.uploads.append(
            ADA, upload.id, start, sent(CONTENT[start : start + 2_700])
        )
    assert upload.is_complete
    assert await house.uploads.whole(ADA, upload.id) == upload
    assert await house.content(upload) == CONTENT
    for start, end in ((0, 1), (999, 1_001), (2_700, 2_700), (5, 10_499), (10_499, 99_999)):
        assert await house.content(upload, start=start, end=end) == CONTENT[start:end]


@pytest.mark.postgres
async def test_replicas_take_turns_over_postgres_and_s3(
    tmp_path: Path, postgres_url: str, s3_bucket: S3Bucket
) -> None:
    database = Database.postgres(postgres_url)
    await prepare_database(database)
    settings = s3_settings(s3_bucket)
    try:
        house = House(database, tmp_path, settings)
        first, second = house.replica(), house.replica()
        upload = await house.begun()
        with pytest.raises(BadRequest):
            await first.append(ADA, upload.id, 0, broken_off(CONTENT[:3_300]))
        # when both go on at once
        answers = await asyncio.gather(
            first.append(ADA, upload.id, 3_300, sent(CONTENT[3_300:])),
            second.append(ADA, upload.id, 3_300, sent(CONTENT[3_300:])),
            return_exceptions=True,
        )
        # then one of them does
        assert {type(answer) for answer in answers} == {OffsetConflict, Upload}
        assert await house.content(await second.whole(ADA, upload.id)) == CONTENT
        page = await second.find(ADA)
        assert [found.id for found in page.uploads] == [upload.id]
        await second.delete(ADA, upload.id)
        assert await house.swept() == set()
    finally:
        await database.close()


async def test_what_arrived_before_the_connection_broke_is_kept(house: House) -> None:
    upload = await house.begun()
    with pytest.raises(BadRequest, match="broke off"):
        await house.uploads.append(ADA, upload.id, 0, broken_off(CONTENT[:4_321]))
    upload = await house.uploads.get(ADA, upload.id)
    assert upload.received == 4_321
    assert await house.content(upload) == CONTENT[:4_321]
    upload = await house.uploads.append(ADA, upload.id, 4_321, sent(CONTENT[4_321:]))
    assert await house.content(upload) == CONTENT


async def test_of_two_senders_at_the_same_moment_one_goes_on(house: House) -> None:
    upload = await house.begun()
    other = random.Random(5).randbytes(len(CONTENT))
    answers = await asyncio.gather(
        house.uploads.append(ADA, upload.id, 0, sent(CONTENT)),
        house.replica().append(ADA, upload.id, 0, sent(other)),
        return_exceptions=True,
    )
    assert {type(answer) for answer in answers} == {OffsetConflict, Upload}
    won = CONTENT if isinstance(answers[0], Upload) else other
    assert await house.content(await house.uploads.whole(ADA, upload.id)) == won


async def test_who_is_not_where_the_upload_is_is_told_where_that_is(house: House) -> None:
    upload = await house.begun()
    upload = await house.uploads.append(ADA, upload.id, 0, sent(CONTENT[:100]))
    for offset in (0, 99, 101):
        with pytest.raises(OffsetConflict, match="100") as refused:
            await house.uploads.append(ADA, upload.id, offset, sent(b"x"))
        assert refused.value.details["received"] == 100
    with pytest.raises(Conflict, match="100 of 10500"):
        await house.uploads.whole(ADA, upload.id)


@pytest.mark.parametrize("algorithm", ["sha1", "sha256"])
async def test_with_a_checksum_it_is_all_or_nothing(house: House, algorithm: Any) -> None:
    upload = await house.begun()
    right = Checksum(algorithm, hashlib.new(algorithm, CONTENT[:3_500]).digest())
    damaged = b"?" + CONTENT[1:3_500]
    attempts: list[tuple[AsyncIterator[bytes], type[QuireError]]] = [
        (sent(damaged), ChecksumMismatch),
        (broken_off(CONTENT[:3_500]), BadRequest),
        (sent(CONTENT[:3_400]), ChecksumMismatch),
    ]
    for content, refusal in attempts:
        with pytest.raises(refusal):
            await house.uploads.append(ADA, upload.id, 0, content, checksum=right)
        assert await house.uploads.get(ADA, upload.id) == upload
        assert await house.count(upload_parts) == 0
    assert await house.swept() == set()
    upload = await house.uploads.append(ADA, upload.id, 0, sent(CONTENT[:3_500]), checksum=right)
    assert await house.content(upload) == CONTENT[:3_500]


async def test_what_is_swept_before_its_checksum_is_known_is_to_be_sent_again(
    house: House,
) -> None:
    upload = await house.begun()

    async def slow() -> AsyncIterator[bytes]:
        yield CONTENT[:PIECE]
        yield CONTENT[PIECE : PIECE + 1]
        await house.swept()

    right = Checksum("sha1", hashlib.sha1(CONTENT[: PIECE + 1]).digest())
    with pytest.raises(Unavailable, match="swept"):
        await house.uploads.append(ADA, upload.id, 0, slow(), checksum=right)
    assert (await house.uploads.get(ADA, upload.id)).received == 0


async def test_never_more_than_was_declared(house: House) -> None:
    upload = await house.begun(size=2_500)
    with pytest.raises(BodyTooLarge, match="2500 bytes"):
        await house.uploads.append(ADA, upload.id, 0, sent(CONTENT))
    # given what had come before it was too much, the rest is welcome
    upload = await house.uploads.get(ADA, upload.id)
    assert upload.received == 2_000
    upload = await house.uploads.append(ADA, upload.id, 2_000, sent(CONTENT[2_000:2_500]))
    assert upload.is_complete
    with pytest.raises(BodyTooLarge):
        await house.uploads.append(ADA, upload.id, 2_500, sent(b"x"))
    assert await house.uploads.append(ADA, upload.id, 2_500, sent(b"")) == upload


async def test_nothing_over_the_limit_is_begun_or_grows_over_it(house: House) -> None:
    with pytest.raises(BodyTooLarge, match=r"50000 bytes \(QUIRE_TRANSFER_UPLOAD_BYTES"):
        await house.begun(size=LIMIT + 1)
    with pytest.raises(InvalidInput):
        await house.begun(size=-1)
    unknown = await house.begun(size=None)
    with pytest.raises(BodyTooLarge, match="QUIRE_TRANSFER_UPLOAD_BYTES"):
        await house.uploads.append(ADA, unknown.id, 0, sent(bytes(LIMIT + 1)))


async def test_a_length_that_was_left_open_is_declared_once(house: House) -> None:
    upload = await house.begun(size=None)
    upload = await house.uploads.append(ADA, upload.id, 0, sent(CONTENT[:1_500]))
    with pytest.raises(Conflict, match="of an unknown number of bytes"):
        await house.uploads.whole(ADA, upload.id)
    with pytest.raises(InvalidInput, match="1500 bytes have arrived"):
        await house.uploads.append(ADA, upload.id, 1_500, sent(b""), size=1_000)
    with pytest.raises(OffsetConflict):
        await house.uploads.append(ADA, upload.id, 0, sent(b""), size=1_600)
    upload = await house.uploads.append(ADA, upload.id, 1_500, sent(b""), size=1_600)
    assert (upload.size, upload.received) == (1_600, 1_500)
    with pytest.raises(Conflict, match="1600 bytes, and not 1700"):
        await house.uploads.append(ADA, upload.id, 1_500, sent(b""), size=1_700)
    upload = await house.uploads.append(ADA, upload.id, 1_500, sent(bytes(100)), size=1_600)
    assert upload.is_complete


async def test_an_empty_file_is_complete_at_once(house: House) -> None:
    upload = await house.uploads.whole(ADA, (await house.begun(size=0)).id)
    assert await house.content(upload) == b""


async def test_for_others_it_does_not_exist(house: House) -> None:
    upload = await house.begun()
    for stranger in (GRACE, Principal(None, scope=Scope.WRITE)):
        with pytest.raises(UploadNotFound):
            await house.uploads.get(stranger, upload.id)
        with pytest.raises(UploadNotFound):
            await house.uploads.append(stranger, upload.id, 0, sent(b"x"))
        with pytest.raises(UploadNotFound):
            await house.uploads.delete(stranger, upload.id)
        assert (await house.uploads.find(stranger)).uploads == []
    for operator in (OPERATOR, LOCAL):
        assert await house.uploads.get(operator, upload.id) == upload
        assert (await house.uploads.find(operator)).uploads == [upload]


async def test_a_token_that_reads_only_looks(house: House) -> None:
    upload = await house.begun()
    reader = Principal("ada", scope=Scope.READ)
    assert await house.uploads.get(reader, upload.id) == upload
    for change in (
        house.begun(who=reader),
        house.uploads.append(reader, upload.id, 0, sent(b"x")),
        house.uploads.delete(reader, upload.id),
    ):
        with pytest.raises(Forbidden):
            await change


async def test_pages_of_a_list_hold_each_upload_once(house: House) -> None:
    begun = [(await house.begun()).id for _ in range(5)]
    await house.begun(who=GRACE)
    seen: list[str] = []
    page = await house.uploads.find(ADA, limit=2)
    seen += [upload.id for upload in page.uploads]
    while page.next_cursor is not None:
        page = await house.uploads.find(ADA, limit=2, cursor=page.next_cursor)
        seen += [upload.id for upload in page.uploads]
    assert seen == begun[::-1]
    with pytest.raises(InvalidInput, match="cursor"):
        await house.uploads.find(ADA, cursor="5")


async def test_what_is_deleted_leaves_nothing(house: House) -> None:
    upload = await house.begun()
    upload = await house.uploads.append(ADA, upload.id, 0, sent(bytes(5_000)))  # one blob, 5 times

    async def deleted_meanwhile() -> AsyncIterator[bytes]:
        yield b"x"
        await house.uploads.delete(ADA, upload.id)

    with pytest.raises(UploadNotFound):
        await house.uploads.append(ADA, upload.id, 5_000, deleted_meanwhile())
    with pytest.raises(UploadNotFound):
        await house.uploads.delete(ADA, upload.id)
    with pytest.raises(UploadNotFound):
        await house.content(upload)
    for table in (uploads, upload_parts, blob_references):
        assert await house.count(table) == 0
    assert await house.swept() == set()


async def test_it_is_forgotten_a_day_after_its_last_bytes(house: House) -> None:
    begun = await house.begun()
    assert begun.expires_at == begun.created_at + DAY
    kept = await house.uploads.append(ADA, (await house.begun()).id, 0, sent(CONTENT))
    # when one is over, by its last moment
    assert begun.expires_at < kept.expires_at
    assert await house.uploads.forget_expired(begun.expires_at) == 1
    with pytest.raises(UploadNotFound):
        await house.uploads.get(ADA, begun.id)
    # then the other is there, as long as it is kept
    assert await house.content(await house.uploads.keep(kept.id)) == CONTENT
    assert await house.uploads.forget_expired(kept.expires_at) == 0
    assert await house.uploads.forget_expired(now() + DAY) == 1
    assert await house.swept() == set()
    with pytest.raises(UploadNotFound):
        await house.uploads.keep(kept.id)


async def test_what_is_over_and_not_yet_forgotten_is_gone(house: House) -> None:
    upload = await house.begun()
    async with house.database.write() as connection:
        await connection.execute(sa.update(uploads).values(expires_at=now()))
    with pytest.raises(Expired, match="was kept until"):
        await house.uploads.get(ADA, upload.id)
    with pytest.raises(Expired):
        await house.uploads.append(ADA, upload.id, 0, sent(b"x"))
    assert (await house.uploads.find(ADA)).uploads == []


async def test_it_is_taken_over_with_the_transaction_or_not_at_all(house: House) -> None:
    upload = await house.begun()
    upload = await house.uploads.append(ADA, upload.id, 0, sent(CONTENT))

    async def import_that_comes_to_nothing() -> None:
        async with house.database.write() as connection:
            assert await house.uploads.consume(connection, upload.id)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await import_that_comes_to_nothing()
    assert await house.content(upload) == CONTENT
    async with house.database.write() as connection:
        assert await house.uploads.consume(connection, upload.id)
        assert not await house.uploads.consume(connection, upload.id)
    assert await house.count(blob_references) == 0


async def test_beginning_again_under_the_same_id_is_the_same_upload(house: House) -> None:
    first = await house.uploads.create(ADA, 10, {}, "6f1c3b7e-52a4-5d0e-9d59-0b7d6c1f7a10")
    assert await house.uploads.create(ADA, 10, {}, first.id) == first


@pytest.mark.parametrize(
    ("metadata", "told"),
    [
        ({"a b": "x"}, "name"),
        ({"": "x"}, "name"),
        ({"a,b": "x"}, "name"),
        ({"ä": "x"}, "name"),
        ({"a": "x\x00"}, "NUL"),
        ({"a": "x" * 10_000}, "8192"),
    ],
)
async def test_metadata_that_cannot_be_kept(
    house: House, metadata: dict[str, str], told: str
) -> None:
    with pytest.raises(InvalidInput, match=told):
        await house.uploads.create(ADA, 1, metadata)
