"""``spotlight npo add``, ``edit``, ``activate``, ``pause``, ``disable`` and ``history``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from include.cli.npo_row import NpoId, config_of, lines_of, open_registry, row_of, text_of, who
from include.cli.output import AsJson, emit
from include.errors import ConfigurationError

if TYPE_CHECKING:
    from include.registry.models import NpoStatus
    from include.registry.queries import Change

File = Annotated[
    Path | None,
    typer.Option(
        "--manifest", help="YAML or JSON: the manifest, and under 'npo' columns of the row.", dir_okay=False
    ),
]
Connector = Annotated[str | None, typer.Option(help="A connector's name; 'rest' for manifest only.")]
Name = Annotated[str | None, typer.Option(help="The organisation's name.")]
BaseUrl = Annotated[str | None, typer.Option(help="Where the API lives.")]
OwnerEmail = Annotated[str | None, typer.Option(help="Whom to write to when the set-up is wrong.")]
Hosts = Annotated[
    list[str] | None,
    typer.Option("--allowed-host", help="A host that may be asked; repeat for several. Default: base_url's."),
]
Schedule = Annotated[str | None, typer.Option(help="Five-field cron, @hourly, @daily, @weekly or @monthly.")]
Timezone = Annotated[str | None, typer.Option(help="IANA zone of the schedule, such as Europe/London.")]
StartDate = Annotated[str | None, typer.Option(help="No scheduled run has an interval before it (a day).")]
Ref = Annotated[str | None, typer.Option(help="Name of the Airflow connection with the secret.")]
Rpm = Annotated[int | None, typer.Option(help="The NPO's budget.")]
Concurrency = Annotated[int | None, typer.Option(help="Requests under way at once.")]
Website = Annotated[str | None, typer.Option()]
Description = Annotated[str | None, typer.Option()]


def add(  # noqa: PLR0913 - the row's columns
    npo_id: NpoId,
    *,
    manifest: File = None,
    connector: Connector = None,
    name: Name = None,
    base_url: BaseUrl = None,
    owner_email: OwnerEmail = None,
    allowed_host: Hosts = None,
    schedule: Schedule = None,
    timezone: Timezone = None,
    start_date: StartDate = None,
    credential_ref: Ref = None,
    requests_per_minute: Rpm = None,
    max_concurrency: Concurrency = None,
    website: Website = None,
    description: Description = None,
    as_json: AsJson = False,
) -> None:
    """Add an integration as a draft. Every problem is listed, and then nothing is written."""
    given = _given(locals())  # before anything else is local
    from include.registry.editing import checked_row, new_values, read_manifest_file, utc_today
    from include.registry.queries import insert_npo

    registry = open_registry()
    file = read_manifest_file(manifest) if manifest else None
    npo = checked_row(new_values(npo_id, given, file, today=utc_today()))
    insert_npo(registry.dsn, npo, registry.timeout, changed_by=who())
    emit(npo.model_dump(mode="json"), f"{npo_id} added as a draft\n{_next(npo.credential_ref, npo_id)}")


def edit(  # noqa: PLR0913 - the row's columns
    npo_id: NpoId,
    *,
    manifest: File = None,
    connector: Connector = None,
    name: Name = None,
    base_url: BaseUrl = None,
    owner_email: OwnerEmail = None,
    allowed_host: Hosts = None,
    schedule: Schedule = None,
    timezone: Timezone = None,
    start_date: StartDate = None,
    credential_ref: Ref = None,
    requests_per_minute: Rpm = None,
    max_concurrency: Concurrency = None,
    website: Website = None,
    description: Description = None,
    as_json: AsJson = False,
) -> None:
    """Change columns of a row; what is not named stays. The next task that starts reads the row anew."""
    given = _given(locals())  # before anything else is local
    from include.registry.editing import EDITABLE, changed_values, checked_row, read_manifest_file
    from include.registry.queries import update_npo

    registry = open_registry()
    row = row_of(registry, npo_id)
    file = read_manifest_file(manifest) if manifest else None
    npo = checked_row(changed_values(row, given, file))
    after = npo.model_dump(mode="json")
    changed = [column for column in EDITABLE if after[column] != row[column]]
    if changed:
        update_npo(registry.dsn, npo, registry.timeout, seen=row["config_version"], changed_by=who())
    told = f"{npo_id}: {', '.join(changed)} changed" if changed else f"{npo_id} is as it was"
    emit({"npo_id": npo_id, "changed": changed}, told)


def activate(
    npo_id: NpoId,
    as_json: AsJson = False,  # noqa: ARG001, FBT002 - read by its callback
) -> None:
    """Let an integration run; its row must be valid."""
    npo = config_of(open_registry(), npo_id)
    _set_status(npo_id, "active", f"DAG {npo.dag_id} runs on {npo.schedule} ({npo.timezone})")


def pause(
    npo_id: NpoId,
    as_json: AsJson = False,  # noqa: ARG001, FBT002 - read by its callback
) -> None:
    """Start no more runs; the DAG stays in the UI, paused. A running task is not interrupted."""
    _set_status(npo_id, "paused", "no run starts until it is active again")


def disable(
    npo_id: NpoId,
    as_json: AsJson = False,  # noqa: ARG001, FBT002 - read by its callback
) -> None:
    """Take the DAG out of the UI. Records and history stay."""
    _set_status(npo_id, "disabled", "its DAG leaves the UI; records and history stay")


def history(
    npo_id: NpoId,
    as_json: AsJson = False,  # noqa: ARG001, FBT002 - read by its callback
) -> None:
    """Show every change of a row, oldest first, also of one that is deleted."""
    from include.registry.queries import history as changes_of

    registry = open_registry()
    changes = [change_of(change) for change in changes_of(registry.dsn, npo_id, registry.timeout)]
    if not changes:
        raise ConfigurationError(f"there never was a row {npo_id!r} in integration.npo", subject="registry")
    rows = [
        (change["at"], change["operation"], text_of(change["by"]), change["status"] or "", _fields(change))
        for change in changes
    ]
    emit(changes, lines_of([("AT", "OPERATION", "BY", "STATUS", "FIELDS"), *rows]))


def change_of(change: Change) -> dict[str, Any]:
    """Return one entry of a row's history: when, who, and which columns."""
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


def _fields(change: dict[str, Any]) -> str:
    return ", ".join(change["fields"])


def _given(options: dict[str, Any]) -> dict[str, Any]:
    """Return the columns that options name."""
    hosts = options.pop("allowed_host")
    given = {key: value for key, value in options.items() if key not in {"npo_id", "manifest", "as_json"}} | {
        "allowed_hosts": list(hosts) if hosts else None
    }
    return {key: value for key, value in given.items() if value is not None}


def _set_status(npo_id: str, status: str, told: str) -> None:
    from include.registry.models import NpoStatus as Status
    from include.registry.queries import set_status

    registry = open_registry()
    wanted: NpoStatus = Status(status)
    set_status(registry.dsn, npo_id, wanted, registry.timeout, changed_by=who())
    emit({"npo_id": npo_id, "status": status}, f"{npo_id} is {status}: {told}")


def _next(ref: str | None, npo_id: str) -> str:
    steps = [] if ref else [f"spotlight npo credential set {npo_id}"]
    steps += [f"spotlight npo {word} {npo_id}" for word in ("check", "preview", "activate")]
    return "next: " + "\n      ".join(steps)
