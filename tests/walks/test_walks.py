"""The five walks work from end to end, and print what their page says."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator

import pytest

from quire.embedding.weights import find_weights
from tests.cli.command import serving
from tests.docs.commands import ROOT, text_of

WALKS = ["archive", "logs", "projects", "task", "screenshot"]
SETTINGS = {
    "QUIRE_WEB_ALLOW": "127.0.0.1",
    "QUIRE_WEB_DELAY_SECONDS": "0",
    "QUIRE_QUERY_TTL_SECONDS": "5",
    "QUIRE_QUERY_RESULTS": "10000",
}


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    data = tmp_path_factory.mktemp("walks")
    assert find_weights(data), "the walks embed with the default model: run `quire weights`"
    with serving(data, data, **SETTINGS) as server:
        yield server.url
        assert server.stop()[0] == 0


def told(walk: str) -> str:
    """What the page says that a walk prints."""
    found = re.search(rf"```walk {walk}\n(.*?)```", text_of("docs/walks.md"), re.DOTALL)
    assert found is not None
    return found.group(1)


def test_the_page_tells_of_every_walk() -> None:
    scripts = {path.stem for path in (ROOT / "docs/walks").glob("*.py")}
    assert set(WALKS) == scripts - {"letters"}
    assert all(told(walk) for walk in WALKS)
    assert all(f"{name}={value}" in text_of("docs/walks.md") for name, value in SETTINGS.items())


@pytest.mark.parametrize("walk", WALKS)
def test_a_walk(walk: str, address: str) -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / f"docs/walks/{walk}.py"), address],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout == told(walk)
