"""Unfinished multipart uploads: S3 hides them from every listing and keeps their parts for ever.

obstore has no call that lists or aborts them, but it signs requests with whatever credentials it
finds: here it is given an endpoint that already carries the query, and signs that. (MinIO lists
an unfinished upload only under its exact name, and removes the rest itself after a day.)
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import AsyncIterator, Callable, Container
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal
from urllib.parse import quote, urlencode

import httpx
import obstore
from obstore.store import S3Store

from quire.blobs.failures import naming_failures
from quire.errors import Unavailable

_VALID = timedelta(minutes=1)
_TIMEOUT = httpx.Timeout(10.0, connect=2.0)


@dataclass(frozen=True, slots=True)
class _Unfinished:
    path: str
    upload_id: str
    begun_at: datetime


class UnfinishedUploads:
    """Those of one bucket, under one prefix."""

    def __init__(self, bucket_url: str, prefix: str, open_at: Callable[[str], S3Store]) -> None:
        """`open_at` opens a store, with the bucket's credentials, at the URL it is given."""
        self._bucket_url = bucket_url
        self._prefix = f"{prefix}/" if prefix else ""
        self._open_at = open_at

    async def abort(
        self, under: str, *, before: datetime | None = None, except_for: Container[str] = ()
    ) -> int:
        """Abort those whose path begins with `under` and that began before; answers how many."""
        aborted = 0
        with naming_failures():
            async with httpx.AsyncClient(timeout=_TIMEOUT) as client:
                async for upload in self._unfinished(client, under):
                    if upload.path in except_for:
                        continue
                    if before is not None and upload.begun_at >= before:
                        continue
                    await self._request(
                        client, "DELETE", upload.path, {"uploadId": upload.upload_id}
                    )
                    aborted += 1
        return aborted

    async def _unfinished(
        self, client: httpx.AsyncClient, under: str
    ) -> AsyncIterator[_Unfinished]:
        query = {"uploads": "", "prefix": self._prefix + under}
        while True:
            page = ET.fromstring(await self._request(client, "GET", None, query))  # noqa: S314 - our own store
            for found in page.iterfind("{*}Upload"):
                yield _Unfinished(
                    _text(found, "Key").removeprefix(self._prefix),
                    _text(found, "UploadId"),
                    datetime.fromisoformat(_text(found, "Initiated")),
                )
            if _text(page, "IsTruncated") != "true":
                return
            query["key-marker"] = _text(page, "NextKeyMarker")
            query["upload-id-marker"] = _text(page, "NextUploadIdMarker")

    async def _request(
        self,
        client: httpx.AsyncClient,
        method: Literal["GET", "DELETE"],
        path: str | None,
        query: dict[str, str],
    ) -> str:
        url = f"{self._bucket_url}/{quote(self._prefix + path) if path else ''}"
        # obstore appends a path to the endpoint: the last parameter takes it up, and S3 passes
        # over parameters that begin with x-.
        signer = self._open_at(f"{url}?{urlencode(query, quote_via=quote)}&x-quire=")
        signed = await obstore.sign_async(signer, method, "x", _VALID)
        answer = await client.request(method, signed)
        gone = method == "DELETE" and answer.status_code == httpx.codes.NOT_FOUND
        if answer.is_error and not gone:
            raise Unavailable(
                f"The blob store refuses to tell of unfinished uploads ({answer.status_code})",
                recovery="Allow s3:ListBucketMultipartUploads and s3:AbortMultipartUpload.",
            )
        return answer.text


def _text(element: ET.Element, name: str) -> str:
    return element.findtext(f"{{*}}{name}") or ""
