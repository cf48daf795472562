"""Canonical records of the platform: what every NPO's data becomes.

Source of the field lists and of the status moves: the domain page "NPO integration", section 4.
Times are aware UTC datetimes; ids of ours are UUIDs as text, ids of the partner are text as it came.
"""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field


def _utc(value: datetime) -> datetime:
    """Return ``value`` in UTC, to the millisecond: the store keeps no more, and hashes must agree."""
    if value.tzinfo is None:
        raise ValueError("expected a time with a zone")
    value = value.astimezone(UTC)
    return value.replace(microsecond=value.microsecond // 1000 * 1000)


Moment = Annotated[datetime, AfterValidator(_utc)]
Text = Annotated[str, Field(max_length=20_000)]
Short = Annotated[str, Field(max_length=500)]
Key = Annotated[str, Field(min_length=1, max_length=255)]


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


class _Record(BaseModel):
    # Enum values become plain text at once: what is stored, hashed and published is the same value.
    model_config = ConfigDict(frozen=True, extra="forbid", use_enum_values=True, validate_default=True)


class Source(_Record):
    """Where a canonical record comes from. Not part of its content: a new fetch alone is no change."""

    external_created_at: Moment | None = None
    external_updated_at: Moment | None = None
    fetched_at: Moment
    content_hash: str
    mapping_version: int
    raw_ref: str
    deleted_upstream: bool = False


class Organization(_Record):
    """Who gives an offering."""

    name: Short | None = None
    description: Text | None = None
    website: Short | None = None
    identifiers: dict[str, str] = Field(default_factory=dict)


class Cost(_Record):
    """What an offering costs the candidate."""

    free: bool | None = None
    options: tuple[Short, ...] = ()


class Delivery(_Record):
    """How and where an offering takes place; languages are BCP 47 tags."""

    mode: Short | None = None
    locations: tuple[Short, ...] = ()
    languages: tuple[Short, ...] = ()


class Schedule(_Record):
    """When an offering takes place; the duration is in seconds."""

    starts_at: Moment | None = None
    ends_at: Moment | None = None
    enrol_by: Moment | None = None
    timezone: Short | None = None
    duration_seconds: Annotated[int, Field(ge=0)] | None = None


class Capacity(_Record):
    """Places of an offering."""

    total: Annotated[int, Field(ge=0)] | None = None
    taken: Annotated[int, Field(ge=0)] | None = None
    waitlist: Annotated[int, Field(ge=0)] | None = None


class Offering(_Record):
    """A course, mentorship, service ... of an NPO."""

    offering_id: Key
    external_id: Key
    npo_id: Key
    name: Annotated[str, Field(min_length=1, max_length=500)]
    summary: Text | None = None
    description_html: Text | None = None
    kind: OfferingKind | None = None
    categories: tuple[Category, ...] = ()
    status: OfferingStatus
    organization: Organization | None = None
    url: Short | None = None
    eligibility: Text | None = None
    cost: Cost | None = None
    delivery: Delivery | None = None
    schedule: Schedule | None = None
    capacity: Capacity | None = None
    enrolment_mode: EnrolmentMode | None = None
    attachments: tuple[Short, ...] = ()
    source: Source


class Progress(_Record):
    """How far a candidate is; percent is 0 to 100."""

    percent: Annotated[float, Field(ge=0, le=100)] | None = None
    units_done: Annotated[float, Field(ge=0)] | None = None
    units_total: Annotated[float, Field(ge=0)] | None = None
    basis: ProgressBasis = ProgressBasis.NONE


class Score(_Record):
    """A result; ``scaled`` is -1 to 1 as in xAPI."""

    scaled: Annotated[float, Field(ge=-1, le=1)] | None = None
    raw: float | None = None
    min: float | None = None
    max: float | None = None


class Outcome(_Record):
    """What came of an assignment."""

    passed: bool | None = None
    score: Score | None = None
    grade: Short | None = None
    certificate_url: Short | None = None


class Assignment(_Record):
    """A candidate in an offering. Holds a reference to the candidate, no name and no address."""

    assignment_id: Key
    external_id: Key
    npo_id: Key
    offering_id: Key | None = None
    external_candidate_ref: Short | None = None
    status: AssignmentStatus
    external_status: Short | None = None
    status_reason: Short | None = None
    progress: Progress | None = None
    outcome: Outcome | None = None
    requested_at: Moment | None = None
    accepted_at: Moment | None = None
    enrolled_at: Moment | None = None
    started_at: Moment | None = None
    last_activity_at: Moment | None = None
    due_at: Moment | None = None
    completed_at: Moment | None = None
    withdrawn_at: Moment | None = None
    mentor_ref: Short | None = None
    attempt: Annotated[int, Field(ge=0)] | None = None
    milestones: tuple[Short, ...] = ()
    source: Source
