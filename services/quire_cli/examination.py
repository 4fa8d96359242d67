"""Asking each part, on this machine and now, whether it answers."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable
from contextlib import AsyncExitStack, asynccontextmanager
from importlib.metadata import version
from pathlib import Path
from time import perf_counter

import httpx

from quire.access.keys import FileSource, KeySource, UrlSource
from quire.app import Part, Quire
from quire.content.extraction.process import ProcessExtractor
from quire.embedding.embedders import Embedders
from quire.embedding.minilm import IDENTITY as MINILM
from quire.embedding.weights import find_weights
from quire.errors import QuireError, Unavailable
from quire.jobs.durable import DurableJobs
from quire.jobs.leases import lease_for
from quire.settings import AuthSettings, Settings
from quire.store import Database, pending_migrations
from quire_cli.findings import Check, failed, passed
from quire_cli.parts import needs_data_directory

ANSWER_SECONDS = 15.0
# A large model takes its time to load.
EMBEDDING_SECONDS = 60.0

QUESTION = "Does this model embed?"
PAGE = "<!doctype html><title>A page</title><p>Can this be read?</p>"

RECOVERY = {
    "database": "Start PostgreSQL, or correct QUIRE_DATABASE_URL.",
    "engine": "Start Qdrant, or correct QUIRE_QDRANT_URL and QUIRE_QDRANT_API_KEY.",
    "blobs": "Correct QUIRE_BLOB_URL, QUIRE_BLOB_ENDPOINT and the keys, or start that store.",
    "jobs": "See to the database first; jobs live in it.",
    "embedding": "Correct the QUIRE_EMBEDDING_… settings, or start the endpoint that they name.",
    "extraction": "See whether QUIRE_LIMITS_EXTRACTION_MEGABYTES leaves the process enough memory.",
    "jwks": "Correct QUIRE_AUTH_JWKS, or start what serves it; until then tokens are refused.",
}


async def jwks(auth: AuthSettings, place: str) -> Check:
    """Whether the keys that tokens are checked with can be had."""
    try:
        source: KeySource = (
            UrlSource(place, auth.jwks_refresh_seconds) if "://" in place else FileSource(place)
        )
        try:
            ring = await source.load()
        finally:
            await source.close()
    except QuireError as error:
        return failed("jwks", error, RECOVERY["jwks"])
    except httpx.InvalidURL as error:
        return Check("jwks", False, f"QUIRE_AUTH_JWKS is no URL: {error}", RECOVERY["jwks"])
    return passed("jwks", f"{len(ring)} keys")


async def content(settings: Settings) -> list[Check]:
    """Whether documents can be read and embedded here; needs nothing that a server may hold."""
    return [
        await _answer("embedding", _embedding(settings), EMBEDDING_SECONDS),
        await _answer("extraction", _extraction(settings)),
    ]


async def parts(settings: Settings) -> list[Check]:
    """What each part says; the embedded ones are opened for it."""
    first: list[Check] = []
    async with AsyncExitStack() as stack:
        if await _needs_trial(settings, first):
            scratch = stack.enter_context(tempfile.TemporaryDirectory(prefix="quire-doctor-"))
            settings = settings.model_copy(update={"data_dir": Path(scratch)})
        try:
            quire = await stack.enter_async_context(Quire.open(settings, Part.TOOL))
        except Exception as error:  # damaged data is a finding too, whatever it raises
            return [*first, failed("start", error)]
        asked = [
            _answer("database", _database(quire)),
            _answer("engine", _engine(quire)),
            _answer("blobs", quire.blobs.ping()),
            _answer("jobs", _jobs(quire)),
        ]
        if not settings.jobs.in_process:
            asked.append(_answer("workers", _workers(quire)))
        return [*first, *await asyncio.gather(*asked)]


async def _needs_trial(settings: Settings, checks: list[Check]) -> bool:
    """Whether to try the embedded parts elsewhere: opening them here would make or change them."""
    if not needs_data_directory(settings):
        return False
    path = settings.data_dir / ("quire.db" if settings.database.url is None else "collections")
    if not path.exists():
        words = f"nothing is in {settings.data_dir} yet; its parts were tried in a temporary folder"
        checks.append(passed("data", words))
        return True
    if settings.database.url is not None:
        return False
    async with _looking_at(path) as database:
        try:
            pending = await pending_migrations(database)
        except Exception as error:  # a damaged file is a finding
            checks.append(failed("data", error))
            return True
    if pending:
        words = f"the next start applies the migrations {', '.join(pending)}"
        checks.append(passed("data", f"{words}; until then its parts are tried elsewhere"))
    return bool(pending)


@asynccontextmanager
async def _looking_at(path: Path) -> AsyncIterator[Database]:
    database = Database.sqlite(path)
    try:
        yield database
    finally:
        await database.close()


async def _answer(name: str, asking: Awaitable[str], seconds: float = ANSWER_SECONDS) -> Check:
    try:
        async with asyncio.timeout(seconds):
            return passed(name, await asking)
    except TimeoutError:
        words = f"It did not answer within {seconds:g} seconds"
        return Check(name, False, words, RECOVERY.get(name))
    except Exception as error:  # a boundary: whatever one part does, go on
        return failed(name, error, RECOVERY.get(name))


async def _embedding(settings: Settings) -> str:
    embedders = await Embedders.open(settings.embedding, settings.data_dir)
    try:
        began = perf_counter()
        embedder = await embedders.of(await embedders.default())
        loaded = perf_counter()
        vector = await embedder.query(QUESTION)
        answered = perf_counter()
        is_minilm = embedder.identity == MINILM
        about = _about_minilm(settings.data_dir) if is_minilm else ""
        return (
            f"{embedder.identity.provider}:{embedder.identity.model}{about}; opened in "
            f"{_milliseconds(began, loaded)}, a question became {len(vector)} dimensions in "
            f"{_milliseconds(loaded, answered)}"
        )
    finally:
        await embedders.close()


def _about_minilm(data_dir: Path) -> str:
    # One of them is loaded: that to which the settings, and what is installed, have led.
    runtime = "openvino" if "openvino" in sys.modules else "onnxruntime"
    weights = find_weights(data_dir)
    verified = f", verified weights in {weights.directory}" if weights else ""
    return f" on {runtime} {version(runtime)}{verified}"


async def _extraction(settings: Settings) -> str:
    extractor = ProcessExtractor(settings.limits)
    try:
        with tempfile.TemporaryDirectory(prefix="quire-doctor-") as scratch:
            source = Path(scratch, "page.html")
            await asyncio.to_thread(source.write_text, PAGE)
            began = perf_counter()
            await extractor.extract("text/html", source, Path(scratch, "text"))
            took = _milliseconds(began, perf_counter())
    finally:
        await extractor.close()
    most = settings.limits.extraction_megabytes
    return f"a process of its own, bounded to {most} MB, read a page of HTML in {took}"


def _milliseconds(began: float, ended: float) -> str:
    return f"{(ended - began) * 1000:.0f} ms"


async def _database(quire: Quire) -> str:
    number = await quire.database.ping()
    if pending := await pending_migrations(quire.database):
        raise Unavailable(
            f"The database lacks the migrations {', '.join(pending)}",
            recovery="Run `quire db upgrade` once, with the same settings.",
        )
    return f"{'SQLite' if quire.database.is_sqlite else 'PostgreSQL'} {number}, migrated"


async def _engine(quire: Quire) -> str:
    answer = await quire.engine.ping()
    name, _, number = answer.partition(" ")
    client = version("qdrant-client")
    theirs, ours = _release(number), _release(client)
    if name != "qdrant" or theirs is None or ours is None:
        return answer
    if theirs[0] != ours[0] or abs(theirs[1] - ours[1]) > 1:
        raise Unavailable(
            f"Qdrant {number} and its client {client} are more than one minor version apart",
            recovery=f"Run a Qdrant of version {ours[0]}.{ours[1]}.",
        )
    return answer


async def _jobs(quire: Quire) -> str:
    # Not the jobs of that Quire, which on a server wait in the background for what is missing.
    jobs = DurableJobs(quire.database, quire.settings.jobs)
    await jobs.start(run=False)
    try:
        return await jobs.ping()
    finally:
        await jobs.stop(grace_seconds=0)


async def _workers(quire: Quire) -> str:
    lease = lease_for(quire.database, quire.settings.jobs.lease_seconds)
    alive = 0
    try:
        for executor in await lease.others():
            async with lease.try_lock(executor) as is_free:
                alive += not is_free
    finally:
        await lease.release()
    if not alive:
        raise Unavailable(
            "No worker is running, and QUIRE_JOBS_IN_PROCESS=false leaves all jobs to workers",
            recovery="Start one: `quire worker`, with the same settings.",
        )
    return f"{alive} running"


def _release(number: str) -> tuple[int, int] | None:
    major, _, rest = number.partition(".")
    minor = rest.partition(".")[0]
    return (int(major), int(minor)) if major.isdigit() and minor.isdigit() else None
