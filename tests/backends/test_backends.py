"""The real servers are real, each test gets its own part of them, and they can fall and rise."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

import obstore
import psycopg
import pytest
from qdrant_client import AsyncQdrantClient, models
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from tests.backends import qdrant
from tests.backends.postgres import PostgresServer, libpq_url

if TYPE_CHECKING:
    from tests.backends.postgres import PostgresProcess
    from tests.backends.qdrant import QdrantProcess
    from tests.backends.s3 import S3Bucket, S3Server


async def test_qdrant_answers_its_version(qdrant_url: str) -> None:
    client = AsyncQdrantClient(url=qdrant_url, check_compatibility=False)
    try:
        info = await client.info()
    finally:
        await client.close()
    assert tuple(int(part) for part in info.version.split(".")[:2]) >= (1, 16)


async def test_qdrant_takes_grpc_too(qdrant_process: QdrantProcess) -> None:
    client = AsyncQdrantClient(
        url=qdrant_process.url,
        grpc_port=qdrant_process.grpc_port,
        prefer_grpc=True,
        check_compatibility=False,
    )
    try:
        collections = await client.get_collections()
    finally:
        await client.close()
    assert collections.collections == []


async def test_a_killed_qdrant_comes_back_with_its_points(qdrant_process: QdrantProcess) -> None:
    vectors = models.VectorParams(size=2, distance=models.Distance.COSINE)
    client = AsyncQdrantClient(url=qdrant_process.url, check_compatibility=False)
    try:
        await client.create_collection("kept", vectors_config=vectors)
        await client.upsert("kept", [models.PointStruct(id=7, vector=[0.6, 0.8])], wait=True)
        qdrant_process.kill()
        assert not qdrant.ready(qdrant_process.url)
        await asyncio.to_thread(qdrant_process.start)
        found = await client.retrieve("kept", [7])
    finally:
        await client.close()
    assert [record.id for record in found] == [7]


async def test_an_empty_database_for_each_test(postgres_url: str) -> None:
    engine = create_async_engine(postgres_url)
    try:
        async with engine.connect() as connection:
            version = (await connection.execute(text("SHOW server_version_num"))).scalar_one()
            tables = await connection.execute(
                text("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'")
            )
            assert int(version) >= 180000
            assert tables.scalar_one() == 0
    finally:
        await engine.dispose()


def test_a_database_is_dropped_under_its_users(postgres_server: PostgresServer) -> None:
    url = postgres_server.create_database()
    with psycopg.connect(libpq_url(url)) as connection:
        postgres_server.drop_database(url)
        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT 1")
    with pytest.raises(psycopg.OperationalError, match="does not exist"):
        psycopg.connect(libpq_url(url))


def test_postgres_sorts_strings_by_code_point(postgres_url: str) -> None:
    with psycopg.connect(libpq_url(postgres_url)) as connection:
        rows = connection.execute("SELECT t FROM unnest(ARRAY['b','a','B','é']) t ORDER BY t")
        assert [row[0] for row in rows] == ["B", "a", "b", "é"]


async def test_a_killed_postgres_comes_back_with_what_was_committed(
    postgres_process: PostgresProcess,
) -> None:
    url = postgres_process.create_database()
    engine = create_async_engine(url, pool_pre_ping=True)
    try:
        async with engine.begin() as connection:
            await connection.execute(text("CREATE TABLE kept (id int)"))
            await connection.execute(text("INSERT INTO kept VALUES (7)"))
        postgres_process.kill()
        assert not postgres_process.answers()
        await asyncio.to_thread(postgres_process.start)
        async with engine.connect() as connection:
            rows = await connection.execute(text("SELECT id FROM kept"))
            assert rows.scalars().all() == [7]
    finally:
        await engine.dispose()


async def test_postgres_by_its_unix_socket(postgres_process: PostgresProcess) -> None:
    by_socket = PostgresServer(postgres_process.socket_url, "socket")
    url = by_socket.create_database()
    engine = create_async_engine(url)
    try:
        async with engine.connect() as connection:
            assert (await connection.execute(text("SELECT 1"))).scalar_one() == 1
    finally:
        await engine.dispose()
    by_socket.drop_database(url)


def test_a_server_outlives_the_thread_that_started_it(postgres_process: PostgresProcess) -> None:
    starter = threading.Thread(target=postgres_process.restart)
    starter.start()
    starter.join()
    assert postgres_process.answers()


def test_a_paused_server_answers_again(qdrant_process: QdrantProcess) -> None:
    qdrant_process.pause()
    assert not qdrant.ready(qdrant_process.url)
    qdrant_process.resume()
    assert qdrant.ready(qdrant_process.url)


async def test_a_bucket_keeps_what_is_put(s3_bucket: S3Bucket) -> None:
    store = s3_bucket.store(prefix="blobs")
    await obstore.put_async(store, "a/b", b"leaf")
    answer = await obstore.get_async(store, "a/b")
    assert bytes(await answer.bytes_async()) == b"leaf"


def test_each_test_has_an_empty_bucket(s3_server: S3Server, s3_bucket: S3Bucket) -> None:
    other = s3_server.create_bucket()
    obstore.put(other.store(), "leaf", b"x")
    assert obstore.list(s3_bucket.store()).collect() == []
    s3_server.drop_bucket(other)


def test_the_bucket_as_a_setting(s3_bucket: S3Bucket, s3_blob_url: str) -> None:
    assert s3_blob_url == f"s3://{s3_bucket.bucket}"
    assert s3_bucket.environment["QUIRE_BLOB_URL"] == s3_blob_url
