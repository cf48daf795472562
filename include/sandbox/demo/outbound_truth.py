"""Why the way out is no success: what ESR got and TCS was told, against what had to be sent."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from include.esr.outbound import RecordState
from include.sandbox.demo import esr
from include.sandbox.esr.answering import applicant, outcome
from include.sandbox.esr.world import FIRST_POST

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import date

    from include.sandbox.demo.changes import Changes
    from include.sandbox.esr.answering import Applicant, EsrSide, Played
    from include.sandbox.tcs.process import TcsSandbox
    from include.storage.mongo import IntegrationStore

PROCESSED, WITH_ERRORS = "EXPORTED_AND_PROCESSED", "EXPORTED_PROCESSED_WITH_ERRORS"
STATES = {
    "confirmed": RecordState.CONFIRMED,
    "warnings": RecordState.CONFIRMED_WITH_WARNINGS,
    "rejected": RecordState.REJECTED,
}


@dataclass(frozen=True, slots=True)
class Ends:
    """Both ends of the way out, and the store between them."""

    store: IntegrationStore
    tcs: TcsSandbox
    side: EsrSide


@dataclass(frozen=True, slots=True)
class OutDay:
    """One day.

    Attributes:
        played: What ESR did.
        due: Who had to be sent on this day and not before, by placement and position id.
        matched: Post id by position id, on this day.
    """

    day: date
    played: Played
    due: Mapping[tuple[int, int], Applicant]
    matched: Mapping[int, int]


def found_wrong(ends: Ends, days: Sequence[OutDay], changes: Changes) -> list[str]:
    """Return every reason, one line each; nothing when all is well.

    Args:
        ends: Both ends after the last day.
        days: In order.
        changes: What changed at TCS before the last day.
    """
    found = [f"ESR set aside {one.file_name}: {one.reasons[0]}" for one in ends.side.set_aside]
    for day in days:
        found += _applicants_wrong(day)
    if repeated := sum(len(times) > 1 for times in ends.side.applicants().values()):
        found.append(f"{repeated} applicants were sent more than once")
    found += _told_wrong(ends, days)
    found += _states_wrong(ends, days)
    found += _notifications_wrong(days, changes)
    found += _receipts_wrong(ends)
    return found


def _receipts_wrong(ends: Ends) -> Iterator[str]:
    """Compare the receipts ESR has with the files it sent: each file one."""
    came = Counter(each["name"] for each in ends.store["esr_file"].find({"type": {"$in": ["RMF", "RMC"]}}))
    told = Counter(row.values["fileName"] for _, row in ends.side.rows("RTC") if row.code == "FIL")
    if told != came:
        yield f"ESR has receipts for {len(told)} of {len(came)} files, and {told.total()} in all"


def _applicants_wrong(day: OutDay) -> Iterator[str]:
    """Compare who was sent on a day with who had to be."""
    sent = Counter(
        applicant(row) for file in day.played.taken if file.name.kind == "APP" for row in file.rows
    )
    due = Counter(day.due.values())
    if missing := due - sent:
        of = f"{missing.total()} of {due.total()} applicants of {day.day}"
        yield f"{of} were not sent, such as {min(missing)}"
    if strange := sent - due:
        yield f"{strange.total()} applicants of {day.day} should not have been sent, such as {min(strange)}"


def _told_wrong(ends: Ends, days: Sequence[OutDay]) -> Iterator[str]:
    """Compare what TCS was told with the lines sent and ESR's verdicts: each exactly once.

    Of a line with a warning either of the two words will do.
    """
    told = ends.tcs.exported()
    if twice := sum(times > 1 for times in told.values()):
        yield f"TCS was told {twice} things of applicants more than once"
    sent = {
        (file.file_name, int(row.values["positionId"]), "EXPORTED") for file, row in ends.side.rows("APP")
    }
    said = {key for key in told if key[2] == "EXPORTED"}
    if sent != said:
        yield f"TCS knows {len(said)} exported applicants, not the {len(sent)} that were sent"
    wrong = 0
    for answer in (answer for day in days for answer in day.played.answers if "_APP_" in answer.to):
        for verdict in answer.verdicts:
            words = {
                status
                for status in (PROCESSED, WITH_ERRORS)
                if told[answer.to, verdict.position or 0, status]
            }
            allowed = {"confirmed": [{PROCESSED}], "rejected": [{WITH_ERRORS}]}.get(
                outcome(verdict), [{PROCESSED}, {WITH_ERRORS}]
            )
            wrong += words not in allowed
    if wrong:
        yield f"TCS was told something else than ESR's verdict of {wrong} applicants"


def _states_wrong(ends: Ends, days: Sequence[OutDay]) -> Iterator[str]:
    """Compare the states of the records with the verdicts; nothing may be left half way."""
    for kind, name in (("APP", "esr_app_record"), ("DNC", "esr_notification")):
        wanted = Counter(
            outcome(verdict)
            for day in days
            for answer in day.played.answers
            if f"_{kind}_" in answer.to
            for verdict in answer.verdicts
        )
        records = ends.store[name]
        for word, state in STATES.items():
            count = records.count_documents({"state": state.value})
            if count != wanted[word]:
                yield f"{count} records for {kind} are {state.value}, ESR's answers make it {wanted[word]}"
        for state in (RecordState.IN_FILE, RecordState.EXPORTED):
            if count := records.count_documents({"state": state.value}):
                yield f"{count} records for {kind} are still {state.value}"


def _notifications_wrong(days: Sequence[OutDay], changes: Changes) -> Iterator[str]:
    """Ask that ESR was told of every position at all, and of each change at TCS by its type."""
    codes: set[tuple[str, str]] = set()
    positions: set[tuple[str, str]] = set()
    for day in days:
        for row in (row for file in day.played.taken if file.name.kind == "DNC" for row in file.rows):
            post = row.values["deaneryPostNumber"]
            positions.add((post, row.values["hostLeadEmployerStatus"]))
            codes.add((post, row.values["notificationTitleCode"]))
    for day in days:
        wanted = {position_key(position, post) for position, post in day.matched.items()}
        if silent := wanted - positions:
            yield f"no notification of {len(silent)} positions by {day.day}, such as {min(silent)}"
    for code, posts in (("2", changes.withdrawn), ("4", changes.moved)):
        held = [post for post in posts.values() if post in days[-1].matched.values()]
        numbers = {esr.WORLD.post_number(post - FIRST_POST) for post in held}
        if silent_posts := {number for number in numbers if (number, code) not in codes}:
            yield f"no notification of type {code} for {len(silent_posts)} posts, such as {min(silent_posts)}"


def position_key(position: int, post: int) -> tuple[str, str]:
    """Return post number and host or lead status of a position: in this world the odd ones are lead."""
    status = "Lead Employer" if position % 2 else "Host Employer"
    return esr.WORLD.post_number(post - FIRST_POST), status
