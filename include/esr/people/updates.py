"""Updating people in TCS: whoever's content changed is found, compared and told what is new, in bulk.

What TCS could not be asked is a failure: nothing is noted then and everybody stays pending. Each batch
is committed once TCS has taken it; done again after a crash it changes nothing, as absences are looked
up before they are created and all else is set to the same values.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from include.errors import IntegrationError, NotYetError
from include.esr.documents import owner
from include.esr.people.claims import Claims
from include.esr.people.outcomes import STAGE, commit_results
from include.esr.people.plan import (
    MAX_ATTEMPTS,
    WAITING,
    Due,
    PendingPerson,
    PersonStatus,
    Result,
    absence_change,
    absence_name,
    due_against,
    due_since,
    fits,
    found_by_registration,
    new_absence,
    settled_without_tcs,
    told_now,
)
from include.esr.tcs.answers import Outcome, Verdict
from include.quality.gate import Reason

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from pymongo.client_session import ClientSession

    from include.esr.context import EsrContext
    from include.esr.people.mapping import Fields
    from include.esr.tcs import Tcs
    from include.esr.tcs.answers import Absence, Body
    from include.storage.mongo import Write

PEOPLE_AT_ONCE = 1_000
_Answer = tuple[str, tuple[str, ...], Outcome]
"""What was sent, the names of its fields or absences, and what became of it."""

_BODIES: tuple[Body, ...] = ("GMC", "GDC")


@dataclass(frozen=True, slots=True, repr=False)
class _Change:
    """All that one person of TCS is to be told.

    Attributes:
        patched: Changes of absences TCS has, by ESR's absence id: TCS's own id and the fields.
        created: Absences TCS does not have, by ESR's absence id.
        foreign: Absences that TCS has of somebody else.
    """

    person: PendingPerson
    tcs_id: int
    due: Due
    patched: Mapping[str, tuple[int, Fields]] = field(default_factory=dict)
    created: Mapping[str, Fields] = field(default_factory=dict)
    foreign: tuple[str, ...] = ()


def update_people(ctx: EsrContext, deanery: str, tcs: Tcs) -> dict[str, int]:
    """Tell TCS what has changed of a deanery's people.

    Returns:
        How many ``people`` were looked at, how many came to which ``PersonStatus``, ``tcs_updates``, the
        changes TCS took, and ``absences_withdrawn``, those ESR has deleted that TCS still has.
        ``unsettled`` ones were told something that TCS failed at or did not answer: they are looked up
        again once that call cannot be under way any more, ``MAX_ATTEMPTS`` times at most.

    Raises:
        NotYetError: TCS is being left alone for a while, or all is done but people whom another process
            has in hand.
        TransientError: TCS or store did not answer; whoever was not committed stays pending.
        ConfigurationError: A claim does not outlast a call, or TCS refuses the client.
    """
    counts: Counter[str] = Counter(
        {"people": 0, "tcs_updates": 0, "absences_withdrawn": 0} | {each.value: 0 for each in PersonStatus}
    )
    with Claims(ctx, deanery) as claims:
        while people := claims.take(min(PEOPLE_AT_ONCE, ctx.settings.batch_size)):
            pieces = _results(tcs, claims, people)
            while (results := _next(pieces, claims)) is not None:
                commit_results(ctx, deanery, claims, results)
                counts.update(_counted(results))
            ctx.progress(_line(deanery, counts))
    if counts["absences_withdrawn"]:
        ctx.progress(
            f"{deanery}: ESR withdrew {counts['absences_withdrawn']:,} absences that TCS still has; TCS has "
            "no call to delete them: see absences_withdrawn of the people"
        )
    if claims.held_until is not None:
        wait = max(1.0, (claims.held_until - ctx.now()).total_seconds())
        raise NotYetError(
            f"some of {deanery}'s people are being updated by another process, or by one that died; all "
            "others are done, these follow when its claim has run out",
            retry_after=wait,
            subject=deanery,
            stage=STAGE,
        )
    return dict(counts)


def release_people(ctx: EsrContext, deanery: str) -> int:
    """Have a deanery's people whom TCS refused told again; return how many.

    Raises:
        TransientError: The store did not answer.
    """
    now = ctx.now()
    waits = {"pending": True, "not_before": now, "outcome": {"status": WAITING, "at": now, "sent": []}}

    def prepare() -> tuple[int, Write | None]:
        query = {
            "deanery": deanery,
            "refused": True,  # what the index holds
            "outcome.status": PersonStatus.REFUSED.value,
            "pending": False,
        }
        number = ctx.store["esr_person"].count_documents(query)

        def write(session: ClientSession, _order: int) -> None:
            ctx.store["esr_person"].update_many(query, {"$set": waits}, session=session)

        return number, write if number else None

    return ctx.store.commit_plan(owner(deanery), prepare)


def _next(pieces: Iterator[list[Result]], claims: Claims) -> list[Result] | None:
    """Return the next results; when they cannot be had, let go of the people at once.

    Any other way out (a kill, a time-out of the task) may leave a call under way: the claims then run
    out by themselves, which they do later than any call.
    """
    try:
        return next(pieces, None)
    except IntegrationError:
        claims.give_back()
        raise


def _results(tcs: Tcs, claims: Claims, people: Sequence[PendingPerson]) -> Iterator[list[Result]]:
    """Yield what became of a batch, in pieces to be committed: first those TCS need not be told of."""
    settled, asked = [], []
    for person in people:
        result = settled_without_tcs(person)
        asked.append(person) if result is None else settled.append(result)
    found, missed = _found(tcs, asked)
    if settled or missed:
        yield settled + missed
    while found:
        now, found = _one_each(found)
        yield _round(tcs, claims, now)


def _found(tcs: Tcs, people: Sequence[PendingPerson]) -> tuple[list[tuple[PendingPerson, int]], list[Result]]:
    """Look people up by their registrations; return who was found, with TCS's id, and who was not."""
    registered: dict[tuple[str, str], tuple[int, ...]] = {}
    for body in _BODIES:
        numbers = {known for person in people if (known := person.composite.registrations.get(body))}
        if numbers:
            answer = tcs.people_by_registration(body, numbers)
            registered |= {(body, number): ids for number, ids in answer.items()}
    found, missed = [], []
    for person in people:
        ids = found_by_registration(person, registered)
        if len(ids) == 1:
            found.append((person, ids[0]))
        else:
            missed.append(Result(person, PersonStatus.AMBIGUOUS if ids else PersonStatus.NOT_FOUND))
    return found, missed


def _one_each(
    found: Sequence[tuple[PendingPerson, int]],
) -> tuple[list[tuple[PendingPerson, int]], list[tuple[PendingPerson, int]]]:
    """Part people so that no person of TCS and no absence is in the first part twice.

    What one of ESR's people leaves in TCS must be there before the next is compared with it.
    """
    now, later = [], []
    taken: set[object] = set()
    for person, tcs_id in found:
        touched: set[object] = {tcs_id, *person.composite.absences}
        if taken.isdisjoint(touched):
            taken |= touched
            now.append((person, tcs_id))
        else:
            later.append((person, tcs_id))
    return now, later


def _round(tcs: Tcs, claims: Claims, found: Sequence[tuple[PendingPerson, int]]) -> list[Result]:
    """Compare people with TCS, tell it what differs, and return what became of each."""
    due, results = _due(tcs, found)
    changes, unfit = _fitting(tcs, due)
    results += unfit
    changes = _with_absences(tcs, changes)
    ours = claims.renew().people
    return results + _tell(tcs, claims, [change for change in changes if change.person.id in ours])


def _due(tcs: Tcs, found: Sequence[tuple[PendingPerson, int]]) -> tuple[list[_Change], list[Result]]:
    """Return who has something to be told, and the results of the others."""
    known = tcs.people([tcs_id for person, tcs_id in found if person.told_as(tcs_id) is None])
    changes, results = [], []
    for person, tcs_id in found:
        told = person.told_as(tcs_id)
        if told is None and tcs_id not in known:
            results.append(Result(person, PersonStatus.NOT_FOUND))
            continue
        due = due_since(person, told) if told else due_against(person, known[tcs_id])
        if due:
            changes.append(_Change(person, tcs_id, due))
        else:
            results.append(Result(person, PersonStatus.UP_TO_DATE, told_now(person, tcs_id)))
    return changes, results


def _fitting(tcs: Tcs, changes: Sequence[_Change]) -> tuple[list[_Change], list[Result]]:
    """Keep who has a placement in a post of the assignments: nobody else is updated."""
    placements = tcs.placements_of_people([change.tcs_id for change in changes])
    fitting, unfit = [], []
    for change in changes:
        if fits(change.person, placements.get(change.tcs_id, ())):
            fitting.append(change)
        else:
            unfit.append(Result(change.person, PersonStatus.NO_PLACEMENT))
    return fitting, unfit


def _with_absences(tcs: Tcs, changes: Sequence[_Change]) -> list[_Change]:
    """Look up the absences that are due: TCS has them, has them of somebody else, or says it has none."""
    asked = [absence_id for change in changes for absence_id in change.due.absences]
    known = tcs.absences(asked) if asked else {}
    return [_with_known(change, known) if change.due.absences else change for change in changes]


def _with_known(change: _Change, known: Mapping[str, Absence | None]) -> _Change:
    patched: dict[str, tuple[int, Fields]] = {}
    created: dict[str, Fields] = {}
    foreign: list[str] = []
    for absence_id, fields in change.due.absences.items():
        absence = known[absence_id]  # a missing answer is a failure, not "there is none"
        if absence is None:
            created[absence_id] = new_absence(absence_id, fields, change.tcs_id)
        elif absence.fields.get("personId") not in (None, change.tcs_id):
            foreign.append(absence_id)
        elif differs := absence_change(fields, absence):
            patched[absence_id] = (absence.id, differs)
    return _Change(change.person, change.tcs_id, change.due, patched, created, tuple(foreign))


def _tell(tcs: Tcs, claims: Claims, changes: Sequence[_Change]) -> list[Result]:
    """Send the changes, what may be repeated first."""
    contacts = tcs.patch_contacts(_bodies({each.tcs_id: each.due.contact for each in changes}))
    personal = tcs.patch_personal(_bodies({each.tcs_id: each.due.personal for each in changes}))
    patched = tcs.patch_absences(
        _bodies({row: fields for each in changes for row, fields in each.patched.values()})
    )
    created = _created(tcs, claims, [change for change in changes if change.created])
    return [_result(change, contacts, personal, patched, created) for change in changes]


def _created(tcs: Tcs, claims: Claims, changes: Sequence[_Change]) -> dict[str, Outcome]:
    """Create absences, as long as nobody else can have taken over the people: TCS would make them twice."""
    if not changes:
        return {}
    held = claims.renew()
    new = {
        absence_id: (body if change.person.id in held.people else None)
        for change in changes
        for absence_id, body in change.created.items()
    }
    ours = [body for body in new.values() if body is not None]
    made = iter(tcs.create_absences(ours, until=held.until) if ours else [])
    return {absence_id: _NOT_OURS if body is None else next(made) for absence_id, body in new.items()}


_NOT_OURS = Outcome(Verdict.UNKNOWN, reason="another process has taken over", sent=False)


def _bodies(changes: Mapping[int, Fields]) -> dict[int, Fields]:
    """Return the PATCH bodies: TCS goes by the id in them, not by the one in the path."""
    return {row: {"id": row, **fields} for row, fields in changes.items() if fields}


def _result(
    change: _Change,
    contacts: Mapping[int, Outcome],
    personal: Mapping[int, Outcome],
    patched: Mapping[int, Outcome],
    created: Mapping[str, Outcome],
) -> Result:
    """Return what became of one person, of the answers to all that was sent."""
    due, tcs_id = change.due, change.tcs_id
    answers: list[_Answer] = []
    if due.contact:
        answers.append(("contact details", tuple(due.contact), contacts[tcs_id]))
    if due.personal:
        answers.append(("personal details", tuple(due.personal), personal[tcs_id]))
    for absence_id, (row, _) in change.patched.items():
        answers.append(("a change of an absence", (absence_name(absence_id),), patched[row]))
    answers += [("a new absence", (absence_name(key),), created[key]) for key in change.created]
    updates = sum(outcome.applied for *_, outcome in answers)
    if any(outcome.verdict is Verdict.UNKNOWN for *_, outcome in answers):
        return _unsettled(change.person, answers, updates)
    sent = tuple(name for _, names, outcome in answers if outcome.applied for name in names)
    reasons = [_refusal(what, outcome) for what, _, outcome in answers if outcome.refused]
    not_taken = [name for _, names, outcome in answers if outcome.refused for name in names]
    if change.foreign:
        reasons.append(_FOREIGN)
        not_taken += map(absence_name, change.foreign)
    settled = PersonStatus.UPDATED if sent else PersonStatus.UP_TO_DATE
    status = PersonStatus.REFUSED if reasons else settled
    told = told_now(change.person, tcs_id, not_taken)
    return Result(change.person, status, told, sent, tuple(dict.fromkeys(reasons)), tuple(not_taken), updates)


def _unsettled(person: PendingPerson, answers: Sequence[_Answer], updates: int) -> Result:
    """Return the result of a person TCS failed at: to be tried again, but not for ever."""
    unknown = [(what, outcome) for what, _, outcome in answers if outcome.verdict is Verdict.UNKNOWN]
    attempts = person.attempts + any(outcome.sent for _, outcome in unknown)
    if attempts < MAX_ATTEMPTS:
        return Result(person, PersonStatus.UNSETTLED, updates=updates, attempts=attempts, in_doubt=True)
    return Result(
        person,
        PersonStatus.REFUSED,
        reasons=tuple(dict.fromkeys(_keeps_failing(what, outcome) for what, outcome in unknown)),
        not_taken=tuple(name for _, names, outcome in answers if not outcome.applied for name in names),
        updates=updates,
        in_doubt=True,
    )


def _keeps_failing(what: str, outcome: Outcome) -> Reason:
    said = f" with {outcome.status}" if outcome.status else ""
    return Reason(
        "tcs_keeps_failing",
        f"TCS failed {MAX_ATTEMPTS} times in a row at {what}{said}: {outcome.reason or 'no reason given'}; "
        "it is sent again when the person changes or is released",
    )


_FOREIGN = Reason(
    "absence_of_another_person",
    "TCS has an absence with this id of another person: it was left as it is; see whose it is in ESR",
)


def _refusal(what: str, outcome: Outcome) -> Reason:
    said = f" with {outcome.status}" if outcome.status else ""
    return Reason(
        "refused_by_tcs",
        f"TCS refused {what}{said}: {outcome.reason or 'no reason given'}; it is sent again when the person "
        "changes or is released",
    )


def _counted(results: Sequence[Result]) -> Counter[str]:
    counts = Counter(result.status.value for result in results)
    return counts + Counter(
        people=len(results),
        tcs_updates=sum(result.updates for result in results),
        absences_withdrawn=sum(result.person.newly_withdrawn for result in results),
    )


def _line(deanery: str, counts: Mapping[str, int]) -> str:
    told = ", ".join(
        f"{counts[status]} {status.replace('_', ' ')}" for status in PersonStatus if counts[status]
    )
    return f"{deanery}: {counts['people']} people looked at: {told or 'none due'}"
