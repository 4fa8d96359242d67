"""Resumable uploads: begun, appended to until they are whole, then taken over by an import."""

from __future__ import annotations

import re
import uuid
from collections.abc import AsyncIterable, AsyncIterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from quire.access import policy
from quire.access.principal import Principal
from quire.blobs.ledger import BlobLedger
from quire.blobs.port import Blob, BlobStore
from quire.errors import (
    BlobNotFound,
    BodyTooLarge,
    Conflict,
    Expired,
    InvalidInput,
    Unavailable,
    UploadNotFound,
)
from quire.settings import TransferSettings
from quire.store.columns import now
from quire.store.database import Database
from quire.uploads import rows
from quire.uploads.checksum import Checksum
from quire.uploads.incoming import Incoming
from quire.uploads.models import Upload, UploadPage

log = structlog.get_logger(__name__)

# What a process that is killed may have taken in for nothing, and what is one blob.
PIECE_BYTES = 8 * 1024 * 1024
METADATA_BYTES = 8 * 1024
METADATA_NAME = re.compile(r"[!-+\--~]+")
HOLDER = "parts"


class OffsetConflict(Conflict):
    """The upload has received another number of bytes than the offset says."""

    code = "offset_conflict"
    recovery = "Ask how much has arrived (HEAD /uploads/{id}), and go on from there."


class Uploads:
    """Takes large files in, in as many attempts as it needs.

    What arrives is kept piece by piece, each a blob. When a connection breaks off, all is kept
    that had been read of it; when a process is killed, all but a piece. Any replica takes the rest.
    An upload is its owner's, and an operator's; for everyone else it does not exist. So long
    after its last bytes it is forgotten, complete or not.
    """

    def __init__(
        self,
        database: Database,
        blobs: BlobStore,
        ledger: BlobLedger,
        settings: TransferSettings,
        *,
        piece_bytes: int = PIECE_BYTES,
    ) -> None:
        self._database = database
        self._blobs = blobs
        self._ledger = ledger
        self._limit = settings.upload_bytes
        self._kept_for = timedelta(hours=settings.upload_hours)
        self._piece_bytes = piece_bytes

    async def create(
        self,
        principal: Principal,
        size: int | None,
        metadata: Mapping[str, str],
        upload_id: str | None = None,
    ) -> Upload:
        """Begin an upload of so many bytes; None: its sender will say later.

        An `upload_id` is one that nobody else can have made; given again, the upload is the same.
        """
        policy.require_writer(principal)
        self._require_size(size)
        _require_metadata(metadata)
        at = now()
        upload = Upload(
            id=upload_id or str(uuid.uuid4()),
            owner_id=principal.subject,
            size=size,
            received=0,
            metadata=dict(metadata),
            created_at=at,
            expires_at=at + self._kept_for,
        )
        async with self._database.write() as connection:
            if upload_id is not None and (made := await rows.locked(connection, upload_id)):
                return made
            await rows.insert(connection, upload)
        return upload

    async def get(self, principal: Principal, upload_id: str) -> Upload:
        """An upload as it stands; `Expired` in the time between its end and its removal."""
        async with self._database.read() as connection:
            upload = await rows.find(connection, upload_id)
        if upload is None or not _is_for(principal, upload):
            raise _not_found(upload_id)
        if upload.expires_at <= now():
            raise Expired(
                f"Upload {upload.id} was kept until {upload.expires_at:%Y-%m-%d %H:%M:%S} UTC",
                recovery="Begin a new upload with POST /uploads.",
            )
        return upload

    async def whole(self, principal: Principal, upload_id: str) -> Upload:
        """An upload that has arrived whole; `Conflict` while it has not."""
        upload = await self.get(principal, upload_id)
        if not upload.is_complete:
            total = "an unknown number of" if upload.size is None else upload.size
            raise Conflict(
                f"Upload {upload.id} is not complete: {upload.received} of {total} bytes arrived",
                recovery=f"Send the rest with PATCH /uploads/{upload.id}.",
            )
        return upload

    async def find(
        self, principal: Principal, *, cursor: str | None = None, limit: int = 100
    ) -> UploadPage:
        """The caller's uploads, newest first; an operator's are everyone's."""
        async with self._database.read() as connection:
            found = await rows.page(
                connection,
                owner_id=principal.subject,
                everyones=principal.is_operator,
                after=now(),
                before=None if cursor is None else rows.decode_cursor(cursor),
                limit=limit + 1,
            )
        more = len(found) > limit
        return UploadPage(found[:limit], rows.encode_cursor(found[limit - 1]) if more else None)

    async def append(
        self,
        principal: Principal,
        upload_id: str,
        offset: int,
        content: AsyncIterable[bytes],
        *,
        checksum: Checksum | None = None,
        size: int | None = None,
    ) -> Upload:
        """Take in what comes after `offset`, which must be what has been received so far.

        Without a checksum everything is kept that arrives before the content breaks off or is too
        much; with one, all or nothing. `size` says how large the upload is where that was left
        open. Of two that append at the same moment one gets `OffsetConflict`.
        """
        upload = await self.get(principal, upload_id)
        policy.require_writer(principal)
        _require_offset(upload, offset)
        declared = self._declared(upload, size)
        incoming = self._incoming(declared, content, checksum)
        arrived: list[Blob] = []
        while await incoming.has_more():
            arrived.append(await self._ledger.put(incoming.piece()))
            if checksum is None:
                declared = upload = await self._enter(declared, arrived)
                arrived.clear()
        incoming.require_whole()
        if arrived or declared != upload:
            return await self._enter(declared, arrived)
        return upload

    async def delete(self, principal: Principal, upload_id: str) -> None:
        """Remove an upload, complete or not, even while it is being appended to."""
        await self.get(principal, upload_id)
        policy.require_writer(principal)
        async with self._database.write() as connection:
            if not await self.consume(connection, upload_id):
                raise _not_found(upload_id)

    async def keep(self, upload_id: str) -> Upload:
        """For a job that its owner has it read: the upload, its time begun anew."""
        async with self._database.write() as connection:
            upload = await rows.locked(connection, upload_id)
            if upload is None:
                raise _not_found(upload_id)
            upload = replace(upload, expires_at=now() + self._kept_for)
            await rows.update(connection, upload)
        return upload

    async def read(
        self, upload: Upload, *, start: int = 0, end: int | None = None
    ) -> AsyncIterator[bytes]:
        """The bytes received when `upload` was looked up, from `start` up to, not including, `end`.

        `UploadNotFound` where it is gone by now.
        """
        end = upload.received if end is None else min(end, upload.received)
        async with self._database.read() as connection:
            parts = await rows.parts(connection, upload.id, start, end)
        if start < end and not parts:
            raise _not_found(upload.id)
        for part in parts:
            first, last = max(start - part.start, 0), min(end - part.start, part.size)
            # A whole blob is asked for as such: for a range the store is asked twice.
            until = None if last == part.size else last
            async for block in self._blobs.get(part.sha256, start=first, end=until):
                yield block

    async def consume(self, connection: AsyncConnection, upload_id: str) -> bool:
        """Remove an upload in the caller's transaction; whether it was still there."""
        if await rows.locked(connection, upload_id) is None:
            return False
        await self._ledger.release(connection, _session_of(upload_id))
        await rows.delete(connection, upload_id)
        return True

    async def forget_expired(self, at: datetime) -> int:
        """Remove what has expired by then; answers how many there were."""
        async with self._database.read() as connection:
            expired = await rows.expired(connection, at)
        forgotten = 0
        for upload_id in expired:
            async with self._database.write() as connection:
                upload = await rows.locked(connection, upload_id)
                if upload is not None and upload.expires_at <= at:  # it may have gone on meanwhile
                    forgotten += await self.consume(connection, upload_id)
        if forgotten:
            log.info("expired uploads are forgotten", uploads=forgotten)
        return forgotten

    async def _enter(self, upload: Upload, arrived: Sequence[Blob]) -> Upload:
        """Enter what arrived after the upload as it was looked up, if it still is as it was."""
        session_id = _session_of(upload.id)
        try:
            async with self._database.write() as connection:
                present = await rows.locked(connection, upload.id)
                if present is None:
                    raise _not_found(upload.id)
                _require_offset(present, upload.received)
                self._declared(present, upload.size)
                received = present.received
                for blob in arrived:
                    await rows.insert_part(connection, upload.id, received, blob)
                    await self._ledger.refer(connection, session_id, HOLDER, blob.sha256)
                    received += blob.size
                entered = replace(upload, received=received, expires_at=now() + self._kept_for)
                await rows.update(connection, entered)
        except BlobNotFound as error:
            raise Unavailable(
                "What arrived was swept before its checksum could be compared",
                recovery="Send less at once; or raise QUIRE_BLOB_SWEEP_GRACE_SECONDS above the "
                "time that it takes.",
            ) from error
        return entered

    def _incoming(
        self, upload: Upload, content: AsyncIterable[bytes], checksum: Checksum | None
    ) -> Incoming:
        if upload.size is None:
            end, too_much = self._limit, _over(self._limit)
        else:
            end = upload.size
            too_much = f"The upload was declared to have {upload.size} bytes, and this is more"
        return Incoming(
            content,
            self._piece_bytes,
            room=end - upload.received,
            too_much=too_much,
            checksum=checksum,
        )

    def _declared(self, upload: Upload, size: int | None) -> Upload:
        """The upload with its size, where that was left open."""
        if size is None or size == upload.size:
            return upload
        if upload.size is not None:
            raise Conflict(
                f"The upload was declared to have {upload.size} bytes, and not {size}",
                recovery="Leave the length out, or begin another upload.",
            )
        if size < upload.received:
            raise InvalidInput(
                f"{upload.received} bytes have arrived, and the length is said to be {size}",
                field="Upload-Length",
            )
        self._require_size(size)
        return replace(upload, size=size)

    def _require_size(self, size: int | None) -> None:
        if size is None:
            return
        if size < 0:
            raise InvalidInput("The length of an upload is 0 or more", field="Upload-Length")
        if size > self._limit:
            raise BodyTooLarge(_over(self._limit), field="Upload-Length")


def _require_offset(upload: Upload, offset: int) -> None:
    if offset != upload.received:
        raise OffsetConflict(
            f"The upload has received {upload.received} bytes, and the offset is {offset}",
            received=upload.received,
        )


def _require_metadata(metadata: Mapping[str, str]) -> None:
    for name, value in metadata.items():
        if not METADATA_NAME.fullmatch(name):
            raise InvalidInput(
                "A name in the metadata is visible ASCII characters, without commas",
                field="Upload-Metadata",
            )
        if "\x00" in value:
            raise InvalidInput(f"The metadata's {name} has NUL in it", field="Upload-Metadata")
    size = sum(len(text.encode()) for entry in metadata.items() for text in entry)
    if size > METADATA_BYTES:
        raise InvalidInput(
            f"Metadata has {size} bytes, and {METADATA_BYTES} at most are kept",
            field="Upload-Metadata",
        )


def _is_for(principal: Principal, upload: Upload) -> bool:
    """Whether the caller may know of the upload; if not, for them it does not exist."""
    if principal.is_operator:
        return True
    return principal.subject is not None and upload.owner_id == principal.subject


def _session_of(upload_id: str) -> str:
    """Whose its blobs are, in the ledger; no session's id has a slash."""
    return f"upload/{upload_id}"


def _over(limit: int) -> str:
    return f"The upload is over the limit of {limit} bytes (QUIRE_TRANSFER_UPLOAD_BYTES)"


def _not_found(upload_id: str) -> UploadNotFound:
    return UploadNotFound(f"There is no upload {upload_id[:64]}, or it is not yours")
