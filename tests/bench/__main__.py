"""`make bench`: every benchmark, as Markdown tables on standard output."""

from __future__ import annotations

import argparse
import sys

from quire.settings import LogSettings
from quire.telemetry.logs import configure_logs
from tests.bench import sessions
from tests.bench.serving import machine

BACKENDS = {"embedded": sessions.embedded, "server": sessions.server}
QUICK = sessions.Sizes(sessions=1_000, filled=60, hot=40, requests=60, seconds=1.0, rounds=3)


def main() -> int:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--backend", choices=BACKENDS, action="append")
    parser.add_argument("--quick", action="store_true", help="smaller sizes, to see that it runs")
    arguments = parser.parse_args()
    configure_logs(LogSettings(level="warning"))
    print(f"Measured on {machine()}.\n")
    missed = 0
    for backend in arguments.backend or BACKENDS:
        print(f"### Sessions, {backend}\n\n| | measured | goal | |\n| --- | --- | --- | --- |")
        with BACKENDS[backend]() as environment:
            sizes = QUICK if arguments.quick else sessions.Sizes()
            for figure in sessions.measure(backend, environment, sizes):
                mark = "reached" if figure.reached else "**not reached**"
                missed += not figure.reached
                row = f"| {figure.what} | {figure.value} | {figure.goal} | {mark} |"
                print(row, flush=True)
        print()
    if missed:
        print(f"{missed} goals not reached.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
