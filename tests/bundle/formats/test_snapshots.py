"""Snapshots of a real Qdrant: their points come out, and what is wrong with them stays outside."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from quire.bundle.formats.detection import detect
from quire.bundle.formats.mapping import ColumnMapping
from quire.bundle.formats.models import Format
from quire.bundle.formats.reading import inspect
from quire.bundle.formats.snapshots import read_snapshot
from quire.errors import FileRefused
from quire.vectors.digest import digest_of
from quire.vectors.port import Point, SparseVector

ROOM = 1 << 30
NAMES = ("formats-plain", "formats-named", "formats-several", "formats-sharded")
PLAIN = [Point(n, [n / 2, 1.0, -2.5], None, {"n": n, "text": "x" * n}) for n in range(700)]
NAMED = [
    Point(f"00000000-0000-0000-0000-{n:012}", [n, 0.5], SparseVector([n, n + 1], [0.5, 1.5]), {})
    for n in range(20)
]


@pytest.fixture(scope="module")
def snapshots(qdrant_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("snapshots")
    with httpx.Client(base_url=qdrant_url, timeout=60, trust_env=False) as client:
        try:
            _make(client, folder)
            yield folder
        finally:
            for name in NAMES:
                client.delete(f"/collections/{name}")


def _make(client: httpx.Client, folder: Path) -> None:
    dot = {"distance": "Dot"}
    sparse = {"sparse_vectors": {"text": {"modifier": "idf"}}}
    several = {"a": {"size": 1, **dot}, "b": {"size": 2, **dot}}
    plain = [{"id": p.id, "vector": p.dense, "payload": p.payload} for p in PLAIN]
    layouts: dict[str, tuple[dict[str, Any], list[dict[str, Any]]]] = {
        "formats-plain": ({"vectors": {"size": 3, **dot}}, plain),
        "formats-sharded": ({"vectors": {"size": 3, **dot}, "shard_number": 3}, plain),
        "formats-named": (
            {"vectors": {"dense": {"size": 2, **dot}}, **sparse},
            [{"id": p.id, "vector": {"dense": p.dense, "text": _terms(p.sparse)}} for p in NAMED],
        ),
        "formats-several": (
            {"vectors": several},
            [{"id": 1, "vector": {"a": [1.0], "b": [2.0, 3.0]}, "payload": {}}],
        ),
    }
    for name, (layout, points) in layouts.items():
        at = f"/collections/{name}"
        client.delete(at)
        client.put(at, json=layout).raise_for_status()
        client.put(f"{at}/points?wait=true", json={"points": points}).raise_for_status()
        _save(client, f"{at}/snapshots", folder / name)
    _save(client, "/collections/formats-plain/shards/0/snapshots", folder / "shard")


def _terms(sparse: SparseVector | None) -> dict[str, Any]:
    assert sparse is not None
    return {"indices": sparse.indices, "values": sparse.values}


def _save(client: httpx.Client, at: str, path: Path) -> None:
    name = client.post(at).raise_for_status().json()["result"]["name"]
    path.write_bytes(client.get(f"{at}/{name}").raise_for_status().content)


def points_of(path: Path, folder: Path, **options: Any) -> list[Point]:
    found = [
        point
        for batch in read_snapshot(path, folder, **{"bytes_max": ROOM, **options})
        for point in batch
    ]
    assert list(folder.iterdir()) == []
    return found


@pytest.mark.server
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("formats-plain", PLAIN),
        ("formats-sharded", PLAIN),
        ("formats-named", NAMED),
        ("shard", PLAIN),
    ],
)
def test_the_points_of_a_snapshot(
    name: str, expected: list[Point], snapshots: Path, tmp_path: Path
) -> None:
    path = snapshots / name

    assert detect(path) is Format.SNAPSHOT
    found = inspect(path, Format.SNAPSHOT)
    assert found.dimension == len(expected[0].dense or ())
    assert (found.distance, found.has_sparse) == ("dot", name == "formats-named")
    points = points_of(path, tmp_path)
    assert len(points) == len(expected)
    assert digest_of(points) == digest_of(expected)


@pytest.mark.server
def test_of_several_vectors_one_is_chosen(snapshots: Path, tmp_path: Path) -> None:
    path = snapshots / "formats-several"

    with pytest.raises(FileRefused, match=r"has the vectors .*Choose it"):
        inspect(path, Format.SNAPSHOT)
    with pytest.raises(FileRefused, match="has no vector 'c'"):
        inspect(path, Format.SNAPSHOT, ColumnMapping(vector="c"))
    mapping = ColumnMapping(vector="b")
    assert inspect(path, Format.SNAPSHOT, mapping).dimension == 2
    (point,) = points_of(path, tmp_path, mapping=mapping)
    assert point.dense == [2.0, 3.0]


@pytest.mark.server
def test_a_part_of_a_cluster_is_not_taken_for_the_whole(snapshots: Path, tmp_path: Path) -> None:
    def keep(member: tarfile.TarInfo) -> bool:
        return not member.name.startswith("1/")

    forged = _forged(snapshots / "formats-sharded", tmp_path / "forged", keep)

    with pytest.raises(FileRefused, match="holds 2 of the collection's 3 shards"):
        inspect(forged, Format.SNAPSHOT)


@pytest.mark.server
def test_a_snapshot_that_unpacks_to_too_much_is_refused(snapshots: Path, tmp_path: Path) -> None:
    with pytest.raises(FileRefused, match="unpacks to more than 1 MB"):
        points_of(snapshots / "formats-plain", tmp_path, bytes_max=1024**2)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.server
def test_what_the_engine_cannot_read_is_refused(snapshots: Path, tmp_path: Path) -> None:
    def spoil(name: str, content: bytes) -> bytes:
        if not name.endswith(".tar"):
            return content
        return content.replace(b'"config"', b'"konfig"')

    forged = _forged(snapshots / "formats-plain", tmp_path / "forged", spoil=spoil)
    (scratch := tmp_path / "scratch").mkdir()

    with pytest.raises(FileRefused, match=r"cannot read this snapshot: .*missing field `config`"):
        points_of(forged, scratch)
    assert list(scratch.iterdir()) == []


@pytest.mark.server
def test_a_truncated_snapshot_is_refused(snapshots: Path, tmp_path: Path) -> None:
    whole = (snapshots / "formats-plain").read_bytes()
    path = tmp_path / "cut"
    (scratch := tmp_path / "scratch").mkdir()

    for end in (600, len(whole) // 4, len(whole) // 2):
        path.write_bytes(whole[:end])
        with pytest.raises(FileRefused):
            points_of(path, scratch)
        assert list(scratch.iterdir()) == []


def _forged(source: Path, target: Path, keep: Any = None, spoil: Any = None) -> Path:
    with tarfile.open(source) as old, tarfile.open(target, "w") as new:
        for member in old:
            if (keep is not None and not keep(member)) or not member.isreg():
                continue
            file = old.extractfile(member)
            assert file is not None
            content = file.read()
            content = content if spoil is None else spoil(member.name, content)
            copy = tarfile.TarInfo(member.name)
            copy.size = len(content)
            new.addfile(copy, io.BytesIO(content))
    return target


@contextmanager
def archive(path: Path) -> Iterator[tarfile.TarFile]:
    with tarfile.open(path, "w") as made:
        yield made


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (member("0/../../etc/passwd"), "no valid path"),
        (member("/etc/passwd"), "no valid path"),
        (member("0/segments/../x"), "no valid path"),
        (member("0/wal/a\nb"), "no valid path"),
        (member("0/wal/x", tarfile.SYMTYPE, "/etc/passwd"), "a link or a device"),
        (member("0/wal/x", tarfile.LNKTYPE, "0/wal/y"), "a link or a device"),
        (member("0/wal/x", tarfile.FIFOTYPE), "a link or a device"),
        (member("0/replica_state.json"), "twice"),
    ],
)
def test_an_archive_that_reaches_out_is_refused(
    bad: tarfile.TarInfo, message: str, tmp_path: Path
) -> None:
    with archive(path := tmp_path / "file") as made:
        made.addfile(member("0/replica_state.json"))
        made.addfile(bad)
    (scratch := tmp_path / "scratch").mkdir()

    assert detect(path) is Format.SNAPSHOT
    with pytest.raises(FileRefused, match=message):
        points_of(path, scratch)
    assert list(scratch.iterdir()) == []


def test_an_archive_without_segments_is_no_snapshot(tmp_path: Path) -> None:
    with archive(path := tmp_path / "file") as made:
        made.addfile(member("0/replica_state.json"))

    with pytest.raises(FileRefused, match="it has no segments"):
        inspect(path, Format.SNAPSHOT)
