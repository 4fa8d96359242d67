"""The README is true: its commands do what it says, its tables are what the code says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.backends.ports import free_ports

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
TOUR = README.partition("## A tour in five minutes")[2].partition("\n## ")[0]
BLOCKS = re.findall(r"```bash\n(.*?)```", TOUR, re.DOTALL)
QUIRE = [sys.executable, "-m", "quire_cli.main"]


def steps() -> list[tuple[str, str]]:
    """(command, what its output must hold) for each command of the tour."""
    found = []
    for block in BLOCKS:
        for command, expected in re.findall(r"(curl .*?)\n# → (.*?)\n", block, re.DOTALL):
            found.append((command, expected))
    return found


def test_every_command_of_the_tour_says_what_to_expect() -> None:
    assert len(steps()) == TOUR.count("curl ") >= 15


def test_the_tour_works_as_it_is_written(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    environment = {k: v for k, v in os.environ.items() if not k.startswith("QUIRE_")}
    environment |= {"QUIRE_DATA_DIR": str(tmp_path / "data"), "QUIRE_PORT": str(port)}
    server = subprocess.Popen([*QUIRE, "serve"], env=environment, stdout=subprocess.DEVNULL)
    try:
        here = f"http://127.0.0.1:{port}"
        wait = ["curl", "-sf", "--retry", "60", "--retry-connrefused", "--retry-delay", "1"]
        subprocess.run([*wait, f"{here}/readyz"], check=True, capture_output=True, timeout=90)
        for command, expected in steps():
            local = command.replace("http://127.0.0.1:8087", here)
            done = subprocess.run(["bash", "-c", local], capture_output=True, text=True, timeout=60)
            assert expected in done.stdout, f"{command}\nanswered\n{done.stdout}{done.stderr}"
    finally:
        server.terminate()
        assert server.wait(30) == 0


@pytest.mark.parametrize("name", ["serve", "test", "check", "bench", "soak", "doctor", "format"])
def test_the_makefile_has_what_the_docs_name(name: str) -> None:
    assert re.search(rf"^{name}:.*##", (ROOT / "Makefile").read_text(), re.MULTILINE)


def test_the_table_of_settings_is_the_one_in_force() -> None:
    written = README.partition("a test compares -->\n")[2].partition("<!-- /settings -->")[0]
    printed = subprocess.run([*QUIRE, "settings"], capture_output=True, text=True, check=True)
    assert written.strip() == printed.stdout.strip()


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
