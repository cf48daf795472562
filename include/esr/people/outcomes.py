"""What became of people in TCS, noted in the store: one transaction a batch."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import orjson

from include.esr.documents import owner
from include.esr.people.plan import LOOK_AGAIN, PersonStatus
from include.quality.quarantine import Quarantined, release, set_aside

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from pymongo.client_session import ClientSession

    from include.esr.context import EsrContext
    from include.esr.people.claims import Claims
    from include.esr.people.plan import Result

STAGE = "people"
RESOURCE = "PERSON"


def commit_results(ctx: EsrContext, deanery: str, claims: Claims, results: Sequence[Result]) -> None:
    """Note the results in one transaction; what TCS was told counts even if the person changed since.

    Raises:
        TransientError: The store did not answer; the claims run out by themselves.
    """
    if not results:
        return
    claims.leave({result.person.id for result in results if result.in_doubt})
    now = ctx.now()
    write = partial(_write, ctx, deanery, claims.token, results, now)
    ctx.store.commit_plan(owner(deanery), lambda: (None, write))


def _write(
    ctx: EsrContext,
    deanery: str,
    token: str,
    results: Sequence[Result],
    now: datetime,
    session: ClientSession,
    _order: int,
) -> None:
    from pymongo import UpdateOne

    people = ctx.store["esr_person"]
    whole = [
        UpdateOne(
            {"_id": result.person.id, "claim.by": token, "revision": result.person.revision},
            _settled(result, {**_told(result), **_outcome(ctx, result, now)}),
        )
        for result in results
    ]
    if people.bulk_write(whole, ordered=False, session=session).matched_count < len(results):
        # A file was saved meanwhile: the person stays pending, compared with what TCS has now.
        moved = [
            UpdateOne(
                {
                    "_id": result.person.id,
                    "claim.by": token,
                    "revision": {"$ne": result.person.revision},
                },
                _settled(result, _told(result)),
            )
            for result in results
        ]
        people.bulk_write(moved, ordered=False, session=session)
    set_aside(ctx.store, session, _refused(deanery, results), at=now)
    mended = {
        str(result.person.id): now for result in results if result.person.was_refused and result.settles
    }
    if mended:
        release(ctx.store, session, owner(deanery), RESOURCE, landed=mended, at=now)


def _settled(result: Result, values: dict[str, Any]) -> dict[str, Any]:
    """Return the update, with the end of the claim; not while a call may be under way."""
    ends = {} if result.in_doubt else {"$unset": {"claim": ""}}
    return {"$set": values, **ends}


def _told(result: Result) -> dict[str, Any]:
    told = result.told or result.person.told
    return {"told": told.to_dict() if told else None}


def _outcome(ctx: EsrContext, result: Result, now: datetime) -> dict[str, Any]:
    status = result.status
    values: dict[str, Any] = {
        "attempts": result.attempts,
        "absences_withdrawn": list(result.person.withdrawn),
    }
    if result.in_doubt:
        settled = now + timedelta(seconds=ctx.settings.tcs_lease_seconds)
        values |= {"not_before": settled, "claim.until": settled}
    if status in LOOK_AGAIN:
        values["not_before"] = now + timedelta(hours=ctx.settings.esr_person_retry_hours)
    elif status is not PersonStatus.UNSETTLED:
        values["pending"] = False
    if result.told:
        values["tcs_id"] = result.told.tcs_id
    if status is PersonStatus.REFUSED or result.settles:
        values["refused"] = status is PersonStatus.REFUSED
    return values | {"outcome": {"status": status.value, "at": now, "sent": list(result.sent)}}


def _refused(deanery: str, results: Sequence[Result]) -> list[Quarantined]:
    """Return the quarantine entries: the names of what TCS did not take, no value of it."""
    return [
        Quarantined(
            owner=owner(deanery),
            resource=RESOURCE,
            external_id=str(result.person.id),
            stage=STAGE,
            reasons=result.reasons,
            payload=orjson.dumps({"not_taken": sorted(result.not_taken)}).decode(),
            raw_ref=result.person.file_id,
        )
        for result in results
        if result.status is PersonStatus.REFUSED
    ]
