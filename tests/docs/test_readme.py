"""The README and CONTRIBUTING are true: what they name is there, tables are what the code says."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from quire.settings import environment_names
from tests.docs.commands import PAGES, ROOT, text_of

README = text_of("README.md")
QUIRE = [sys.executable, "-m", "quire_cli.main"]


@pytest.mark.parametrize("name", ["serve", "test", "check", "bench", "soak", "doctor", "format"])
def test_the_makefile_has_what_the_docs_name(name: str) -> None:
    assert re.search(rf"^{name}:.*##", (ROOT / "Makefile").read_text(), re.MULTILINE)


def test_the_table_of_settings_is_the_one_in_force() -> None:
    written = README.partition("a test compares -->\n")[2].partition("<!-- /settings -->")[0]
    printed = subprocess.run([*QUIRE, "settings"], capture_output=True, text=True, check=True)
    assert written.strip() == printed.stdout.strip()


@pytest.mark.parametrize("page", [*PAGES, "CONTRIBUTING.md"])
def test_links_lead_somewhere(page: str) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", text_of(page)):
        assert ((ROOT / page).parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES)
def test_settings_that_a_page_names_are_settings(page: str) -> None:
    named = set(re.findall(r"\bQUIRE_[A-Z_]+[A-Z](?![A-Z_…])", text_of(page)))
    assert named - {"QUIRE_TOKEN"} <= environment_names()  # which is a client's


def test_every_page_is_found_from_the_readme() -> None:
    linked = set(re.findall(r"\((docs/\w+\.md)\)", README))
    assert linked == set(PAGES) - {"README.md"}


def test_the_map_in_contributing_names_what_is_there() -> None:
    tree = (ROOT / "CONTRIBUTING.md").read_text().partition("```\n")[2].partition("```")[0]
    files = [
        file
        for top in ("shared", "services", "tests", "compose")
        for file in (ROOT / top).rglob("*")
    ]
    paths = [
        f"{file}/" if file.is_dir() else f"{file}"
        for file in [ROOT / "compose", ROOT / "tests", ROOT / "shared", *files]
    ]
    for line in tree.splitlines():
        for name in re.findall(r"^\s*((?:[\w.]+/?\s)+)", line):
            for part in name.split():
                if "/" in part or part.endswith(".py"):
                    assert any(path.endswith(f"/{part}") for path in paths), part
