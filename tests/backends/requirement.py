"""Where `QUIRE_TEST_REQUIRE` asks for backends, a missing one and a skipped test are failures."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import pytest

from tests.backends.availability import REQUIRE, UnavailableError, required
from tests.backends.shared import Backends

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from _pytest.terminal import TerminalReporter

BACKENDS = pytest.StashKey[Backends]()

Got = TypeVar("Got")


def got_or_skipped(get: Callable[[], Got]) -> Got:
    """What `get` returns; skips the test where that can't be had."""
    try:
        return get()
    except UnavailableError as error:
        pytest.skip(str(error))


def _only_hands_out(config: pytest.Config) -> bool:
    """Whether this process runs no test itself: its workers do, each with servers of its own."""
    return bool(config.getoption("numprocesses", None)) and not hasattr(config, "workerinput")


class Requirement:
    """A pytest plugin: holds the run's backends and judges what was skipped."""

    def __init__(self, config: pytest.Config) -> None:
        """Read what this run demands."""
        self.required = required()
        self.backends = Backends()
        self.skipped: list[str] = []
        config.stash[BACKENDS] = self.backends

    def pytest_sessionstart(self, session: pytest.Session) -> None:
        """Open what is required, so that what is missing is known before the first test."""
        if session.config.option.collectonly or _only_hands_out(session.config):
            return
        for name in self.required:
            try:
                self.backends.open(name)
            except UnavailableError as error:
                raise pytest.UsageError(f"{REQUIRE} asks for {name}: {error}") from error

    def pytest_report_header(self) -> list[str]:
        """Say which real servers this run has from the start."""
        origins = self.backends.origins()
        return [f"backends: {', '.join(f'{n} ({o})' for n, o in origins.items())}"] * bool(origins)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Give all skips for want of a backend one place, so that pytest shows them as one line."""
        report = yield
        error = call.excinfo.value if call.excinfo is not None else None
        if report.skipped and isinstance(getattr(error, "__context__", None), UnavailableError):
            line = got_or_skipped.__code__.co_firstlineno
            report.longrepr = (__file__, line, f"Skipped: {error}")
        return report

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Remember a skipped test; an expected failure is none."""
        if report.skipped and not hasattr(report, "wasxfail"):
            self.skipped.append(report.nodeid)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Remember a module that was skipped whole."""
        if report.skipped:
            self.skipped.append(report.nodeid)

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Fail a run that skipped what it was asked to run."""
        if self.required and self.skipped and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: TerminalReporter) -> None:
        """Say why such a run failed."""
        if self.required and self.skipped:
            terminalreporter.write_line(
                f"{REQUIRE} allows no skipped test, and {len(self.skipped)} skipped, "
                f"{self.skipped[0]} first",
                red=True,
            )

    def pytest_unconfigure(self) -> None:
        """Stop the servers however the run ended."""
        self.backends.close()
