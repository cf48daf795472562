"""``spotlight npo``: the integrations in the config table."""

from __future__ import annotations

import json
from textwrap import indent
from typing import TYPE_CHECKING, Any

import typer

from include.cli.npo_again import discard, gaps, quarantine, release, replay
from include.cli.npo_credential import credential_commands
from include.cli.npo_edit import activate, add, change_of, disable, edit, history, pause
from include.cli.npo_leave import export, purge
from include.cli.npo_look import check, preview
from include.cli.npo_row import NpoId, open_registry, row_of, text_of
from include.cli.npo_wake import wake
from include.cli.output import AsJson, emit

if TYPE_CHECKING:
    from collections.abc import Callable

    from include.registry.queries import RawRow

app = typer.Typer(help="The NPO integrations: rows of the config table.", no_args_is_help=True)

_COMMANDS: tuple[Callable[..., None], ...] = (add, edit, check, preview, activate, pause, disable, history)
_LATER: tuple[Callable[..., None], ...] = (gaps, replay, quarantine, release, discard, wake, export, purge)

for _command in _COMMANDS:
    app.command()(_command)
app.add_typer(credential_commands, name="credential")
for _command in _LATER:
    app.command()(_command)


@app.command("list")
def list_rows(
    as_json: AsJson = False,  # noqa: ARG001, FBT002 - read by its callback
) -> None:
    """List every row with its status, and what is wrong with a row that cannot run."""
    from include.registry.catalogue import parse_rows
    from include.registry.queries import all_rows

    registry = open_registry()
    rows = all_rows(registry.dsn, registry.timeout)
    _, broken = parse_rows(rows)
    problems = {row.npo_id: row.problem for row in broken}
    listed = [_listed(row, problems.get(row["npo_id"])) for row in rows]
    emit(listed, _table(listed) if listed else "no rows in integration.npo")


@app.command()
def show(
    npo_id: NpoId,
    as_json: AsJson = False,  # noqa: ARG001, FBT002 - read by its callback
) -> None:
    """Show one row, the manifest it comes to with its connector's, and its changes, oldest first."""
    from include.connectors.discovery import load_manifest
    from include.registry import queries
    from include.registry.catalogue import parse_rows

    registry = open_registry()
    row = row_of(registry, npo_id)
    good, broken = parse_rows([row])
    problem = broken[0].problem if broken else None
    manifest = (
        load_manifest(good[0]).model_dump(mode="json", by_alias=True, exclude_defaults=True) if good else None
    )
    changes = [change_of(change) for change in queries.history(registry.dsn, npo_id, registry.timeout)]
    shown = {"row": row, "problem": problem, "manifest_merged": manifest, "history": changes}
    emit(shown, _page(shown))


def _listed(row: RawRow, problem: str | None) -> dict[str, Any]:
    names = ("npo_id", "status", "connector", "schedule", "timezone", "config_version", "name")
    return {name: row[name] for name in names} | {"problem": problem}


def _table(rows: list[dict[str, Any]]) -> str:
    head = ("npo_id", "status", "connector", "schedule", "name")
    lines = [[name.upper() for name in head], *([text_of(row[name]) for name in head] for row in rows)]
    widths = [max(len(cell) for cell in column) for column in zip(*lines, strict=True)]
    table = [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    ]
    return "\n".join([*table, *(f"! {row['npo_id']}: {row['problem']}" for row in rows if row["problem"])])


def _page(shown: dict[str, Any]) -> str:
    row, problem, manifest = shown["row"], shown["problem"], shown["manifest_merged"]
    width = max(map(len, row))
    fields = [f"{key.ljust(width)}  {text_of(value)}" for key, value in row.items()]
    told = [
        f"  {change['at']} {change['operation']:<6} by {change['by']} {', '.join(change['fields'])}".rstrip()
        for change in shown["history"]
    ]
    merged = ["manifest, with its connector's:", indent(json.dumps(manifest, indent=2), "  ")]
    return "\n".join([*fields, *([f"! {problem}"] if problem else merged), "changes:", *told])
