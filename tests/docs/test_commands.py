"""Every page's commands do what the page says, on a server that is new, with the default model."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator

import pytest

from quire.embedding.weights import find_weights
from tests.cli.command import serving
from tests.docs.commands import PAGES, ROOT, steps_of, unexpected_lines

RUN = [page for page in PAGES if steps_of(page)]


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    data = tmp_path_factory.mktemp("pages")
    assert find_weights(data), "the pages embed with the default model: run `quire weights`"
    with serving(data, data) as server:
        yield server.url
        assert server.stop()[0] == 0


def test_the_pages_that_have_commands() -> None:
    others = {"docs/filters.md", "docs/walks.md"}  # their examples are of another kind
    assert set(RUN) == set(PAGES) - others


@pytest.mark.parametrize("page", RUN)
def test_every_command_says_what_to_expect(page: str) -> None:
    assert unexpected_lines(page) == []


def test_the_tour_takes_five_minutes() -> None:
    assert 15 <= len(steps_of("README.md")) <= 20


@pytest.mark.parametrize("page", RUN)
def test_the_commands_work_as_they_are_written(page: str, address: str) -> None:
    for step in steps_of(page):
        local = step.command.replace("http://127.0.0.1:8087", address)
        done = subprocess.run(
            ["bash", "-c", local],
            cwd=ROOT,
            env={**os.environ, "NO_PROXY": "127.0.0.1"},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert step.expected in done.stdout, f"{step.command}\nanswered\n{done.stdout}{done.stderr}"
