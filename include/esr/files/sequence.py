"""Sequence: RMF and RMC of a deanery share one counter that rises by one a day, and are applied in order.

A number that is missing is a missing file, a number that comes twice a duplicate (domain page, Files).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from include.errors import NotYetError
from include.esr.documents import APPLIED, FileState, owner
from include.esr.files import ledger
from include.esr.files.entry import Alert
from include.esr.names import RMT

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from pymongo.client_session import ClientSession

    from include.esr.files.entry import Entry
    from include.storage.mongo import IntegrationStore, Write

STAGE = "save"
FIRST_RECHECK_SECONDS = 5.0
"""Until a file looks again for one before it that is at work."""
SHARE_OF_REST = 0.25
"""The longer nothing has become of a file at work, the later the next look: after this share of it."""
MAX_NAMED = 3
SLIP = 3
"""So many files after a lower number the old count goes on, if the counter was not set back."""


@dataclass(frozen=True, slots=True)
class Turn:
    """Whether a file may be applied.

    Attributes:
        waits_for: Files before it that are not applied yet, the first ones.
        missing: First and last number that are missing right before it, ``None`` when none is.
    """

    waits_for: tuple[str, ...] = ()
    missing: tuple[int, int] | None = None


def turn_of(entry: Entry, siblings: Sequence[Entry]) -> Turn:
    """Return whether it is a file's turn among the files of its deanery.

    All files of a lower order come first. The number before it is expected to be on the ledger, unless no
    file with a lower number came before it since the counter was set back.

    Args:
        entry: The file.
        siblings: The files of its deanery as ``ledger.siblings`` gives them.
    """
    others = [other for other in siblings if other.type in RMT and other.file_id != entry.file_id]
    before = [other for other in others if _order(other) < _order(entry)]
    waits_for = tuple(other.file_id for other in before if other.state not in APPLIED)[:MAX_NAMED]
    if entry.sequence is None:
        return Turn(waits_for)
    count = next(count for count in _counts([*others, entry]) if entry in count)
    lower = [
        other.sequence or 0
        for other in count
        if _order(other) < _order(entry) and (other.sequence or 0) < entry.sequence
    ]
    if not lower or any(other.sequence == entry.sequence - 1 for other in count):
        return Turn(waits_for)
    return Turn(waits_for, (max(lower) + 1, entry.sequence - 1))


def _counts(files: Sequence[Entry]) -> list[list[Entry]]:
    """Return a deanery's files in order, anew from each time the counter was set back.

    It was not when a lower number fills a gap, or when the old count goes on soon after: then a file came
    late, twice or under a wrong day.
    """
    ordered = sorted(files, key=_order)
    counts: list[list[Entry]] = [[]]
    for place, file in enumerate(ordered):
        count, number = counts[-1], file.sequence or 0
        numbers = {each.sequence or 0 for each in count}
        highest = max(numbers, default=0)
        if (
            number < highest
            and not (number not in numbers and number > min(numbers))
            and all((later.sequence or 0) <= highest for later in ordered[place + 1 : place + 1 + SLIP])
        ):
            counts.append([file])
        else:
            count.append(file)
    return counts


def repeated_number(entry: Entry, siblings: Sequence[Entry], *, at: datetime) -> Iterator[Alert]:
    """Yield an alert when another RMF or RMC of the deanery has the file's number."""
    same = [
        other.name
        for other in siblings
        if other.type in RMT and other.sequence == entry.sequence and other.name != entry.name
    ]
    if same:
        names = ", ".join(sorted(set(same))[:MAX_NAMED])
        yield Alert("sequence_repeat", f"number {entry.sequence} has come before, with {names}", at)


def require_turn(store: IntegrationStore, entry: Entry, *, now: datetime, wait_seconds: float) -> None:
    """Require that it is a file's turn; a missing file before it is waited for, then marked as a gap.

    Args:
        store: The store.
        entry: The file.
        now: The time.
        wait_seconds: How long after it landed a missing number is waited for.

    Raises:
        NotYetError: A file before it is not applied yet, or is missing and still waited for: looking again
            makes sense then when the wait is over, as a file that comes meanwhile is a later run's.
        IntegrationError: As ``store_errors`` says.
    """
    if entry.deanery is None:
        return
    siblings = ledger.siblings(store, entry)
    turn = turn_of(entry, siblings)
    if turn.waits_for:
        raise NotYetError(
            f"waits for {', '.join(turn.waits_for)}, which come before it and are not applied yet",
            retry_after=recheck_after(turn, siblings, now=now),
            subject=entry.file_id,
            stage=STAGE,
        )
    if turn.missing is None:
        return
    left = entry.states[FileState.LANDED] + timedelta(seconds=wait_seconds) - now
    if left > timedelta(0):
        raise NotYetError(
            f"{_numbers(turn.missing)} of {entry.deanery} not there yet; waits until "
            f"{now + left:%Y-%m-%d %H:%M} UTC, then goes on without",
            retry_after=left.total_seconds(),
            subject=entry.file_id,
            stage=STAGE,
        )
    _mark_gap(store, entry, turn.missing, now)


def recheck_after(turn: Turn, siblings: Sequence[Entry], *, now: datetime) -> float:
    """Return after how many seconds to look again: soon while the files before get on, later when they rest.

    One that failed rests until a later run takes it up again: nobody looks every few seconds until then.
    """
    waits_for = set(turn.waits_for)
    stirred = [max(each.states.values()) for each in siblings if each.file_id in waits_for and each.states]
    rest = (now - max(stirred)).total_seconds() if stirred else 0.0
    return max(rest * SHARE_OF_REST, FIRST_RECHECK_SECONDS)


def _mark_gap(store: IntegrationStore, entry: Entry, missing: tuple[int, int], now: datetime) -> None:
    message = f"{_numbers(missing)} did not come in time; this file was applied without it: ask ESR for it"

    def prepare() -> tuple[None, Write | None]:
        known = ledger.read(store, entry.file_id).alerts
        if any((alert.code, alert.message) == ("sequence_gap", message) for alert in known):
            return None, None
        return None, write

    def write(session: ClientSession, _order: int) -> None:
        ledger.add_alert(store, session, entry.file_id, "sequence_gap", message, at=now)

    store.commit_plan(owner(str(entry.deanery)), prepare)


def _numbers(missing: tuple[int, int]) -> str:
    first, last = missing
    return f"number {first}" if first == last else f"numbers {first} to {last}"


def _order(entry: Entry) -> tuple[str, str]:
    return entry.order or "", entry.file_id
