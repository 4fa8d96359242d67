"""A name server that says what a test has it say."""

from __future__ import annotations

from collections.abc import Sequence


class Names:
    """Answers what it was told to, and remembers what it was asked."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    async def addresses(self, name: str) -> Sequence[str]:
        self.asked.append(name)
        return self.answers[min(len(self.asked), len(self.answers)) - 1]

    def close(self) -> None:
        return None
