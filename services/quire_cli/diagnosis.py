"""`quire doctor`: what is configured, what this machine has, and whether each part answers."""

from __future__ import annotations

import platform
import shutil
import sqlite3
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

from quire.errors import ConfigurationError
from quire_cli import examination, held
from quire_cli.configured import ConfiguredSetting, settings_in_force
from quire_cli.findings import Check, failed, passed
from quire_cli.parts import needs_data_directory
from quire_cli.starting import start

# Below a quarter of this the embedded engine refuses writes; there is time to act before.
LOW_DISK_BYTES = 256 << 20


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """All that the doctor found."""

    machine: dict[str, str]
    settings: list[ConfiguredSetting] = field(default_factory=list)
    checks: list[Check] = field(default_factory=list)

    @property
    def healthy(self) -> bool:
        return all(check.ok for check in self.checks)


async def diagnose() -> Diagnosis:
    """Look at everything; nothing that is found wrong is raised, and nothing is changed."""
    machine = {
        "quire": version("quire"),
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "system": platform.platform(),
    }
    try:
        settings = start("error")
    except ConfigurationError as error:
        return Diagnosis(machine, checks=[failed("settings", error)])
    diagnosis = Diagnosis(machine, settings_in_force(settings), [passed("settings", "valid")])
    diagnosis.checks.append(_disk(settings.data_dir))
    if settings.auth.jwks is not None:
        diagnosis.checks.append(await examination.jwks(settings.auth, settings.auth.jwks))
    diagnosis.checks.extend(await examination.content(settings))
    holder = held.holder_of(settings.data_dir) if needs_data_directory(settings) else None
    if holder is None:
        diagnosis.checks.extend(await examination.parts(settings))
    else:
        diagnosis.checks.extend(await held.ask_server(settings, holder))
    return diagnosis


def _disk(data_dir: Path) -> Check:
    place = next(path for path in (data_dir, *data_dir.parents) if path.exists())
    free = shutil.disk_usage(place).free
    message = f"{free / 2**30:.1f} GiB free in {data_dir}"
    if free >= LOW_DISK_BYTES:
        return passed("disk", message)
    return Check("disk", False, message, "Free space, or move QUIRE_DATA_DIR to a larger disk.")
