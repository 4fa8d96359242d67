"""The commands of a page, and what each is said to answer."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
# A page's commands build on one another, and on nothing of another page.
PAGES = ["README.md", *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))]

_BLOCK = re.compile(r"```bash\n(.*?)```", re.DOTALL)
_STEP = re.compile(r"(.+?)\n# → (.+?)\n", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Step:
    """One or more lines for a shell, and what their output must hold."""

    command: str
    expected: str


def text_of(page: str) -> str:
    return (ROOT / page).read_text()


def steps_of(page: str) -> list[Step]:
    """The steps of all blocks marked `bash`, which are those that are run."""
    return [
        Step(*found) for block in _BLOCK.findall(text_of(page)) for found in _STEP.findall(block)
    ]


def unexpected_lines(page: str) -> list[str]:
    """Commands after which the page does not say what to expect."""
    rests = (_STEP.sub("", block) for block in _BLOCK.findall(text_of(page)))
    return [line for rest in rests for line in rest.splitlines() if line.strip()]
