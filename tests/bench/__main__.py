"""`make bench`: every benchmark, as Markdown tables on standard output."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Iterable

from quire.settings import LogSettings
from quire.telemetry.logs import configure_logs
from tests.bench import (
    agents,
    clustering,
    content,
    embedding,
    events,
    messages,
    quality,
    residency,
    sessions,
    transfers,
)
from tests.bench.serving import machine
from tests.bench.sessions import Figure

BACKENDS = {"embedded": sessions.embedded, "server": sessions.server}
SUBJECTS = (
    "embedding",
    "quality",
    "sessions",
    "content",
    "transfers",
    "residency",
    "clustering",
    "events",
    "messages",
    "mcp",
)
QUICK = sessions.Sizes(sessions=1_000, filled=60, hot=40, requests=60, seconds=1.0, rounds=3)


def main() -> int:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--backend", choices=BACKENDS, action="append")
    parser.add_argument("--only", choices=SUBJECTS, action="append")
    parser.add_argument("--quick", action="store_true", help="smaller sizes, to see that it runs")
    arguments = parser.parse_args()
    configure_logs(LogSettings(level="warning"))
    print(f"Measured on {machine()}.\n")
    quick, subjects = arguments.quick, arguments.only or SUBJECTS
    missed = 0
    if "embedding" in subjects:
        sizes = embedding.QUICK if quick else embedding.Sizes()
        missed += table("Embedding", embedding.measure(sizes))
    if "quality" in subjects:
        found = quality.measure_quality(quality.QUICK if quick else quality.Sizes())
        missed += table("Retrieval quality", asyncio.run(found))
    for backend in arguments.backend or BACKENDS:
        if "sessions" in subjects:
            with BACKENDS[backend]() as environment:
                figures = sessions.measure(
                    backend, environment, QUICK if quick else sessions.Sizes()
                )
                missed += table(f"Sessions, {backend}", figures)
        if "content" in subjects:
            with BACKENDS[backend]() as environment:
                figures = content.measure(environment, content.QUICK if quick else content.Sizes())
                missed += table(f"Content, {backend}", figures)
        if "transfers" in subjects:
            with BACKENDS[backend]() as environment:
                sized = transfers.QUICK if quick else transfers.Sizes()
                figures = transfers.measure(backend, environment, sized)
                missed += table(f"Transfers, {backend}", figures)
        if "residency" in subjects:
            many = residency.QUICK if quick else residency.Sizes()
            missed += table(f"Residency, {backend}", residency.measure(backend, many))
        if "clustering" in subjects:
            with BACKENDS[backend]() as environment:
                counted = clustering.QUICK if quick else clustering.Sizes()
                figures = clustering.measure(backend, environment, counted)
                missed += table(f"Clustering, {backend}", figures)
        if "events" in subjects:
            with BACKENDS[backend]() as environment:
                listening = events.QUICK if quick else events.Sizes()
                figures = events.measure(environment, listening)
                missed += table(f"Live events, {backend}", figures)
        if "messages" in subjects:
            with BACKENDS[backend]() as environment:
                talking = messages.QUICK if quick else messages.Sizes()
                figures = messages.measure(backend, environment, talking)
                missed += table(f"Messages, {backend}", figures)
        if "mcp" in subjects:
            with BACKENDS[backend]() as environment:
                crowd = agents.QUICK if quick else agents.Sizes()
                missed += table(f"Agents (MCP), {backend}", agents.measure(environment, crowd))
    if missed:
        print(f"{missed} goals not reached.")
    return 0


def table(title: str, figures: Iterable[Figure]) -> int:
    """Print the figures, each as soon as it is there; answers how many miss their goal."""
    print(f"### {title}\n\n| | measured | goal | |\n| --- | --- | --- | --- |", flush=True)
    missed = 0
    for figure in figures:
        mark = "reached" if figure.reached else "**not reached**"
        missed += not figure.reached
        print(f"| {figure.what} | {figure.value} | {figure.goal} | {mark} |", flush=True)
    print()
    return missed


if __name__ == "__main__":
    sys.exit(main())
