"""``spotlight npo gaps``, ``replay``, ``quarantine``, ``release``, ``discard``: missed or set aside."""

from __future__ import annotations

import getpass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from include.cli.npo_row import NpoId, lines_of, open_registry, output_kept, text_of
from include.cli.output import AsJson, emit
from include.cli.run_out import counted, tell

if TYPE_CHECKING:
    from include.cli.npo_row import Registry
    from include.npo.gaps import Gap
    from include.npo.replay import Replay
    from include.registry.models import NpoConfig

FORMATS = ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"]
Start = Annotated[
    datetime | None, typer.Option("--from", formats=FORMATS, help="From here (UTC, inclusive).")
]
End = Annotated[datetime | None, typer.Option("--to", formats=FORMATS, help="... to here (UTC, exclusive).")]
ResourceName = Annotated[
    Literal["offerings", "assignments"] | None, typer.Option(help="Only this resource.", show_default="all")
]
MaybeNpoId = Annotated[str | None, typer.Argument(help="The row's npo_id; without it say --all.")]
All = Annotated[bool, typer.Option("--all", help="Every active and paused row.")]
FromRaw = Annotated[
    bool,
    typer.Option("--from-raw", help="Start from the store's raw records, not from the landing zone."),
]
Code = Annotated[str | None, typer.Option(help="Only those set aside for this reason.")]
ExternalId = Annotated[str | None, typer.Option(help="Only this record, by the partner's id.")]
Why = Annotated[str, typer.Option(help="Kept beside the record.")]


def gaps(
    npo_id: MaybeNpoId = None,
    every: All = False,  # noqa: FBT002 - a flag of the command line
    start: Start = None,
    end: End = None,
    resource: ResourceName = None,
    as_json: AsJson = False,  # noqa: ARG001, FBT002 - read by its callback
) -> None:
    """Show stretches of time that no landed extraction covers, and what closes them.

    Without --from it looks back to the row's start, or as far as landed pages are kept.
    """
    if (npo_id is None) == (not every):
        raise typer.BadParameter("give an npo_id, or --all")
    registry = open_registry()
    found, broken = _gaps(registry, npo_id, start, end, resource)
    shown = [
        (gap.npo_id, gap.resource, _moment(gap.stretch.start), _moment(gap.stretch.end), _closing(gap))
        for gap in found
    ]
    table = lines_of([("NPO", "RESOURCE", "FROM", "TO", "CLOSED BY"), *shown]) if shown else "no gaps"
    told = "\n".join([table, *(f"! {line}" for line in broken)])
    emit({"gaps": [gap.to_dict() for gap in found], "problems": broken}, told)
    if broken:
        raise typer.Exit(1)


def _gaps(
    registry: Registry,
    npo_id: str | None,
    start: datetime | None,
    end: datetime | None,
    resource: ResourceName,
) -> tuple[list[Gap], list[str]]:
    """Return the gaps, and what is wrong with rows that cannot be looked at."""
    from include.npo.context import utc_now
    from include.npo.gaps import Stretch, default_stretch, find_gaps
    from include.npo.sample import stored_context

    npos, broken = _rows(registry, npo_id)
    found: list[Gap] = []
    now = utc_now()
    with stored_context(registry.settings) as context_of, output_kept():
        for npo in npos:
            usual = default_stretch(npo, now=now, kept_days=registry.settings.retention_raw_days)
            within = Stretch(
                start.replace(tzinfo=UTC) if start else usual.start,
                min(end.replace(tzinfo=UTC), now) if end else now,
            )
            if within.start >= within.end:
                raise typer.BadParameter("--to must be later than --from, and --from not in the future")
            found += find_gaps(context_of(npo), within, resource=resource)
    return found, broken


def _rows(registry: Registry, npo_id: str | None) -> tuple[list[NpoConfig], list[str]]:
    from include.cli.npo_row import config_of
    from include.registry.catalogue import parse_rows
    from include.registry.queries import active_rows

    if npo_id is not None:
        return [config_of(registry, npo_id)], []
    good, broken = parse_rows(active_rows(registry.dsn, registry.timeout))
    return good, [f"{row.npo_id}: {row.problem}" for row in broken]


def _moment(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%S}"


def _closing(gap: Gap) -> str:
    return "the next run" if gap.caught_up else gap.command


def replay(
    npo_id: NpoId,
    start: Start = None,
    end: End = None,
    resource: ResourceName = None,
    from_raw: FromRaw = False,  # noqa: FBT002 - a flag of the command line
    as_json: AsJson = False,  # noqa: ARG001, FBT002 - read by its callback
) -> None:
    """Rebuild records, entities and events from what is kept; the partner is not asked.

    Extractions landed in the stretch of time are landed again and their records go through every stage.
    What comes out the same makes no version and no event.
    """
    from include.connectors.protocol import Window
    from include.npo.replay import Replay

    if start and end and start >= end:
        raise typer.BadParameter("--to must be later than --from")
    window = Window(start.replace(tzinfo=UTC) if start else None, end.replace(tzinfo=UTC) if end else None)
    asked = Replay(npo_id, window, (resource,) if resource else (), from_raw)
    counts = _replayed(asked)
    emit({"npo_id": npo_id, "counts": counts}, f"{npo_id}: {counted(counts) or 'nothing to replay'}")


def _replayed(asked: Replay) -> dict[str, int]:
    from include.npo.replay import replay as rebuild

    registry = open_registry()
    run_id = f"replay__{datetime.now(tz=UTC).isoformat()}"
    with output_kept():
        return rebuild(asked, run_id, registry.settings, tell)


def quarantine(
    npo_id: NpoId,
    resource: ResourceName = None,
    code: Code = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000)] = 20,
    as_json: AsJson = False,  # noqa: ARG001, FBT002 - read by its callback
) -> None:
    """Show the records of an NPO that wait in quarantine, newest first; never what is in them."""
    from include.npo.aside import waiting
    from include.npo.sample import open_store

    registry = open_registry()
    with open_store(registry.settings) as store:
        found = waiting(store, npo_id, resource=resource, code=code, limit=limit)
    rows = [
        (
            entry.resource,
            text_of(entry.external_id or "-"),
            entry.stage,
            ", ".join(entry.codes),
            entry.last_seen,
        )
        for entry in found
    ]
    head = ("RESOURCE", "EXTERNAL ID", "STAGE", "REASONS", "LAST SEEN")
    emit([entry.to_dict() for entry in found], lines_of([head, *rows]) if rows else "nothing in quarantine")


def release(
    npo_id: NpoId,
    resource: ResourceName = None,
    code: Code = None,
    external_id: ExternalId = None,
    as_json: AsJson = False,  # noqa: ARG001, FBT002 - read by its callback
) -> None:
    """Let quarantined records go through the stages again with the next run, once what spoilt them is mended.

    What is still bad is set aside again.
    """
    from include.npo.aside import release as let_go
    from include.npo.sample import open_store

    registry = open_registry()
    with open_store(registry.settings) as store:
        released, unlanded = let_go(store, npo_id, resource=resource, code=code, external_id=external_id)
    told = f"{released} records of {npo_id} wait for the next run"
    if unlanded:
        told += f"; {unlanded} never became records: 'spotlight npo replay {npo_id}' lands them again"
    emit({"npo_id": npo_id, "released": released, "need_replay": unlanded}, told)


def discard(
    npo_id: NpoId,
    why: Why,
    resource: ResourceName = None,
    code: Code = None,
    external_id: ExternalId = None,
    as_json: AsJson = False,  # noqa: ARG001, FBT002 - read by its callback
) -> None:
    """Close quarantined records for good: this content is not looked at again. The evidence stays.

    Say which: by --code or --external-id.
    """
    from include.npo.aside import discard as close
    from include.npo.context import utc_now
    from include.npo.sample import open_store

    if code is None and external_id is None:
        raise typer.BadParameter("say which: --code or --external-id")
    registry = open_registry()
    with open_store(registry.settings) as store:
        closed = close(
            store,
            npo_id,
            resource=resource,
            code=code,
            external_id=external_id,
            why=why,
            by=getpass.getuser(),
            at=utc_now(),
        )
    emit({"npo_id": npo_id, "discarded": closed}, f"{closed} records of {npo_id} discarded")
