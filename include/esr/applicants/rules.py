"""Which placements become applicants of ESR, what state their records are in, and which go into a file.

Rules: domain page, section 3 (AppRecords). Identity is placement and position. A record is made as soon as
TCS has the placement, follows it until it has its place in a file, and never vanishes: it is sent, or its
state and reason say why not. Pure; ``today`` is a parameter.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

from include.esr.applicants.fields import applicant_of, check_days, check_fields, moved
from include.esr.outbound import UNSENT, RecordState, Window
from include.esr.placements.facts import ELIGIBLE_TYPES
from include.quality.gate import Reason

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from include.esr.applicants.fields import Fields
    from include.esr.placements.facts import PlacementFacts, PositionFacts, PostView
    from include.esr.tcs.answers import Person
    from include.settings import Settings

_POSITION_GONE = Reason(
    "position_gone", "the position is deleted, has no post any more, or has another post now"
)
_PLACEMENT_GONE = Reason(
    "placement_gone", "the placement is deleted in TCS, at another post, or was moved into the past"
)
_NOT_APPROVED = Reason("placement_not_approved", "the placement is not approved, or not any more")
_OTHER_TYPE = Reason("placement_type", "the placement is of a type ESR is not told of")


@dataclass(frozen=True, slots=True, repr=False)
class Known:
    """A stored record, as far as deciding needs to know. Its repr shows none of it.

    Attributes:
        made_on: The latest ``today`` it was made for.
        start: First day of the placement, when it was made.
        resends: How often a person had it sent once more: such a record goes out however late it is.
    """

    id: str
    deanery: str
    post_id: int
    post_number: str
    position_id: int
    position_number: str | None
    placement_id: int
    trainee_id: int | None
    state: RecordState
    reason: Reason | None
    start: date | None
    made_on: date
    fields: Fields
    revision: int
    resends: int = 0

    @property
    def is_left_alone(self) -> bool:
        """Tell whether it has been sent, is about to be, or was taken out by a person."""
        return self.state not in UNSENT

    def is_over(self, today: date) -> bool:
        """Tell whether the placement, as it was stored, has ended."""
        last = self.fields.get("projected_end_date") or self.fields.get("effective_date")
        return last is not None and date.fromisoformat(last) < today


@dataclass(frozen=True, slots=True, repr=False)
class Pair:
    """A placement in a position of its post: what one record is about. Its repr shows none of it."""

    view: PostView
    position: PositionFacts
    placement: PlacementFacts

    @property
    def id(self) -> str:
        """Return the record's id."""
        return record_id(self.placement.id, self.position.id)


@dataclass(frozen=True, slots=True, repr=False)
class Decision:
    """What a record is to be from now on. Its repr shows none of it.

    Attributes:
        known: The record as stored; ``None``: it is new.
        pair: What it is about now; ``None``: nothing any more, only its state changes.
    """

    id: str
    known: Known | None
    pair: Pair | None
    state: RecordState
    reason: Reason | None
    fields: Fields
    made_on: date

    @property
    def is_news(self) -> bool:
        """Tell whether anything about it is to be written."""
        known, pair = self.known, self.pair
        if known is None:
            return True
        if (known.state, known.reason, known.fields) != (self.state, self.reason, self.fields):
            return True
        return pair is not None and (
            known.deanery,
            known.post_id,
            known.post_number,
            known.position_number,
            known.trainee_id,
            known.start,
        ) != (
            pair.view.deanery,
            pair.view.id,
            pair.view.number,
            pair.position.number,
            pair.placement.trainee_id,
            pair.placement.start,
        )

    @property
    def expires(self) -> bool:
        """Tell whether its window closed just now: a person must hear of it."""
        return self.state is RecordState.EXPIRED_UNSENT and (
            self.known is None or self.known.state is not RecordState.EXPIRED_UNSENT
        )


def record_id(placement_id: int, position_id: int) -> str:
    """Return the id of a placement's record in a position."""
    return f"{placement_id}-{position_id}"


def pairs_of(views: Iterable[PostView]) -> Iterator[Pair]:
    """Yield every eligible placement of the posts in each of their positions."""
    for view in views:
        for placement in view.placements:
            if placement.eligible:
                for position in view.positions:
                    yield Pair(view, position, placement)


def trainees_wanted(
    views: Sequence[PostView], sent: set[str], *, today: date, settings: Settings
) -> set[int]:
    """Return the people whose details decide what a record is: those of records that may still change.

    Args:
        views: Posts being looked at.
        sent: Records that are left alone, as ``sent_ids`` tells.
        today: The day it is done for.
        settings: Settings.
    """
    return {
        pair.placement.trainee_id
        for pair in pairs_of(views)
        if pair.placement.trainee_id is not None
        and pair.id not in sent
        and not _is_history(pair.placement, today, settings)
    }


def decide(
    pairs: Iterable[Pair],
    known: Mapping[str, Known],
    people: Mapping[int, Person],
    *,
    today: date,
    settings: Settings,
) -> Iterator[Decision]:
    """Yield what each record of a pair that may change is to be, new ones included.

    Args:
        pairs: As ``pairs_of`` gives them; the same twice counts once.
        known: Stored records by id.
        people: The trainees ``trainees_wanted`` asks for; one that is missing TCS does not know.
        today: The day it is done for.
        settings: Settings.
    """
    for pair in {pair.id: pair for pair in pairs}.values():
        record = known.get(pair.id)
        if record is None or not record.is_left_alone:
            decision = _decided(pair, record, people, today, settings)
            if decision is not None:
                yield decision


def decide_gone(known: Known, view: PostView, *, today: date) -> Decision:
    """Return what a record is to be that no pair is about any more.

    A placement that has ended is left out of a view: that it is missing then says nothing, and its record
    expires as if it were there.

    Args:
        known: The record; one that may change.
        view: The post it was made for.
        today: The day it is done for.
    """
    placement = next((each for each in view.placements if each.id == known.placement_id), None)
    state, reason, fields = known.state, known.reason, known.fields
    why = _why_gone(known, view, placement)
    is_past = why is _PLACEMENT_GONE and known.is_over(today)
    stays = (
        state is RecordState.DELETED_BEFORE_EXPORT
        or (state is RecordState.EXPIRED_UNSENT and known.is_over(today))
        or (is_past and known.resends > 0)
    )
    if is_past and not stays:
        state, reason = RecordState.EXPIRED_UNSENT, _closed(known, None)
    elif not stays:
        state, reason = RecordState.DELETED_BEFORE_EXPORT, why
    return Decision(known.id, known, None, state, reason, fields, max(today, known.made_on))


def _why_gone(known: Known, view: PostView, placement: PlacementFacts | None) -> Reason:
    if all(position.id != known.position_id for position in view.positions):
        return _POSITION_GONE
    if placement is None:
        return _PLACEMENT_GONE
    if (placement.type or "").strip().lower() not in ELIGIBLE_TYPES:
        return _OTHER_TYPE
    return _NOT_APPROVED


def _decided(
    pair: Pair, known: Known | None, people: Mapping[int, Person], today: date, settings: Settings
) -> Decision | None:
    """Return what the record of a pair is to be; ``None`` where history is left as it is."""
    placement = pair.placement
    # What was too late on a later day is not in time because an earlier day is run again.
    day = max(today, known.made_on) if known else today
    if _is_history(placement, today, settings):
        if known is None or known.state is RecordState.DELETED_BEFORE_EXPORT:
            return None
        fields, unsound = _aged(pair, known)
    else:
        person = None if placement.trainee_id is None else people.get(placement.trainee_id)
        applicant = applicant_of(pair.view, pair.position, placement, person)
        fields, unsound = applicant.fields, applicant.reason
    state, reason = RecordState.INVALID_DATA if unsound else RecordState.TO_EXPORT, unsound
    is_late = placement.start is not None and placement.start < Window.on(day, settings).first
    if is_late and not (known and known.resends):
        state = RecordState.EXPIRED_UNSENT
        same = known is not None and known.start == placement.start
        reason = _closed(known if same else None, unsound)
    return Decision(pair.id, known, pair, state, reason, fields, day)


def _aged(pair: Pair, known: Known) -> tuple[Fields, Reason | None]:
    """Return fields and reason of a record whose trainee nobody asked TCS about: what is stored stays."""
    placement = pair.placement
    if known.trainee_id != placement.trainee_id:
        applicant = applicant_of(pair.view, pair.position, placement, None)
        return applicant.fields, applicant.reason
    fields = moved(known.fields, placement)
    return fields, check_days(placement) or check_fields(fields)


def _closed(known: Known | None, unsound: Reason | None) -> Reason:
    """Return why a record was not sent in time; that of one that has expired before stays."""
    if known is not None and known.state is RecordState.EXPIRED_UNSENT and known.reason:
        return known.reason
    if known is None or known.state is RecordState.DELETED_BEFORE_EXPORT:
        return Reason("too_late", "TCS gave the placement, or its first day, too late for ESR to be told")
    if unsound is not None or known.state is RecordState.INVALID_DATA:
        unsound = unsound or known.reason
        said = f": {unsound.code}, {unsound.message}" if unsound else ""
        return Reason("started_unsent", f"its data was not sound before its window closed{said}")
    return Reason("started_unsent", "it was due and not sent before its window closed")


def _is_history(placement: PlacementFacts, today: date, settings: Settings) -> bool:
    """Tell whether a placement began, or ended, so long ago that ESR need not hear of it any more."""
    known_day = placement.start or placement.end
    return known_day is not None and known_day < today - timedelta(days=settings.esr_app_late_days)


def pick(
    due: Iterable[Mapping[str, Any]], *, most_of_a_post: int, most: int
) -> tuple[list[Mapping[str, Any]], int]:
    """Return the records for the next file in its order, and how many must wait for a later one.

    Those that start first go first, and of one day by id, so that a re-run picks the same. At most
    ``most_of_a_post`` share a post number, host and lead positions counted together: of more ESR sets the
    whole file aside (domain page, section 3).

    Args:
        due: Stored records that may go, in any order.
        most_of_a_post: Records of one post in a file.
        most: Records in a file.
    """
    records = sorted(due, key=lambda record: (record["start"], record["_id"]))
    picked: list[Mapping[str, Any]] = []
    of_post: Counter[str] = Counter()
    for record in records:
        if len(picked) == most:
            break
        if of_post[record["post_number"]] < most_of_a_post:
            of_post[record["post_number"]] += 1
            picked.append(record)
    return picked, len(records) - len(picked)
