"""The way out in the demo: two days of files for ESR, ESR's answers, changes at TCS in between."""

from __future__ import annotations

from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from include.esr.outbound import COLLECTIONS, RecordState
from include.sandbox.demo import esr
from include.sandbox.demo.changes import change_placements
from include.sandbox.demo.outbound_truth import STATES, Ends, OutDay, found_wrong, position_key
from include.sandbox.esr.answering import EsrSide
from include.sandbox.esr.expected import expected_applicants
from include.sandbox.esr.verdicts import Rules
from include.sandbox.tcs.state import as_told

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from datetime import date

    from include.sandbox.demo.esr import EsrTruth
    from include.sandbox.demo.steps import Steps
    from include.sandbox.tcs.process import TcsSandbox
    from include.settings import Settings
    from include.storage.mongo import IntegrationStore

FIRST_DAY = esr.DAY + timedelta(days=esr.DAYS_OF_FILES - 1)
"""The day of the last files that lie there at the start; the other day is the next one."""


@dataclass(frozen=True, slots=True)
class OutSummary:
    """What the way out came to: records by the store, files by ESR.

    Attributes:
        applicants: AppRecords, in whatever state.
        notifications: The same.
        files_sent: APP and DNC files ESR has accepted.
        receipts: RTC files ESR has accepted.
        confirmed: Records ESR has confirmed without a warning.
        quarantined_by_esr: Files ESR has set aside; one is too many.
    """

    applicants: int
    notifications: int
    files_sent: int
    receipts: int
    confirmed: int
    warnings: int
    rejected: int
    quarantined_by_esr: int


@dataclass(frozen=True, slots=True)
class OutOutcome:
    """What the two days ended with.

    Attributes:
        states: How many records of each kind (``APP``, ``DNC``) are in each state.
        told: How often TCS was told of an applicant.
    """

    summary: OutSummary
    days: Sequence[OutDay]
    states: Mapping[str, Mapping[str, int]]
    told: int
    problems: list[str]


@contextmanager
def esr_side(settings: Settings) -> Iterator[EsrSide]:
    """Open ESR's view of the SFTP server."""
    with (
        esr.folder_of(settings, settings.esr_outbound_folder) as outbound,
        esr.folder_of(settings, settings.esr_inbound_folder) as inbound,
    ):
        yield EsrSide(outbound, inbound)


def play_two_days(
    settings: Settings,
    store: IntegrationStore,
    tcs: TcsSandbox,
    steps: Steps,
    tell: Callable[[str], None],
    *,
    deaneries: Sequence[str] = esr.DEANERIES,
) -> tuple[OutOutcome, EsrTruth]:
    """Play the day of the files that were taken, then change placements and play the next one.

    Args:
        settings: Where everything is.
        store: The store, in which the files of the first days have come to their end.
        tcs: The stand-in.
        steps: Who does the work.
        tell: Told what comes next.
        deaneries: Those whose files there are.

    Returns:
        What came of it, and what all files of ESR must have come to.
    """
    files, truth = esr.make_files(deaneries)
    with esr_side(settings) as side:
        ends = Ends(store, tcs, side)
        first = _play(ends, steps, FIRST_DAY, truth, sent=set(), tell=tell)
        known = as_told(esr.WORLD, tcs.told())
        tell("TCS: placements are approved, withdrawn, moved and made")
        changes = change_placements(tcs, known, truth.matched.values(), FIRST_DAY)
        more = esr.files_of(esr.DAYS_OF_FILES, deaneries)
        truth = esr.truth_of([*files, *more])
        with esr.folder_of(settings, settings.esr_inbound_folder) as folder:
            for file in more:
                folder.put(file.name, file.body)
        steps.inbound()
        second_day = FIRST_DAY + timedelta(days=1)
        second = _play(ends, steps, second_day, truth, sent={*first.due}, tell=tell)
        days = [first, second]
        side.play(second_day)  # takes the receipts that went out with the last answers
        problems = found_wrong(ends, days, changes)
        return (
            OutOutcome(_summarise(ends, days), days, _states(store), tcs.exported().total(), problems),
            truth,
        )


def _play(
    ends: Ends,
    steps: Steps,
    day: date,
    truth: EsrTruth,
    *,
    sent: set[tuple[int, int]],
    tell: Callable[[str], None],
) -> OutDay:
    """Generate, send, be answered, confirm; note who had to be sent."""
    steps.generate(day)
    due = expected_applicants(as_told(esr.WORLD, ends.tcs.told()), truth.matched, day)
    steps.send(day)
    ends.side.rules = Rules(positions=_positions(truth.matched))
    played = ends.side.play(day)
    tell(f"ESR on {day}: {len(played.taken)} files taken, {len(played.answers)} answered")
    steps.confirm()
    return OutDay(day, played, {key: who for key, who in due.items() if key not in sent}, truth.matched)


def _positions(matched: Mapping[int, int]) -> dict[tuple[str, str], int]:
    """Return the position of each post number and status, where there is just one."""
    keys = {position: position_key(position, post) for position, post in matched.items()}
    times = Counter(keys.values())
    return {key: position for position, key in keys.items() if times[key] == 1}


def _summarise(ends: Ends, days: Sequence[OutDay]) -> OutSummary:
    states = Counter[str]()
    for counts in _states(ends.store).values():
        states.update(counts)
    return OutSummary(
        applicants=ends.store[COLLECTIONS["APP"]].count_documents({}),
        notifications=ends.store[COLLECTIONS["DNC"]].count_documents({}),
        files_sent=sum(file.name.kind in COLLECTIONS for day in days for file in day.played.taken),
        receipts=sum(file.name.kind == "RTC" for file in ends.side.taken),
        **{word: states[state] for word, state in STATES.items()},
        quarantined_by_esr=len(ends.side.set_aside),
    )


def _states(store: IntegrationStore) -> dict[str, dict[str, int]]:
    """Return how many records of each kind are in each state, in the order of a record's life."""
    counted = {
        kind: {
            each["_id"]: each["n"]
            for each in store[name].aggregate([{"$group": {"_id": "$state", "n": {"$sum": 1}}}])
        }
        for kind, name in COLLECTIONS.items()
    }
    return {
        kind: {state.value: counts[state.value] for state in RecordState if state.value in counts}
        for kind, counts in counted.items()
    }
