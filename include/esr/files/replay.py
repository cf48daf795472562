"""Replay: a file is done anew from the landing zone, without asking the partner. Harmless at any time."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from include.errors import ConfigurationError
from include.esr.files import ledger
from include.esr.names import RMT, ledger_name

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import datetime

    from pymongo.client_session import ClientSession

    from include.esr.context import EsrContext
    from include.esr.files.entry import Entry
    from include.esr.names import FileType


def replay_file(ctx: EsrContext, name: str, *, accept: str | None = None) -> Entry:
    """Put the newest version of a file back to where it had just landed; the next run does it anew.

    Args:
        ctx: The stage's context.
        name: The file's name, or ``<name>#<version>`` for an earlier version.
        accept: Why a person says the file is right, however unlike the deanery's other files it is; kept on
            the ledger. The frame and the lines are checked all the same.

    Raises:
        ConfigurationError: There is no such file, or it was refused when it came.
    """
    entry = find_file(ctx, name)

    def write(session: ClientSession, _order: int) -> None:
        at = ctx.now()
        ledger.reset_for_replay(ctx.store, session, entry.file_id, at)
        ctx.store["esr_file"].update_one(
            {"_id": entry.file_id}, {"$unset": {"tally": "", "unmatched_share": ""}}, session=session
        )
        if accept:  # else what a person said before still holds
            ctx.store["esr_file"].update_one(
                {"_id": entry.file_id}, {"$set": {"accepted": {"why": accept, "at": at}}}, session=session
            )

    ctx.store.commit_plan(entry.source.owner, lambda: (None, write))
    return ledger.read(ctx.store, entry.file_id)


def replay_days(
    ctx: EsrContext, start: datetime, end: datetime, types: Collection[FileType] = RMT
) -> list[str]:
    """Replay every file of some types whose day begins in an interval, and return their ids in sequence.

    Files that were refused when they came stay so.

    A day begins at midnight UTC: of the runs of a backfill, which are shorter than a day, one replays it.

    Args:
        ctx: The stage's context.
        start: The start, inclusive, UTC.
        end: The end, exclusive, UTC.
        types: RMF and RMC, unless it is said otherwise.

    Raises:
        TransientError: The store did not answer.
    """
    moment = timedelta(microseconds=1)
    first, last = (start - moment).date() + timedelta(days=1), (end - moment).date()
    if first > last:
        return []
    chosen = [
        entry
        for entry in ledger.entries(ctx.store, since=first, until=last, limit=10_000)
        if entry.type in types and not entry.refused_on_arrival
    ]
    return [replay_file(ctx, entry.file_id).file_id for entry in chosen]


def find_file(ctx: EsrContext, name: str) -> Entry:
    """Return the newest version of a file, or the one that ``<name>#<version>`` asks for.

    Raises:
        ConfigurationError: There is no such file.
    """
    asked, _, version = name.partition("#")
    known = ledger.versions(ctx.store, ledger_name(asked))
    wanted = [each for each in known if not version or str(each.version) == version]
    entry = wanted[-1] if wanted else None
    if entry is None:
        raise ConfigurationError(
            "this file never came; 'spotlight esr files' lists those that did", subject=name
        )
    return entry
