"""Which records go into a day's file, in which order, and which of them cannot stand in one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from include.esr.applicants.rules import pick
from include.esr.exports.ledger import collection_of
from include.esr.exports.writing import row_of
from include.esr.formats.layout import load_format
from include.esr.formats.writer import check_record
from include.esr.generation.todo import to_be_looked_at
from include.esr.names import FileType
from include.esr.notifications.vpd import vpd_reason
from include.esr.outbound import RecordState, Window
from include.quality.gate import Reason

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import date

    from include.settings import Settings
    from include.storage.mongo import IntegrationStore

IDS_AT_ONCE = 5_000


@dataclass(frozen=True, slots=True)
class Picked:
    """What a day's file would hold.

    Attributes:
        records: In the order of their lines.
        bad: Records that are due and cannot stand in a file, with why.
        carried_over: How many others were due and must wait for a later file.
        waiting: How many others are due once their posts have been looked at.
    """

    records: Sequence[Mapping[str, Any]]
    bad: Sequence[tuple[Mapping[str, Any], Reason]]
    carried_over: int
    waiting: int = 0


def pick_due(
    store: IntegrationStore, file_type: FileType, deanery: str, *, today: date, settings: Settings
) -> Picked:
    """Return what is due on a day.

    Applicants: those whose placement starts in the day's window; one that a person sends once more also
    after that, as long as it is not for later. Notifications: those made on the day or before. Those of a
    post that is still to be looked at wait: nobody knows yet whether they are still so.
    """
    asked, waiting = to_be_looked_at(store, deanery), 0
    due: list[Mapping[str, Any]] = []
    for each in _due(store, file_type, deanery, today=today, settings=settings):
        if each["post_id"] in asked:
            waiting += 1
        else:
            due.append(each)
    most = settings.esr_max_export_records
    if file_type is FileType.APP:
        picked, carried_over = pick(due, most_of_a_post=settings.esr_applicants_of_a_post, most=most)
    else:
        found = sorted(due, key=lambda record: (record["rank"], record["_id"]))
        picked, carried_over = found[:most], max(0, len(found) - most)
    good: list[Mapping[str, Any]] = []
    bad: list[tuple[Mapping[str, Any], Reason]] = []
    for record in _whole(store, file_type, [record["_id"] for record in picked]):
        reason = _reason(record, file_type)
        if reason is None:
            good.append(record)
        else:
            bad.append((record, reason))
    return Picked(good, bad, carried_over, waiting)


def _due(
    store: IntegrationStore, file_type: FileType, deanery: str, *, today: date, settings: Settings
) -> Iterator[Mapping[str, Any]]:
    """Yield what the order is decided by: whole records would be too many to hold."""
    query: dict[str, Any] = {
        "deanery": deanery,
        "state": RecordState.TO_EXPORT.value,
        "kind": file_type.value,
    }
    if file_type is FileType.APP:
        window = Window.on(today, settings)
        first, last = window.first.isoformat(), window.last.isoformat()
        query["start"] = {"$lte": last}
        query["$or"] = [{"start": {"$gte": first}}, {"resends": {"$gt": 0}}]
    else:
        query["made_on"] = {"$lte": today.isoformat()}
    wanted = {"start": 1, "rank": 1, "post_number": 1, "post_id": 1}
    yield from store[collection_of(file_type)].find(query, wanted).hint("due")


def _whole(store: IntegrationStore, file_type: FileType, ids: Sequence[str]) -> Iterator[Mapping[str, Any]]:
    for at in range(0, len(ids), IDS_AT_ONCE):
        part = list(ids[at : at + IDS_AT_ONCE])
        found = {
            record["_id"]: record for record in store[collection_of(file_type)].find({"_id": {"$in": part}})
        }
        yield from (found[each] for each in part if each in found)


def _reason(record: Mapping[str, Any], file_type: FileType) -> Reason | None:
    try:
        row = row_of(record["fields"], file_type)
    except ValueError:
        return Reason("bad_date", "a day of it is not a date")
    return check_record(load_format(file_type), row) or vpd_reason(row)
