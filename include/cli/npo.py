"""``spotlight npo``: the integrations in the config table."""

from __future__ import annotations

import json
from textwrap import indent
from typing import TYPE_CHECKING, Annotated, Any

import typer

from include.cli.environment import use_local_stack
from include.cli.output import AsJson, emit
from include.errors import ConfigurationError
from include.settings import get_settings

if TYPE_CHECKING:
    from include.registry.queries import Change, RawRow

app = typer.Typer(help="The NPO integrations: rows of the config table.", no_args_is_help=True)

NpoId = Annotated[str, typer.Argument(help="The row's npo_id, such as hopeworks.")]


@app.command("list")
def list_rows(
    as_json: AsJson = False,  # noqa: ARG001, FBT002 - read by its callback
) -> None:
    """List every row with its status, and what is wrong with a row that cannot run."""
    from include.registry.catalogue import parse_rows
    from include.registry.queries import all_rows

    use_local_stack()
    settings = get_settings()
    rows = all_rows(settings.registry_dsn.get_secret_value(), settings.registry_timeout)
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

    use_local_stack()
    settings = get_settings()
    dsn, timeout = settings.registry_dsn.get_secret_value(), settings.registry_timeout
    row = queries.row(dsn, npo_id, timeout)
    if row is None:
        raise ConfigurationError(
            f"no row {npo_id!r} in integration.npo; 'spotlight npo list' names them", subject="registry"
        )
    good, broken = parse_rows([row])
    problem = broken[0].problem if broken else None
    manifest = (
        load_manifest(good[0]).model_dump(mode="json", by_alias=True, exclude_defaults=True) if good else None
    )
    changes = [_change(change) for change in queries.history(dsn, npo_id, timeout)]
    shown = {"row": row, "problem": problem, "manifest_merged": manifest, "history": changes}
    emit(shown, _page(shown))


def _listed(row: RawRow, problem: str | None) -> dict[str, Any]:
    names = ("npo_id", "status", "connector", "schedule", "timezone", "config_version", "name")
    return {name: row[name] for name in names} | {"problem": problem}


def _table(rows: list[dict[str, Any]]) -> str:
    head = ("npo_id", "status", "connector", "schedule", "name")
    lines = [[name.upper() for name in head], *([_text(row[name]) for name in head] for row in rows)]
    widths = [max(len(cell) for cell in column) for column in zip(*lines, strict=True)]
    table = [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    ]
    return "\n".join([*table, *(f"! {row['npo_id']}: {row['problem']}" for row in rows if row["problem"])])


def _text(value: Any) -> str:
    """Return a value for a terminal: control characters in a name stay visible and do nothing."""
    return value if isinstance(value, str) and value.isprintable() else json.dumps(value)


def _change(change: Change) -> dict[str, Any]:
    old, new = change.old_row or {}, change.new_row or {}
    # Every update moves these; they say nothing about what was meant.
    changed = {key for key in old.keys() | new.keys() if old.get(key) != new.get(key)} - {
        "config_version",
        "updated_at",
        "updated_by",
    }
    return {
        "at": change.changed_at.isoformat(timespec="seconds"),
        "by": change.changed_by,
        "operation": change.operation,
        "fields": sorted(changed) if change.operation == "UPDATE" else [],
        "status": new.get("status"),
    }


def _page(shown: dict[str, Any]) -> str:
    row, problem, manifest = shown["row"], shown["problem"], shown["manifest_merged"]
    width = max(map(len, row))
    fields = [f"{key.ljust(width)}  {_text(value)}" for key, value in row.items()]
    told = [
        f"  {change['at']} {change['operation']:<6} by {change['by']} {', '.join(change['fields'])}".rstrip()
        for change in shown["history"]
    ]
    merged = ["manifest, with its connector's:", indent(json.dumps(manifest, indent=2), "  ")]
    return "\n".join([*fields, *([f"! {problem}"] if problem else merged), "changes:", *told])
