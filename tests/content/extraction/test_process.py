"""Extraction in a process of its own: limits, crashes, cancellation, and what is left of them."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from quire.content import media
from quire.content.extraction import process
from quire.content.extraction.process import ProcessExtractor
from quire.content.models import TextKind
from quire.errors import ExtractionFailed, Unavailable
from quire.settings import LimitSettings
from tests.content.extraction.files import docx, paragraph, pdf
from tests.content.extraction.make_golden import GOLDEN

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads /proc")

ENDLESS = "<p>word " * 1_500_000  # seconds of work, and hundreds of megabytes


@pytest.fixture
async def extractor() -> AsyncIterator[ProcessExtractor]:
    made = ProcessExtractor(LimitSettings(extraction_seconds=30))
    yield made
    await made.close()
    assert workers() == []


@pytest.fixture
def endless(tmp_path: Path) -> Path:
    return written(tmp_path, "endless.html", ENDLESS.encode())


def written(folder: Path, name: str, content: bytes) -> Path:
    source = folder / name
    source.write_bytes(content)
    return source


def children(of: int) -> list[int]:
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent = stat.read_text().rpartition(")")[2].split()[:2]
        except OSError:
            continue
        if int(parent) == of and state != "Z":
            found.append(int(stat.parent.name))
    return found


def command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def workers(of: int | None = None) -> list[int]:
    return [pid for pid in children(of or os.getpid()) if b"extraction.worker" in command(pid)]


async def working(extraction: asyncio.Task[object]) -> int:
    """The worker that is at it, once it is."""
    async with asyncio.timeout(20):
        while True:
            assert not extraction.done()
            for pid in workers():
                if resident(pid) > 60_000_000:
                    return pid
            await asyncio.sleep(0.01)


def resident(pid: int) -> int:
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except OSError:
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize(
    ("name", "media_type", "kind"),
    [
        ("article.html", "text/html; charset=utf-8", TextKind.MARKDOWN),
        ("report.docx", media.DOCX, TextKind.MARKDOWN),
        ("paper.pdf", media.PDF, TextKind.PLAIN),
    ],
)
async def test_the_text_lies_in_the_target(
    extractor: ProcessExtractor, tmp_path: Path, name: str, media_type: str, kind: TextKind
) -> None:
    target = tmp_path / "text"
    extracted = await extractor.extract(media_type, GOLDEN / name, target)
    assert target.read_bytes() == (GOLDEN / f"{name}.txt").read_bytes()
    assert extracted.kind is kind
    assert extracted.characters == len(target.read_bytes().decode())
    assert extracted.title is not None


async def test_one_process_reads_many_and_failures_leave_nothing(
    extractor: ProcessExtractor, tmp_path: Path
) -> None:
    target = tmp_path / "text"
    assert workers() == []  # none before it is needed
    await extractor.extract(media.PDF, GOLDEN / "report.pdf", target)
    first = workers()
    for content in (b"", b"%PDF-noise", (GOLDEN / "encrypted.pdf").read_bytes()):
        with pytest.raises(ExtractionFailed):
            await extractor.extract(media.PDF, written(tmp_path, "x", content), target)
        assert not target.exists()
    with pytest.raises(ExtractionFailed, match="image/png"):
        await extractor.extract("image/png", GOLDEN / "report.pdf", target)
    await extractor.extract(media.PDF, GOLDEN / "report.pdf", target)
    assert workers() == first
    assert len(first) == 1


async def test_no_more_processes_than_allowed(tmp_path: Path) -> None:
    extractor = ProcessExtractor(LimitSettings(), processes=2)
    page = GOLDEN / "article.html"
    await asyncio.gather(
        *(extractor.extract(media.HTML, page, tmp_path / f"{n}") for n in range(12))
    )
    assert len(workers()) == 2
    texts = {(tmp_path / f"{n}").read_bytes() for n in range(12)}
    assert texts == {(GOLDEN / "article.html.txt").read_bytes()}
    await extractor.close()


async def test_a_worker_that_is_killed_at_work_fails_that_document_alone(
    extractor: ProcessExtractor, tmp_path: Path, endless: Path
) -> None:
    target = tmp_path / "text"
    extraction = asyncio.create_task(extractor.extract(media.HTML, endless, target))
    os.kill(await working(extraction), signal.SIGKILL)
    with pytest.raises(ExtractionFailed, match=r"died \(SIGKILL\)"):
        await extraction
    assert not target.exists()
    await extractor.extract(media.HTML, GOLDEN / "article.html", target)
    assert target.exists()


async def test_a_worker_that_dies_while_it_waits_is_no_documents_fault(
    extractor: ProcessExtractor, tmp_path: Path
) -> None:
    page = GOLDEN / "article.html"
    await extractor.extract(media.HTML, page, tmp_path / "1")
    [waiting] = workers()
    os.kill(waiting, signal.SIGSEGV)
    # At once: its death has not been noticed yet.
    await extractor.extract(media.HTML, page, tmp_path / "2")
    assert waiting not in workers()


async def test_too_much_memory_is_the_documents_failure(tmp_path: Path, endless: Path) -> None:
    extractor = ProcessExtractor(LimitSettings(extraction_megabytes=200))
    with pytest.raises(ExtractionFailed, match="QUIRE_LIMITS_EXTRACTION_MEGABYTES") as failed:
        await extractor.extract(media.HTML, endless, tmp_path / "text")
    assert "200 MB" in failed.value.message
    # 80 MB in one paragraph of a DOCX, and that within the limit of its ratio.
    hog = docx(paragraph(os.urandom(300_000).hex() + "x" * 80_000_000))
    with pytest.raises(ExtractionFailed, match="QUIRE_LIMITS_EXTRACTION_MEGABYTES"):
        await extractor.extract(media.DOCX, written(tmp_path, "x", hog), tmp_path / "text")
    await extractor.extract(media.HTML, GOLDEN / "article.html", tmp_path / "text")
    await extractor.close()


async def test_too_much_time_is_the_documents_failure(tmp_path: Path, endless: Path) -> None:
    extractor = ProcessExtractor(LimitSettings(extraction_seconds=0.5))
    with pytest.raises(ExtractionFailed, match=r"0\.5 seconds \(QUIRE_LIMITS_EXTRACTION_SECONDS"):
        await extractor.extract(media.HTML, endless, tmp_path / "text")
    assert not (tmp_path / "text").exists()
    await extractor.close()
    assert workers() == []


async def test_a_worker_that_nobody_times_stops_itself(tmp_path: Path, endless: Path) -> None:
    worker = await process._Worker.start(1_500)
    order = {"media_type": media.HTML, "source": f"{endless}", "target": f"{tmp_path / 'text'}"}
    with pytest.raises(process._DiedError, match="SIGXCPU"):
        await worker.ask(order | {"seconds": 0, "bytes": 1_000_000_000})
    await worker.end()


async def test_too_much_text_is_the_documents_failure(tmp_path: Path) -> None:
    extractor = ProcessExtractor(LimitSettings(document_bytes=100))
    source = written(tmp_path, "x", pdf([["x" * 60], ["y" * 60]]))
    with pytest.raises(ExtractionFailed, match=r"100 bytes \(QUIRE_LIMITS_DOCUMENT_BYTES"):
        await extractor.extract(media.PDF, source, tmp_path / "text")
    await extractor.close()


async def test_cancelling_kills(extractor: ProcessExtractor, tmp_path: Path, endless: Path) -> None:
    extraction = asyncio.create_task(extractor.extract(media.HTML, endless, tmp_path / "text"))
    pid = await working(extraction)
    extraction.cancel()
    with pytest.raises(asyncio.CancelledError):
        await extraction
    async with asyncio.timeout(5):
        while pid in workers():
            await asyncio.sleep(0.01)
    assert not (tmp_path / "text").exists()


async def test_closing_ends_what_is_under_way(tmp_path: Path, endless: Path) -> None:
    extractor = ProcessExtractor(LimitSettings())
    extraction = asyncio.create_task(extractor.extract(media.HTML, endless, tmp_path / "text"))
    await working(extraction)
    await extractor.close()
    assert workers() == []
    with pytest.raises(ExtractionFailed):
        await extraction
    with pytest.raises(Unavailable):
        await extractor.extract(media.HTML, endless, tmp_path / "text")


async def test_an_idle_process_ends(tmp_path: Path) -> None:
    extractor = ProcessExtractor(LimitSettings(), idle_seconds=0.1)
    await extractor.extract(media.HTML, GOLDEN / "article.html", tmp_path / "1")
    async with asyncio.timeout(10):
        while workers():
            await asyncio.sleep(0.02)
    await extractor.extract(media.HTML, GOLDEN / "article.html", tmp_path / "2")
    await extractor.close()


async def test_a_process_retires_after_many_documents(
    extractor: ProcessExtractor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "_DOCUMENTS", 2)
    seen = []
    for n in range(4):
        await extractor.extract(media.PDF, GOLDEN / "report.pdf", tmp_path / f"{n}")
        seen += workers()[:1]
    assert len(set(seen)) >= 2


async def test_a_worker_is_told_no_secrets_and_holds_itself_back(
    extractor: ProcessExtractor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QUIRE_AUTH_SECRET", "s3cret" * 10)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s3cret")
    await extractor.extract(media.HTML, GOLDEN / "article.html", tmp_path / "text")
    [pid] = workers()
    assert b"s3cret" not in Path(f"/proc/{pid}/environ").read_bytes()
    assert os.getpriority(os.PRIO_PROCESS, pid) > os.getpriority(os.PRIO_PROCESS, 0)
    limits = Path(f"/proc/{pid}/limits").read_text()
    assert f"{1_500 * 1024**2}" in limits


PARENT = """
import asyncio, sys
from pathlib import Path
from quire.content.extraction.process import ProcessExtractor
from quire.settings import LimitSettings
async def main():
    extractor = ProcessExtractor(LimitSettings())
    await extractor.extract("text/html", Path(sys.argv[1]), Path(sys.argv[3]))
    print("read", flush=True)
    await extractor.extract("text/html", Path(sys.argv[2]), Path(sys.argv[3]))
asyncio.run(main())
"""


async def test_a_worker_dies_with_its_parent_even_in_the_middle_of_its_work(
    tmp_path: Path, endless: Path
) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, GOLDEN / "article.html", endless, tmp_path / "text"],
        stdout=subprocess.PIPE,
    ) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"read\n"
        [pid] = workers(parent.pid)
        parent.kill()
        parent.wait()
        async with asyncio.timeout(5):
            while b"extraction.worker" in command(pid):
                await asyncio.sleep(0.01)
