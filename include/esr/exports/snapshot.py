"""The full snapshot (DNF) of a deanery, made on request and sent like any other file of ours."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from include.errors import ConfigurationError
from include.esr.documents import owner
from include.esr.exports import ledger
from include.esr.exports.allocating import key_of, moment, open_export
from include.esr.exports.ledger import Export
from include.esr.exports.numbers import next_number
from include.esr.exports.sending import finish
from include.esr.generation.generate import require_reconciled
from include.esr.names import Deanery, FileName, FileType
from include.esr.notifications.documents import content_of, document_of
from include.esr.notifications.rules import snapshot
from include.esr.notifications.vpd import vpd_reason
from include.esr.outbound import ExportState, RecordState, entry, london_day
from include.events.drain import drain

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date, datetime

    from pymongo.client_session import ClientSession

    from include.esr.context import EsrContext
    from include.esr.notifications.documents import Content
    from include.esr.notifications.notification import Notification
    from include.esr.placements.facts import PostView
    from include.storage.mongo import Write

Told = list[tuple["Notification", "Content"]]
NEAR = timedelta(days=7)
"""How far from today a snapshot may be: it tells what TCS and the store hold now, as if it were that day."""


def snapshot_file(ctx: EsrContext, deanery: str, *, today: date, views: Sequence[PostView]) -> dict[str, int]:
    """Make and send the snapshot of a deanery's posts as of a day; a second one of that day is not made.

    Args:
        ctx: What the stage works with.
        deanery: Whose posts.
        today: The day.
        views: All its posts with their positions and placements.

    Returns:
        ``files`` and ``records`` sent now, ``invalid`` left out because they cannot stand in a file,
        ``published`` events.

    Raises:
        ConfigurationError: The day is far from today, or there is more to tell than a file may hold.
        NotYetError: A file of the deanery is half applied.
        IntegrationError: As ``sending.finish`` says; run it again.
    """
    require_near(ctx, today)
    counts = {"files": 0, "records": 0, "invalid": 0}
    begun = ledger.unfinished(ctx.store, deanery, FileType.DNF)
    if ledger.find(ctx.store, key_of(FileType.DNF, deanery, today)) is None:
        made, counts["invalid"] = _allocate(ctx, deanery, today, views)
        begun += made
    for export in begun:
        finish(ctx, export)
        counts["files"] += 1
        counts["records"] += export.records
    published = drain(ctx.store, ctx.settings, owner(deanery), now=ctx.now, progress=ctx.progress)
    return counts | {"published": published}


def require_near(ctx: EsrContext, day: date) -> None:
    """Refuse a snapshot as of a day far from today.

    Raises:
        ConfigurationError: It is; nothing was made.
    """
    today = london_day(ctx.now())
    if abs(day - today) > NEAR:
        raise ConfigurationError(
            f"a snapshot as of {day} is too far from today, {today}: {NEAR.days} days at most; "
            "nothing was made"
        )


def _require_room(ctx: EsrContext, deanery: str, lines: int) -> None:
    most = ctx.settings.esr_max_export_records
    if lines > most:
        raise ConfigurationError(
            f"the snapshot would have {lines} lines, more than SPOTLIGHT_ESR_MAX_EXPORT_RECORDS "
            f"({most}); nothing was made. Raise that if ESR takes such a file",
            subject=deanery,
        )


def _allocate(
    ctx: EsrContext, deanery: str, today: date, views: Sequence[PostView]
) -> tuple[list[Export], int]:
    """Give the snapshot its number and keep its lines; nothing is made of no lines."""
    horizon = ctx.settings.esr_horizon_days
    told: Told = [
        (each, content_of(each))
        for view in sorted(views, key=lambda view: (view.number, view.id))
        for each in snapshot(view, today, horizon_days=horizon)
    ]
    good = [(each, content) for each, content in told if not (content.reason or vpd_reason(content.fields))]
    _require_room(ctx, deanery, len(good))
    made: list[Export] = []

    def prepare() -> tuple[None, Write | None]:
        made.clear()
        require_reconciled(ctx.store, deanery)  # again: looking at all the posts took its time
        if not good or ledger.find(ctx.store, key_of(FileType.DNF, deanery, today)) is not None:
            return None, None
        at = moment(ctx)

        def write(session: ClientSession, _order: int) -> None:
            export = Export(
                name=FileName(
                    Deanery(deanery), FileType.DNF, today, next_number(ctx.store, session, FileType.DNF)
                ),
                key=key_of(FileType.DNF, deanery, today),
                state=ExportState.ALLOCATED,
                day=today,
                records=len(good),
                carried_over=0,
                made_at=at,
            )
            open_export(ctx, session, export)
            lines = [_line(export, *each, ordinal=place, at=at) for place, each in enumerate(good, start=1)]
            ctx.store[export.collection].insert_many(lines, ordered=False, session=session)
            made[:] = [export]

        return None, write

    ctx.store.commit_plan(owner(deanery), prepare)
    return made, len(told) - len(good)


def _line(
    export: Export, notification: Notification, content: Content, *, ordinal: int, at: datetime
) -> dict[str, Any]:
    document = document_of(
        notification,
        content,
        record_id=f"{export.id}:{ordinal}",
        kind="DNF",
        today=export.day,
        turn=0,
        at=at,
    )
    place = {"file": export.id, "ordinal": ordinal}
    history = [entry(RecordState.IN_FILE, at, why="snapshot") | place]
    return document | place | {"state": RecordState.IN_FILE.value, "history": history}
