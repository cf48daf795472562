"""``spotlight stack``: start, stop and look at the local servers."""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Self

import typer

from include.cli.output import AsJson, emit, output

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.table import Table

    from include.sandbox.stack.stack import LocalStack, ServiceStatus

app = typer.Typer(
    help="The local servers: PostgreSQL, MongoDB, S3, SNS and SQS, SFTP, sandbox partners, TCS."
)

Home = Annotated[
    Path | None,
    typer.Option("--home", help="Folder of the stack's data, logs and ports.", show_default=".local/run"),
]
Service = Annotated[
    list[str] | None,
    typer.Option("--service", help="Only this server; repeat for several.", show_default="all"),
]
Port = Annotated[
    list[str] | None,
    typer.Option("--port", help="A port you want: NAME=NUMBER, such as mongo=27017; repeat for several."),
]


@app.command()
def up(
    home: Home = None,
    service: Service = None,
    port: Port = None,
    as_json: AsJson = False,  # noqa: ARG001, FBT002 - read by its callback
) -> None:
    """Start what does not run, in place; data of earlier runs is found again."""
    stack = _stack(home, service, port)
    began = time.monotonic()
    with _Progress() as progress:
        stack.up(progress)
    seconds = round(time.monotonic() - began, 1)
    value = {"home": str(stack.home), "env_file": str(stack.env_file), "seconds": seconds}
    emit(value, f"up after {seconds} s; to use it: set -a; . '{stack.env_file}'; set +a")


@app.command()
def down(
    home: Home = None,
    service: Service = None,
    as_json: AsJson = False,  # noqa: ARG001, FBT002 - read by its callback
) -> None:
    """Stop the servers; their data stays."""
    stack = _stack(home, service)
    with _Progress() as progress:
        stack.down(progress)
    emit({"home": str(stack.home)}, f"down; the data is in {stack.home}")


@app.command()
def restart(
    name: Annotated[str, typer.Argument(help="Name of the server, as 'status' shows it.")],
    home: Home = None,
    as_json: AsJson = False,  # noqa: ARG001, FBT002 - read by its callback
) -> None:
    """Stop one server and start it in place."""
    stack = _stack(home)
    with _Progress() as progress:
        stack.restart(name, progress)
    emit({"home": str(stack.home), "restarted": name}, f"{name} restarted")


@app.command()
def status(
    home: Home = None,
    service: Service = None,
    as_json: AsJson = False,  # noqa: ARG001, FBT002 - read by its callback
) -> None:
    """Show each server's state, pid, address and memory; exits 1 unless all run."""
    rows = _stack(home, service).status()
    emit([row.as_dict() for row in rows], _table(rows))
    if any(row.state not in {"running", "external"} for row in rows):
        raise typer.Exit(1)


def _stack(home: Path | None, service: list[str] | None = None, port: list[str] | None = None) -> LocalStack:
    from include.sandbox.stack import DEFAULT_HOME, LocalStack

    return LocalStack(
        home or DEFAULT_HOME, service or None, ports=dict(_named_port(text) for text in port or ())
    )


def _named_port(text: str) -> tuple[str, int]:
    name, _, number = text.partition("=")
    if not number.isdecimal() or not 0 < int(number) < 2**16:
        raise typer.BadParameter(f"'{text}' is not NAME=NUMBER, such as mongo=27017")
    return name, int(number)


def _table(rows: list[ServiceStatus]) -> str:
    lines = [("SERVER", "STATE", "PID", "ADDRESS", "MEMORY")]
    for row in rows:
        memory = "" if row.memory_mb is None else f"{row.memory_mb:.0f} MB"
        lines.append((row.name, row.state, str(row.pid or ""), row.address, memory))
    widths = [max(len(line[column]) for line in lines) for column in range(5)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


class _Progress:
    """Shows what happens to each server: a live table on a terminal, else one line a change."""

    def __init__(self) -> None:
        self._states: dict[str, str] = {}
        self._began = time.monotonic()
        self._lock = threading.Lock()
        self._show: Callable[[str, str], None] = self._print_line

    def __enter__(self) -> Self:
        self._live = None
        if sys.stderr.isatty() and not output.as_json:
            from rich.console import Console
            from rich.live import Live
            from rich.spinner import Spinner

            self._spinner = Spinner("dots")
            self._live = Live(console=Console(stderr=True), get_renderable=self._rows, refresh_per_second=8)
            self._live.start()
            self._show = self._note
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def __call__(self, name: str, message: str) -> None:
        with self._lock:
            self._show(name, message)

    def _print_line(self, name: str, message: str) -> None:
        typer.echo(f"{name}: {message}", err=True)

    def _note(self, name: str, message: str) -> None:
        self._states[name] = message

    def _rows(self) -> Table:
        from rich.table import Table

        table = Table.grid(padding=(0, 2))
        for name, message in list(self._states.items()):
            busy = message == "starting" or message.startswith("waiting")
            table.add_row(self._spinner if busy else "✓", name, message)
        return table
