"""``spotlight npo export`` and ``purge``: an NPO that leaves."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from include.cli.npo_row import NpoId, open_registry, output_kept
from include.cli.output import AsJson, emit
from include.cli.run_out import counted, tell
from include.errors import ConfigurationError

if TYPE_CHECKING:
    from include.cli.npo_row import Registry
    from include.registry.queries import RawRow

To = Annotated[Path, typer.Option("--to", help="A new folder, or an empty one.", file_okay=False)]
Now = Annotated[bool, typer.Option("--now", help="Do not wait for two hours: you know that no task runs.")]
Untold = Annotated[
    bool, typer.Option("--untold", help="Delete also what the platform or the partner was not told yet.")
]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask back.")]


def export(
    npo_id: NpoId,
    to: To,
    as_json: AsJson = False,  # noqa: ARG001, FBT002 - read by its callback
) -> None:
    """Write everything kept of an integration into a folder that only its owner may read.

    It holds personal data. Without its ``export.json`` it is not complete.
    """
    from include.npo.context import utc_now
    from include.privacy.leaving import export_npo
    from include.privacy.maintenance import open_stores
    from include.registry.queries import row

    registry = open_registry()
    _require_id(npo_id)
    found = row(registry.dsn, npo_id, registry.timeout)
    with output_kept(), open_stores(registry.settings) as (store, landing):
        summary = export_npo(store, landing, npo_id, to, row=found, now=utc_now(), progress=tell)
    documents = sum(one["documents"] for one in summary["store"].values())
    told = f"{npo_id}: {documents:,} documents and {summary['objects']:,} objects written to {to}"
    emit(summary | {"folder": str(to)}, told)


def purge(
    npo_id: NpoId,
    *,
    now: Now = False,
    untold: Untold = False,
    yes: Yes = False,
    as_json: AsJson = False,  # noqa: ARG001 - read by its callback
) -> None:
    """Delete everything kept of a disabled integration but its row; it cannot be undone.

    Records, landed pages, enrolments, events and tokens go. While enrolments are under way or events wait
    nothing is deleted. Broken off, it is ended by asking again.
    """
    from include.npo.context import utc_now
    from include.privacy.leaving import purge_npo, require_all_told, require_left
    from include.privacy.maintenance import open_stores
    from include.registry.tokens import forget_tokens

    registry = open_registry()
    _require_id(npo_id)
    require_left(_last_row(registry, npo_id), npo_id, now=utc_now(), wait=not now)
    with open_stores(registry.settings) as (store, _landing):
        if not untold:
            require_all_told(store, npo_id)
    if not yes:
        _confirm(npo_id)
    with output_kept(), open_stores(registry.settings) as (store, landing):
        counts = purge_npo(store, landing, npo_id, progress=tell)
    counts["tokens"] = int(forget_tokens(registry.dsn, npo_id, registry.timeout))
    held = any(counts.values())
    emit(
        {"npo_id": npo_id, "deleted": counts},
        f"{npo_id}: {counted(counts)} deleted" if held else f"{npo_id}: nothing was kept",
    )


def _require_id(npo_id: str) -> None:
    """Refuse what is no npo_id: ``a/b`` would name a part of the NPO ``a``."""
    from include.registry.models import NPO_ID_PATTERN

    if not re.fullmatch(NPO_ID_PATTERN, npo_id):
        raise ConfigurationError(
            f"{npo_id!r} is no npo_id: small letters, digits and '_', beginning with a letter",
            subject="registry",
        )


def _last_row(registry: Registry, npo_id: str) -> RawRow | None:
    """Return the row; of one that was deleted what its history says: a task may still run of it."""
    from include.registry.queries import history, row

    found = row(registry.dsn, npo_id, registry.timeout)
    changes = history(registry.dsn, npo_id, registry.timeout) if found is None else []
    if not changes:
        return found
    gone: dict[str, Any] = {"status": "disabled", "updated_at": changes[-1].changed_at.isoformat()}
    return gone


def _confirm(npo_id: str) -> None:
    typer.echo(
        f"Everything kept of {npo_id} will be deleted for good, from store and landing zone.", err=True
    )
    if typer.prompt(f"Type '{npo_id}' to go on", err=True, default="", show_default=False) != npo_id:
        typer.echo("nothing was deleted", err=True)
        raise typer.Exit(1)
