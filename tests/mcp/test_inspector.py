"""The protocol's own inspector, a client that is not ours nor the Python one, where node exists."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.mcp.agents import NAMES, over_http, token

if TYPE_CHECKING:
    from tests.cli.command import Serving

PACKAGE = "@modelcontextprotocol/inspector"
VERSION = "2.12.0"
KEPT = Path(__file__).parents[2] / ".cache" / "inspector" / VERSION
ADA = token("ada")


@pytest.fixture(scope="module")
def inspector() -> Path:
    """The inspector's command, from the package registry the first time."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("no node: the inspector is not run")
    command = KEPT / "node_modules" / ".bin" / "mcp-inspector"
    if not command.exists():
        KEPT.mkdir(parents=True, exist_ok=True)
        options = ["--ignore-scripts", "--no-audit", "--no-fund", "--prefix", str(KEPT)]
        subprocess.run(
            ["npm", "install", *options, f"{PACKAGE}@{VERSION}"], check=True, timeout=110
        )
    return command


async def test_the_inspector_lists_calls_and_finds_nothing_wrong(
    served: Serving, inspector: Path, tmp_path: Path
) -> None:
    async with over_http(served.url, ADA) as ada:
        await ada.done("create_session", name="Seen", id="seen")

    def inspect(*arguments: str) -> tuple[dict[str, Any], str]:
        done = subprocess.run(
            [str(inspector), "--cli", f"{served.url}/mcp", "--transport", "http",
             "--header", f"Authorization: Bearer {ADA}", *arguments],
            capture_output=True, text=True, timeout=60, check=False, cwd=tmp_path,
            env={"PATH": str(Path(shutil.which("node") or "").parent), "HOME": str(tmp_path)},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        told: dict[str, Any] = json.loads(done.stdout)
        return told, done.stderr

    listed, said = inspect("--method", "tools/list", "--strict")
    assert {tool["name"] for tool in listed["tools"]} >= NAMES
    assert "Warning: tool" not in said
    called, _ = inspect(
        "--method", "tools/call", "--tool-name", "get_session_info",
        "--tool-arg", "session_id=seen",
    )  # fmt: skip
    assert called["structuredContent"]["name"] == "Seen"
    read, _ = inspect("--method", "resources/read", "--uri", "quire://sessions/seen")
    assert json.loads(read["contents"][0]["text"])["name"] == "Seen"
