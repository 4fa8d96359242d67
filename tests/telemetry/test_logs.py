"""What a log line looks like, whoever wrote it."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import subprocess
import sys
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from quire.settings import LogSettings
from quire.telemetry import logs
from quire.telemetry.logs import configure_logs, log_context


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    """Logging is the process's: each test puts it back."""
    root = logging.getLogger()
    names = {*logs._SELF_WILLED, *logs._TALKATIVE}
    before = {
        name: (logger.level, list(logger.handlers), logger.propagate)
        for name in names
        if (logger := logging.getLogger(name))
    }
    level, handlers = root.level, list(root.handlers)
    yield
    logging.captureWarnings(False)
    structlog.reset_defaults()
    root.setLevel(level)
    root.handlers[:] = handlers
    for name, (old_level, old_handlers, propagate) in before.items():
        logger = logging.getLogger(name)
        logger.setLevel(old_level)
        logger.handlers[:] = old_handlers
        logger.propagate = propagate


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def configured(stream: io.StringIO | None = None, **settings: Any) -> io.StringIO:
    stream = io.StringIO() if stream is None else stream
    configure_logs(LogSettings(**settings), stream=stream)
    return stream


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


class TestJson:
    def test_each_line_is_an_object_with_time_level_logger_and_event(self) -> None:
        stream = configured(format="json")
        structlog.get_logger("quire.sessions").info("session_created", points=3, ok=True)
        [line] = lines(stream)
        assert line.pop("timestamp").endswith("Z")
        assert line == {
            "event": "session_created",
            "level": "info",
            "logger": "quire.sessions",
            "points": 3,
            "ok": True,
        }

    def test_the_standard_librarys_logs_look_the_same(self) -> None:
        stream = configured(format="json")
        logging.getLogger("uvicorn.error").warning("shutting %s", "down")
        [line] = lines(stream)
        assert (line["event"], line["level"], line["logger"]) == (
            "shutting down", "warning", "uvicorn.error",
        )  # fmt: skip

    def test_a_level_that_a_library_was_given_before_does_not_silence_it(self) -> None:
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
        stream = configured()
        logging.getLogger("uvicorn.error").warning("shutting down")
        assert "shutting down" in stream.getvalue()

    def test_libraries_with_handlers_of_their_own_are_brought_in(self) -> None:
        own = io.StringIO()
        logging.getLogger("dbos").addHandler(logging.StreamHandler(own))
        logging.getLogger("dbos").propagate = False
        stream = configured(format="json")
        from dbos._logger import init_logger

        init_logger()
        logging.getLogger("dbos").error("queue stopped")
        assert [line["event"] for line in lines(stream)] == ["queue stopped"]
        assert own.getvalue() == ""

    def test_an_exception_is_one_line_with_its_traceback(self) -> None:
        stream = configured(format="json")
        try:
            raise ValueError("cannot reach pg://ada:hunter2@db")
        except ValueError:
            structlog.get_logger("x").exception("failed")
            logging.getLogger("y").exception("failed too")
        assert "hunter2" not in stream.getvalue()
        for line in lines(stream):
            assert line["level"] == "error"
            assert "Traceback" in line["exception"]
            assert "cannot reach pg://ada:[redacted]@db" in line["exception"]

    def test_warnings_are_logged(self) -> None:
        stream = configured(format="json")
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.warn("old thing", DeprecationWarning, stacklevel=1)
        assert "old thing" in lines(stream)[0]["event"]

    def test_what_json_cannot_hold_is_logged_all_the_same(self) -> None:
        stream = configured(format="json")
        log = structlog.get_logger("x")
        log.info(
            "a", value=object(), big=10**30, surrogate="\ud800", data=b"\xff", nan=float("nan")
        )
        log.info("b", **{"any key": {1: {2}}})
        assert [line["event"] for line in lines(stream)] == ["a", "b"]


class TestText:
    def test_it_is_for_people(self) -> None:
        stream = configured(format="text")
        structlog.get_logger("quire.x").info("session created", points=3)
        text = stream.getvalue()
        assert "session created" in text
        assert "points=3" in text
        assert "\x1b" not in text

    def test_colours_are_for_terminals(self) -> None:
        stream = configured(Terminal(), format="text")
        structlog.get_logger("x").info("hello")
        assert "\x1b[" in stream.getvalue()

    def test_input_cannot_forge_a_line_or_drive_the_terminal(self) -> None:
        stream = configured(format="text")
        log = structlog.get_logger("x")
        log.info("named\n2026 [info] all is well", name="a\nb\x1b[2J", **{"k\n": 1})
        logging.getLogger("y").info("got \x1b[31m\r\n%s", "z\u2028")
        try:
            raise ValueError("a\n2026 [info] well\x1b[2J")
        except ValueError:
            log.exception("failed")
        text = stream.getvalue()
        assert "\x1b" not in text
        assert not any(line.startswith("2026 [info]") for line in text.splitlines())
        assert len([line for line in text.splitlines() if "Traceback" in line]) == 1


class TestSecrets:
    @pytest.mark.parametrize("format_", ["text", "json"])
    def test_no_secret_is_written(self, format_: str) -> None:
        stream = configured(format=format_)
        log = structlog.get_logger("x")
        with structlog.contextvars.bound_contextvars(token="s3cr3t"):
            log.info(
                "Bearer s3cr3t",
                authorization="s3cr3t",
                url="http://u:s3cr3t@h",
                n={"secret": "s3cr3t"},
            )
            logging.getLogger("y").info("opening %s", "postgresql://u:s3cr3t@h/db")
            logging.getLogger("y").info("%s", {"Authorization": "Bearer s3cr3t"})
        assert "s3cr3t" not in stream.getvalue()
        assert stream.getvalue().count("[redacted]") >= 6


class TestContext:
    async def test_lines_name_what_they_belong_to(self) -> None:
        stream = configured(format="json")

        async def work(number: int) -> None:
            with log_context(request_id=f"r{number}", session_id=f"s{number}"):
                await asyncio.sleep(0.001)
                with log_context(job_id=f"j{number}"):
                    structlog.get_logger("x").info("inner", number=number)
                logging.getLogger("y").info("outer %d", number)

        await asyncio.gather(*(work(number) for number in range(5)))
        structlog.get_logger("x").info("after")
        for line in lines(stream):
            if line["event"] == "inner":
                assert line["request_id"] == f"r{line['number']}"
                assert line["job_id"] == f"j{line['number']}"
            elif line["event"] == "after":
                assert "request_id" not in line
            else:
                number = line["event"].removeprefix("outer ")
                assert line["session_id"] == f"s{number}"
                assert "job_id" not in line
        assert len(lines(stream)) == 11


class TestConfiguring:
    def test_the_level_holds_for_all(self) -> None:
        stream = configured(level="warning", format="json")
        log = structlog.get_logger("x")
        log.info("no")
        log.warning("yes")
        logging.getLogger("y").info("no")
        logging.getLogger("y").error("yes")
        assert [line["event"] for line in lines(stream)] == ["yes", "yes"]

    def test_talkative_libraries_are_kept_quiet(self) -> None:
        stream = configured(level="info", format="json")
        logging.getLogger("httpx").info("HTTP Request: GET ...")
        assert not lines(stream)

    def test_a_logger_used_before_is_configured_too(self) -> None:
        log = structlog.get_logger("early")
        configured(level="error")
        log.info("x")
        stream = configured(format="json")
        log.info("hello")
        assert lines(stream)[0]["event"] == "hello"

    def test_configuring_again_replaces_and_leaves_others_alone(self) -> None:
        other = logging.NullHandler()
        logging.getLogger().addHandler(other)
        first = configured(format="json")
        second = configured(format="json")
        structlog.get_logger("x").info("hello")
        assert first.getvalue() == ""
        assert len(lines(second)) == 1
        assert other in logging.getLogger().handlers

    def test_importing_does_nothing_and_the_default_is_stderr(self) -> None:
        program = (
            "import logging, structlog\n"
            "import quire.telemetry.logs as logs\n"
            "from quire.settings import LogSettings\n"
            "assert not logging.getLogger().handlers and not structlog.is_configured()\n"
            "logs.configure_logs(LogSettings(format='json'))\n"
            "structlog.get_logger('x').info('hello')\n"
        )
        run = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=True
        )
        assert run.stdout == ""
        assert json.loads(run.stderr)["event"] == "hello"
