"""What is wrong with a bundle is named, whatever it is, and nothing is taken out of it."""

from __future__ import annotations

import hashlib
import tarfile
from pathlib import Path
from typing import Any

import orjson
import pytest

from quire.bundle import tar
from quire.bundle.manifest import sealed
from quire.bundle.reading import BundleReader
from tests.bundle.samples import (
    UNPACKED_MAX,
    forged,
    put_together,
    unsealed,
)


def test_what_the_forger_leaves_alone_is_good(
    good: bytes, apart: dict[str, bytes], tmp_path: Path
) -> None:
    path = tmp_path / "bundle"
    for same in (
        put_together(apart),
        forged(apart, {}),
    ):
        path.write_bytes(same)
        BundleReader.open(path, unpacked_max=UNPACKED_MAX).close()
    assert put_together(apart) == good


# The file and its tar.


def test_truncation(refused: Any, good: bytes) -> None:
    refused(b"", "truncated")
    refused(good[:300], "truncated")
    refused(good[:700], "truncated")
    refused(good[: len(good) // 2], "truncated")
    refused(good[:-512], "does not end with two blocks of zeros")
    refused(good[:-1024], "truncated")


def test_something_behind_the_end(refused: Any, good: bytes) -> None:
    refused(good + b"x", "behind the end")
    refused(good + bytes(10240) + b"x", "behind the end")


def test_padding_that_is_not_zero(refused: Any, apart: dict[str, bytes], good: bytes) -> None:
    end = 512 + len(apart["format.json"])
    refused(good[:end] + b"x" + good[end + 1 :], "padding that is not zero")


def test_what_is_no_tar(refused: Any) -> None:
    refused(b"PK\x03\x04" * 1000, "wrong checksum")
    refused(bytes(1024), "no manifest.json")


def foreign(name: str, data: bytes = b"", **fields: Any) -> bytes:
    """A member as Python's own tarfile writes it."""
    member = tarfile.TarInfo(name)
    member.size = len(data)
    layout = fields.pop("layout", tarfile.USTAR_FORMAT)
    for field, value in fields.items():
        setattr(member, field, value)
    return member.tobuf(layout) + data + tar.padding(len(data))


@pytest.mark.parametrize(
    ("member", "reason"),
    [
        (foreign("../../etc/passwd", b"x", mode=0o644), "would lead out"),
        (foreign("points/../../x", b"x", mode=0o644), "would lead out"),
        (foreign("/etc/passwd", b"x", mode=0o644), "would lead out"),
        (foreign("..\\x", b"x", mode=0o644), "would lead out"),
        (foreign("points/00000.parquet", type=tarfile.SYMTYPE, linkname="/etc"), "a symbolic link"),
        (foreign("points/00000.parquet", type=tarfile.LNKTYPE, linkname="x"), "a hard link"),
        (foreign("points", type=tarfile.DIRTYPE), "a directory"),
        (foreign("points/00000.parquet", type=tarfile.CHRTYPE), "a device"),
        (foreign("points/00000.parquet", type=tarfile.BLKTYPE), "a device"),
        (foreign("points/00000.parquet", type=tarfile.FIFOTYPE), "a pipe"),
        (foreign("points/00000.parquet", type=tarfile.GNUTYPE_SPARSE), "a sparse file"),
        (foreign("points/00000.parquet", type=b"9"), "of an unknown kind"),
        (foreign("x" * 200, layout=tarfile.GNU_FORMAT), "a GNU long name"),
        (foreign("é" * 200, layout=tarfile.PAX_FORMAT), "a pax header"),
        (foreign("points/00000.parquet", mode=0o4755), "fields that a bundle's does not"),
        (foreign("points/00000.parquet", mode=0o644, mtime=5), "fields that a bundle's does not"),
        (foreign("points/00000.parquet", mode=0o644, uname="root"), "fields that a bundle's does"),
        (foreign("points/00000.parquet", layout=tarfile.GNU_FORMAT), "fields that a bundle's does"),
        (foreign("x.sh", mode=0o644), "fields that a bundle's does not have|no part of a bundle"),
        (tar.header("x.sh", 0), "'x.sh' is no part of a bundle"),
        (tar.header("secrets.jsonl.zst", 0), "no part of a bundle"),
        (tar.header("points/00000.PARQUET", 0), "no part of a bundle"),
        (tar.header("points/00001.parquet", 0), "not where it belongs"),
        (tar.header("session.json.zst", 0), "twice"),
        (tar.header("documents.jsonl.zst", 0)[:-1] + b"x", "wrong checksum"),
    ],
)
def test_members_that_a_bundle_does_not_have(
    refused: Any, apart: dict[str, bytes], member: bytes, reason: str
) -> None:
    """Each after the session, where points would come."""
    opening = {name: apart[name] for name in ("format.json", "session.json.zst")}
    rest = put_together({name: data for name, data in apart.items() if name not in opening})

    refused(put_together(opening).removesuffix(tar.END) + member + rest, reason)


def test_every_part_that_is_missing_twice_or_elsewhere(
    refused: Any, apart: dict[str, bytes]
) -> None:
    pairs = list(apart.items())
    for n, pair in enumerate(pairs):
        missing = "not where it belongs|not complete|lists other parts"
        refused(put_together(pairs[:n] + pairs[n + 1 :]), missing)
        refused(put_together(pairs[: n + 1] + pairs[n:]), "twice")
        for m in range(n):
            others = [*pairs]
            others[n], others[m] = others[m], pair
            refused(put_together(others), "not where it belongs|not complete")


# The manifest.


def manifest(apart: dict[str, bytes], **fields: Any) -> bytes:
    changed = sealed({**unsealed(apart["manifest.json"]), **fields})
    return put_together({**apart, "manifest.json": changed})


def test_a_newer_version_is_named(refused: Any, apart: dict[str, bytes]) -> None:
    head = orjson.loads(apart["format.json"])
    newer = orjson.dumps({**head, "version": 2})
    refused(
        tar.header("format.json", len(newer)) + newer + tar.padding(len(newer)) + b"whatever" * 200,
        "is of format version 2; this Quire reads up to version 1",
    )


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"version": 0}, "no valid version"),
        ({"version": "1"}, "no valid version"),
        ({"format": "zip"}, "does not say that this is a quire-bundle"),
        ({"embedding": {}}, "what the vectors were made with"),
        ({"vectors": True}, "whether vectors are included"),
        ({"creator": None}, "creator"),
    ],
)
def test_heads_that_are_not_valid(
    refused: Any, apart: dict[str, bytes], fields: dict[str, Any], reason: str
) -> None:
    head = orjson.dumps({**orjson.loads(apart["format.json"]), **fields})
    refused(put_together({**apart, "format.json": head}), reason)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"version": 2}, "contradicts format.json"),
        ({"creator": "else"}, "contradicts format.json"),
        ({"vectors": "omit"}, "contradicts format.json"),
        ({"counts": {"points": 30}}, "no valid counts"),
        ({"counts": {"points": -1, "documents": 4}}, "no valid counts"),
        ({"counts": {"points": 1, "documents": 4, "secrets": 1}}, "no valid counts"),
        ({"points_digest": "12"}, "no valid points_digest"),
        ({"parts": None}, "lists no parts"),
        ({"parts": [{}]}, "lists a part without"),
        ({"parts": []}, "lists other parts"),
    ],
)
def test_manifests_that_are_not_valid(
    refused: Any, apart: dict[str, bytes], fields: dict[str, Any], reason: str
) -> None:
    refused(manifest(apart, **fields), reason)


@pytest.mark.parametrize(
    ("name", "fields", "reason"),
    [
        ("sha256", "0" * 64, "has not the checksum"),
        ("sha256", "A" * 64, "lists a part without"),
        ("size", 1, "has .* bytes; manifest.json says 1"),
        ("size", True, "lists a part without"),
        ("unpacked", 2**62, "bundle unpacks to"),
        ("name", "points/00001.parquet", "lists other parts"),
    ],
)
@pytest.mark.parametrize("place", range(7))
def test_parts_that_are_not_as_listed(
    refused: Any, apart: dict[str, bytes], place: int, name: str, fields: Any, reason: str
) -> None:
    listed = orjson.loads(apart["manifest.json"])["parts"]
    listed[place][name] = fields
    refused(manifest(apart, parts=listed), reason)


@pytest.mark.parametrize("change", [-1, 1])
@pytest.mark.parametrize("counted", ["points", "documents", "messages", "settings"])
def test_counts_that_are_wrong(
    refused: Any, apart: dict[str, bytes], counted: str, change: int
) -> None:
    counts = orjson.loads(apart["manifest.json"])["counts"]
    counts[counted] += change
    refused(manifest(apart, counts=counts), f"The bundle has .* {counted}; manifest.json says")


def test_a_table_that_is_not_counted(refused: Any, apart: dict[str, bytes]) -> None:
    counts = orjson.loads(apart["manifest.json"])["counts"]
    del counts["messages"]
    refused(manifest(apart, counts=counts), "has 2 messages; manifest.json says 0")


def test_a_manifest_that_was_changed_afterwards(refused: Any, apart: dict[str, bytes]) -> None:
    stored = apart["manifest.json"]
    digest = orjson.loads(stored)["points_digest"].encode()
    other = (b"1" if digest.startswith(b"0") else b"0") + digest[1:]
    for changed in (
        stored.replace(digest, other),
        stored + b" ",
        stored.replace(b"{", b'{"a":1,', 1),
    ):
        refused(put_together({**apart, "manifest.json": changed}), "has not the checksum")


def test_a_manifest_that_is_no_json(refused: Any, apart: dict[str, bytes]) -> None:
    for bad in (b"", b"{", b"[]", b"[" * 100_000):
        refused(put_together({**apart, "manifest.json": bad}), "no valid JSON|no JSON object")


def test_an_honest_checksum_is_of_the_stored_bytes(apart: dict[str, bytes]) -> None:
    listed = orjson.loads(apart["manifest.json"])["parts"]
    for entry in listed:
        assert entry["sha256"] == hashlib.sha256(apart[entry["name"]]).hexdigest()
