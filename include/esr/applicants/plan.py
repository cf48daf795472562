"""Planning the AppRecords of a batch of posts: one read, pure rules, one write in the caller's commit."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any

from include.esr.applicants.rules import Known, decide, decide_gone, pairs_of
from include.esr.outbound import UNSENT, RecordState, entry, pushed
from include.quality.gate import Reason
from include.storage.documents import content_hash
from include.storage.mongo import FenceMovedError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime

    from pymongo import InsertOne, UpdateOne
    from pymongo.client_session import ClientSession

    from include.esr.applicants.rules import Decision, Pair
    from include.esr.placements.facts import PostView
    from include.esr.tcs.answers import Person
    from include.settings import Settings
    from include.storage.mongo import Document, IntegrationStore, Write

COLLECTION = "esr_app_record"
STAGE = "generate"
_READ = dict.fromkeys(
    [
        *("deanery", "post_id", "post_number", "position_id", "position_number", "placement_id"),
        *("trainee_id", "state", "reason", "start", "made_on", "fields", "revision", "resends"),
    ],
    1,
)
_DUPLICATE_KEY = 11000


@dataclass(frozen=True, slots=True)
class ApplicantPlan:
    """What is to become of the AppRecords of a batch of posts.

    Attributes:
        counts: ``new``: made; ``changed``: written again; ``unchanged``; ``left_alone``: sent, about to be
            sent or withdrawn. Of those written, by what they have become: ``to_export``, ``invalid``,
            ``deleted`` and ``expired`` (these two only if they were not so before).
        write: Writes it inside a transaction; ``None``: nothing is to be written.
        expired: Ids of the records whose window closed unsent just now.
    """

    counts: dict[str, int]
    write: Write | None
    expired: tuple[str, ...]


def sent_ids(store: IntegrationStore, views: Sequence[PostView]) -> set[str]:
    """Return the ids of the posts' records that generation leaves alone."""
    others = {"state": {"$nin": sorted(state.value for state in UNSENT)}}
    query = _of_posts(views, [pair.id for pair in pairs_of(views)]) | others
    return {doc["_id"] for doc in store[COLLECTION].find(query, {"_id": 1})}


def plan_applicants(
    store: IntegrationStore,
    views: Sequence[PostView],
    people: Mapping[int, Person],
    *,
    today: date,
    settings: Settings,
    at: datetime,
) -> ApplicantPlan:
    """Return what is to become of the AppRecords of posts, as TCS and ESR have those now.

    Args:
        store: Read once; the deanery's fence tells whether that is still true when it is written.
        views: Posts of one deanery, each once.
        people: The trainees ``trainees_wanted`` asks for; one that is missing TCS does not know.
        today: The day it is done for, in London.
        settings: Settings.
        at: When, for the records' history.
    """
    pairs = {pair.id: pair for pair in pairs_of(views)}
    found = store[COLLECTION].find(_of_posts(views, list(pairs)), _READ).batch_size(10_000)
    known = {doc["_id"]: _known(doc) for doc in found}
    decisions = [
        *decide(pairs.values(), known, people, today=today, settings=settings),
        *_gone(views, pairs, known, today),
    ]
    news = [decision for decision in decisions if decision.is_news]
    counts = Counter(dict.fromkeys(("new", "changed", "unchanged", "left_alone"), 0))
    counts.update(_outcome(decision) for decision in decisions)
    counts.update(filter(None, map(_became, news)))
    counts["left_alone"] += sum(record.is_left_alone for record in known.values())
    expired = tuple(sorted(decision.id for decision in news if decision.expires))
    if not news:
        return ApplicantPlan(dict(counts), None, expired)

    def write(session: ClientSession, _order: int) -> None:
        _apply(store, session, news, at)

    return ApplicantPlan(dict(counts), write, expired)


def _of_posts(views: Sequence[PostView], ids: Sequence[str]) -> Document:
    """Return the query of records of the posts, and of those of their ids wherever they were before.

    A position or placement may have come from another post, even of another deanery: its record comes
    along. Another deanery's records of the same post are none of ours.
    """
    of_post = {
        "post_id": {"$in": sorted({view.id for view in views})},
        "deanery": {"$in": sorted({view.deanery for view in views})},
    }
    return {"$or": [of_post, {"_id": {"$in": sorted(ids)}}]}


def _known(doc: Document) -> Known:
    reason, start = doc["reason"], doc["start"]
    return Known(
        id=doc["_id"],
        deanery=doc["deanery"],
        post_id=doc["post_id"],
        post_number=doc["post_number"],
        position_id=doc["position_id"],
        position_number=doc["position_number"],
        placement_id=doc["placement_id"],
        trainee_id=doc["trainee_id"],
        state=RecordState(doc["state"]),
        reason=Reason(reason["code"], reason["message"]) if reason else None,
        start=date.fromisoformat(start) if start else None,
        made_on=date.fromisoformat(doc["made_on"]),
        fields=doc["fields"],
        revision=doc["revision"],
        resends=doc["resends"],
    )


def _gone(
    views: Sequence[PostView], pairs: Mapping[str, Pair], known: Mapping[str, Known], today: date
) -> list[Decision]:
    by_post = {view.id: view for view in views}
    return [
        decide_gone(record, by_post[record.post_id], today=today)
        for record in known.values()
        if record.id not in pairs and not record.is_left_alone
    ]


def _outcome(decision: Decision) -> str:
    if decision.known is None:
        return "new"
    return "changed" if decision.is_news else "unchanged"


def _became(decision: Decision) -> str | None:
    match decision.state:
        case RecordState.TO_EXPORT:
            return "to_export"
        case RecordState.INVALID_DATA:
            return "invalid"
        case RecordState.EXPIRED_UNSENT if decision.expires:
            return "expired"
        case RecordState.DELETED_BEFORE_EXPORT:
            return "deleted"
    return None


def _apply(store: IntegrationStore, session: ClientSession, news: Sequence[Decision], at: datetime) -> None:
    """Write decisions.

    Raises:
        FenceMovedError: A record is not as it was read: it belonged to another deanery, whose commits our
            fence does not hold back, or an earlier batch of ours touched it.
    """
    from pymongo.errors import BulkWriteError

    writes = [write for each in news for write in _write(each, at)]
    try:
        written = store[COLLECTION].bulk_write(writes, ordered=False, session=session)
    except BulkWriteError as error:
        if any(failed["code"] == _DUPLICATE_KEY for failed in error.details.get("writeErrors", ())):
            raise _overtaken() from None
        raise
    if written.inserted_count + written.matched_count < len(writes):
        raise _overtaken()


def _overtaken() -> FenceMovedError:
    return FenceMovedError("an AppRecord was changed since it was read", stage=STAGE)


def _write(decision: Decision, at: datetime) -> Iterator[InsertOne[Document] | UpdateOne]:
    if decision.known is not None:
        yield _update(decision, decision.known, at)
    elif decision.pair is not None:
        yield _insert(decision, decision.pair, at)


def _insert(decision: Decision, pair: Pair, at: datetime) -> InsertOne[Document]:
    from pymongo import InsertOne

    return InsertOne(
        {
            "_id": pair.id,
            "kind": "APP",
            "position_id": pair.position.id,
            "placement_id": pair.placement.id,
            **_about(pair),
            **_content(decision),
            "revision": 1,
            "generated_at": at,
            "changed_at": at,
            "file": None,
            "ordinal": None,
            "exported_at": None,
            "resends": 0,
            "answer": None,
            "history": [entry(decision.state, at, why=_why(decision))],
        }
    )


def _update(decision: Decision, known: Known, at: datetime) -> UpdateOne:
    from pymongo import UpdateOne

    about = _about(decision.pair) if decision.pair else {}
    revision = known.revision + (known.fields != decision.fields)
    as_read = {
        "_id": known.id,
        "deanery": known.deanery,
        "post_id": known.post_id,
        "state": known.state.value,
        "revision": known.revision,
    }
    values = {**about, **_content(decision), "revision": revision, "changed_at": at}
    return UpdateOne(
        as_read, {"$set": values, "$push": pushed(entry(decision.state, at, why=_why(decision)))}
    )


def _about(pair: Pair) -> dict[str, Any]:
    return {
        "deanery": pair.view.deanery,
        "post_id": pair.view.id,
        "post_number": pair.view.number,
        "position_number": pair.position.number,
        "trainee_id": pair.placement.trainee_id,
        "start": pair.placement.start.isoformat() if pair.placement.start else None,
    }


def _content(decision: Decision) -> dict[str, Any]:
    reason = decision.reason
    return {
        "state": decision.state.value,
        "reason": {"code": reason.code, "message": reason.message} if reason else None,
        "made_on": decision.made_on.isoformat(),
        "fields": decision.fields,
        "hash": content_hash(decision.fields),
    }


def _why(decision: Decision) -> str:
    """Return what the history says: a code, no value."""
    if decision.known is None:
        return decision.reason.code if decision.reason else "generated"
    if decision.known.state is decision.state and decision.known.reason == decision.reason:
        return "changed"
    return decision.reason.code if decision.reason else "regenerated"
