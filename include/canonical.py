"""Canonical records of the platform: what every NPO's data becomes.

Source of the field lists and of the status moves: the domain page "NPO integration", section 4.
Times are aware UTC datetimes; ids of ours are UUIDs as text, ids of the partner are text as it came.
A field that is not known is absent.

The records are typed dicts, checked by pydantic in one pass of compiled code: a run maps a hundred
thousand of them, and what is stored, hashed and published is this dict. Model instances would cost
four times as much and be taken apart again at once.
"""

from __future__ import annotations

from enum import StrEnum
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Any, Literal, Required

from pydantic import AwareDatetime, ConfigDict, Field, TypeAdapter, with_config
from typing_extensions import TypedDict  # pydantic wants this one before Python 3.12


class OfferingStatus(StrEnum):
    """Where an offering stands for candidates."""

    DRAFT = "draft"
    ACTIVE = "active"
    FULL = "full"
    TEMPORARILY_CLOSED = "temporarily_closed"
    INACTIVE = "inactive"
    WITHDRAWN = "withdrawn"
    UNKNOWN = "unknown"


class OfferingKind(StrEnum):
    """What kind of thing is offered."""

    COURSE = "course"
    PROGRAM = "program"
    APPRENTICESHIP = "apprenticeship"
    MENTORSHIP = "mentorship"
    WORKSHOP = "workshop"
    SERVICE = "service"
    RESOURCE = "resource"


class Category(StrEnum):
    """What need an offering serves."""

    RESUME_WRITING = "resume_writing"
    INTERVIEW_PREPARATION = "interview_preparation"
    BUSINESS_ATTIRE = "business_attire"
    APPRENTICESHIP_REGISTRATION = "apprenticeship_registration"
    TRAINING_REGISTRATION = "training_registration"
    COLLEGE_REGISTRATION = "college_registration"
    GROCERIES_AND_MEALS = "groceries_and_meals"
    HOUSING = "housing"
    CHILD_CARE = "child_care"
    MENTORSHIP = "mentorship"
    OTHER = "other"


class EnrolmentMode(StrEnum):
    """How a candidate gets in."""

    OPEN = "open"
    APPROVAL = "approval"
    EXTERNAL_FORM = "external_form"
    CLOSED = "closed"


class AssignmentStatus(StrEnum):
    """Where a candidate stands in an offering."""

    REQUESTED = "requested"
    ACCEPTED = "accepted"
    REJECTED = "rejected"
    WAITLISTED = "waitlisted"
    ENROLLED = "enrolled"
    IN_PROGRESS = "in_progress"
    ON_HOLD = "on_hold"
    COMPLETED = "completed"
    FAILED = "failed"
    WITHDRAWN = "withdrawn"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    UNKNOWN = "unknown"


class ProgressBasis(StrEnum):
    """Where a percentage comes from."""

    REPORTED = "reported"
    DERIVED = "derived"
    NONE = "none"


def _values(words: type[StrEnum]) -> Any:
    return Literal[tuple(word.value for word in words)]


if TYPE_CHECKING:
    OfferingStatusText = str
    OfferingKindText = str
    CategoryText = str
    EnrolmentModeText = str
    AssignmentStatusText = str
    ProgressBasisText = str
else:
    # Checked as the enumeration's words, kept as the plain text that is stored and published.
    OfferingStatusText = _values(OfferingStatus)
    OfferingKindText = _values(OfferingKind)
    CategoryText = _values(Category)
    EnrolmentModeText = _values(EnrolmentMode)
    AssignmentStatusText = _values(AssignmentStatus)
    ProgressBasisText = _values(ProgressBasis)

Moment = AwareDatetime
Text = Annotated[str, Field(max_length=20_000)]
Short = Annotated[str, Field(max_length=500)]
Key = Annotated[str, Field(min_length=1, max_length=255)]
Count = Annotated[int, Field(ge=0, le=2**53)]  # what JSON readers everywhere keep exactly
Amount = Annotated[float, Field(ge=0)]

_closed = with_config(ConfigDict(extra="forbid"))


@_closed
class Source(TypedDict, total=False):
    """Where a canonical record comes from. Not part of its content: a new fetch alone is no change."""

    external_created_at: Moment
    external_updated_at: Moment
    fetched_at: Required[Moment]
    content_hash: Required[str]
    mapping_version: Required[int]
    raw_ref: Required[str]
    deleted_upstream: Required[bool]


@_closed
class Organization(TypedDict, total=False):
    """Who gives an offering."""

    name: Short
    description: Text
    website: Short
    identifiers: dict[str, str]


@_closed
class Cost(TypedDict, total=False):
    """What an offering costs the candidate."""

    free: bool
    options: list[Short]


@_closed
class Delivery(TypedDict, total=False):
    """How and where an offering takes place; languages are BCP 47 tags."""

    mode: Short
    locations: list[Short]
    languages: list[Short]


@_closed
class Schedule(TypedDict, total=False):
    """When an offering takes place; the duration is in seconds."""

    starts_at: Moment
    ends_at: Moment
    enrol_by: Moment
    timezone: Short
    duration_seconds: Count


@_closed
class Capacity(TypedDict, total=False):
    """Places of an offering."""

    total: Count
    taken: Count
    waitlist: Count


@_closed
class Offering(TypedDict, total=False):
    """A course, mentorship, service ... of an NPO."""

    offering_id: Required[Key]
    external_id: Required[Key]
    npo_id: Required[Key]
    name: Required[Annotated[str, Field(min_length=1, max_length=500)]]
    summary: Text
    description_html: Text
    kind: OfferingKindText
    categories: list[CategoryText]
    status: Required[OfferingStatusText]
    organization: Organization
    url: Short
    eligibility: Text
    cost: Cost
    delivery: Delivery
    schedule: Schedule
    capacity: Capacity
    enrolment_mode: EnrolmentModeText
    attachments: list[Short]
    source: Required[Source]


@_closed
class Progress(TypedDict, total=False):
    """How far a candidate is; percent is 0 to 100."""

    percent: Annotated[float, Field(ge=0, le=100)]
    units_done: Amount
    units_total: Amount
    basis: ProgressBasisText


@_closed
class Score(TypedDict, total=False):
    """A result; ``scaled`` is -1 to 1 as in xAPI."""

    scaled: Annotated[float, Field(ge=-1, le=1)]
    raw: float
    min: float
    max: float


@_closed
class Outcome(TypedDict, total=False):
    """What came of an assignment."""

    passed: bool
    score: Score
    grade: Short
    certificate_url: Short


@_closed
class Assignment(TypedDict, total=False):
    """A candidate in an offering. Holds a reference to the candidate, no name and no address."""

    assignment_id: Required[Key]
    external_id: Required[Key]
    npo_id: Required[Key]
    offering_id: Key
    external_candidate_ref: Short
    status: Required[AssignmentStatusText]
    external_status: Short
    status_reason: Short
    progress: Progress
    outcome: Outcome
    requested_at: Moment
    accepted_at: Moment
    enrolled_at: Moment
    started_at: Moment
    last_activity_at: Moment
    due_at: Moment
    completed_at: Moment
    withdrawn_at: Moment
    mentor_ref: Short
    attempt: Count
    milestones: list[Short]
    source: Required[Source]


@lru_cache(maxsize=1)
def checkers() -> dict[str, TypeAdapter[Any]]:
    """Return the checker of each resource's canonical record, compiled once."""
    return {"offerings": TypeAdapter(Offering), "assignments": TypeAdapter(Assignment)}
