"""An S3 server in this process."""

from __future__ import annotations

import logging
import secrets
import threading
import urllib.request
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING

import obstore
from obstore.store import S3Store

from tests.backends.availability import UnavailableError
from tests.backends.ports import LOOPBACK

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

MISSING = "server half skipped: no S3 server (install moto[s3,server])"
REGION = "us-east-1"


@dataclass(frozen=True, slots=True)
class S3Bucket:
    """A bucket and all that a client needs to use it."""

    endpoint: str
    bucket: str
    region: str
    access_key: str
    secret_key: str

    @property
    def url(self) -> str:
        """The bucket as `QUIRE_BLOB_URL` names it."""
        return f"s3://{self.bucket}"

    @property
    def environment(self) -> dict[str, str]:
        """The variables with which a Quire process uses this bucket."""
        return {
            "QUIRE_BLOB_URL": self.url,
            "QUIRE_BLOB_ENDPOINT": self.endpoint,
            "QUIRE_BLOB_REGION": self.region,
            "QUIRE_BLOB_ACCESS_KEY": self.access_key,
            "QUIRE_BLOB_SECRET_KEY": self.secret_key,
        }

    def store(self, prefix: str | None = None) -> S3Store:
        """An obstore client of the bucket."""
        return S3Store(
            self.bucket,
            prefix=prefix,
            endpoint=self.endpoint,
            region=self.region,
            access_key_id=self.access_key,
            secret_access_key=self.secret_key,
            virtual_hosted_style_request=False,
            client_options={"allow_http": True},
        )


@dataclass(frozen=True, slots=True)
class S3Server:
    """A running S3 server."""

    endpoint: str
    origin: str = "moto, in this process"

    def create_bucket(self) -> S3Bucket:
        """Make an empty bucket."""
        name = f"quire-test-{secrets.token_hex(6)}"
        self._request("PUT", name)
        return S3Bucket(self.endpoint, name, REGION, "test-key", "test-secret")

    def drop_bucket(self, bucket: S3Bucket) -> None:
        """Remove a bucket and what is in it."""
        store = bucket.store()
        for page in obstore.list(store):
            obstore.delete(store, [entry["path"] for entry in page])
        self._request("DELETE", bucket.bucket)

    def _request(self, method: str, bucket: str) -> None:
        request = urllib.request.Request(f"{self.endpoint}/{bucket}", method=method)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=10):
            pass


def one_change_at_a_time(app: WSGIApplication) -> WSGIApplication:
    """S3 takes changes of one key one after the other; moto, left alone, trips over them."""
    changing = threading.Lock()

    def ordered(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] in ("GET", "HEAD"):
            return app(environ, start_response)
        with changing:
            return list(app(environ, start_response))

    return ordered


@contextmanager
def s3_server() -> Iterator[S3Server]:
    """The S3 server that the tests share."""
    if find_spec("moto") is None:
        raise UnavailableError(MISSING)
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.WARNING)  # or it prints every request
    server = ThreadedMotoServer(ip_address=LOOPBACK, port=0, verbose=False)
    server.start()
    assert server._server is not None
    server._server.app = one_change_at_a_time(server._server.app)
    try:
        host, port = server.get_host_and_port()
        yield S3Server(f"http://{host}:{port}")
    finally:
        server.stop()
