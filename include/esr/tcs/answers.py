"""What TCS is asked and what it answers, as values; another shape is an error, never "nothing found"."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from math import inf
from typing import TYPE_CHECKING, Any, Literal

from include.errors import TransientError

if TYPE_CHECKING:
    from collections.abc import Mapping

Json = dict[str, Any]
Body = Literal["GMC", "GDC"]
"""Professional body whose register a number is of."""


class UnreadableAnswerError(TransientError):
    """TCS answered something else than was asked for; nothing is concluded from it."""


class NotSentError(TransientError):
    """The call never left this process: TCS certainly did not act on it."""


class NoTimeLeftError(NotSentError):
    """The call was held back: it could have ended after the caller's right to make it."""


@dataclass(frozen=True, slots=True)
class Post:
    """A post of TCS, found by its national post number."""

    id: int
    number: str
    status: str | None = None
    owner: str | None = None


@dataclass(frozen=True, slots=True)
class Placement:
    """One placement, as its summary tells it.

    Attributes:
        id: ``placementId``.
        post_number: ``nationalPostNumber`` of the placement's post.
        trainee_id: Person id; absent where TCS does not say.
        first_day, last_day: ``dateFrom`` and ``dateTo`` as TCS writes them (ISO date).
        lifecycle_state, site_code, gmc_number: Only the placement in full has them, a summary has not.
    """

    id: int
    post_number: str | None
    trainee_id: int | None = None
    first_day: str | None = None
    last_day: str | None = None
    kind: str | None = None
    status: str | None = None
    lifecycle_state: str | None = None
    site_code: str | None = None
    gmc_number: str | None = None
    whole_time_equivalent: float | None = None
    forenames: str | None = None
    legal_forenames: str | None = None
    surname: str | None = None
    legal_surname: str | None = None
    email: str | None = None
    grade: str | None = None


@dataclass(frozen=True, slots=True)
class Person:
    """A person of TCS: contact details and personal details as TCS keeps them (its field names).

    Attributes:
        gmc_number, gdc_number: Of the registers; absent when there is none.
    """

    id: int
    contact: Json
    personal: Json
    gmc_number: str | None = None
    gdc_number: str | None = None


@dataclass(frozen=True, slots=True)
class Absence:
    """An absence TCS has: ``id`` is TCS's own, ``absence_id`` is ESR's (``absenceAttendanceId``).

    Attributes:
        fields: The whole absence as TCS keeps it (``startDate``, ``endDate``, ``durationInDays`` ...).
    """

    id: int
    absence_id: str
    fields: Json


@dataclass(frozen=True, slots=True)
class EsrEvent:
    """One event a post or a placement was told of, as read back from TCS (``esrEvents``).

    Attributes:
        at: ``eventDateTime`` of a post, ``exportedAt`` of a placement; UTC, in milliseconds.
        status: ``RECONCILED`` or ``DELETED`` of a post; ``EXPORTED``, ``EXPORTED_AND_PROCESSED`` or
            ``EXPORTED_PROCESSED_WITH_ERRORS`` of a placement.
    """

    at: datetime
    position_id: int
    status: str
    filename: str | None = None
    position_number: str | None = None


@dataclass(frozen=True, slots=True)
class PostChanged:
    """What is told to a post with ``esr-changed``; ``body`` is the JSON as TCS wants it."""

    post_id: int
    body: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class PlacementExported:
    """What is told to a placement with ``esr-exported``; ``body`` is the JSON as TCS wants it."""

    placement_id: int
    body: Mapping[str, Any]


class Verdict(StrEnum):
    """What became of a call that changes something."""

    APPLIED = "applied"
    REFUSED = "refused"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one call that changes something in TCS.

    Attributes:
        verdict: ``APPLIED``; ``REFUSED`` (the content is at fault, the same call is refused again for
            ever); ``UNKNOWN`` (it may or may not have been applied: look before telling it again).
        status: HTTP status, when there was an answer.
        reason: Why it was refused or is unknown, without any value of the record.
        sent: ``False`` for an unknown one that certainly never reached TCS.
    """

    verdict: Verdict
    status: int | None = None
    reason: str = ""
    sent: bool = True

    @property
    def applied(self) -> bool:
        """Tell whether TCS has it."""
        return self.verdict is Verdict.APPLIED

    @property
    def refused(self) -> bool:
        """Tell whether TCS will never take it as it is."""
        return self.verdict is Verdict.REFUSED


APPLIED = Outcome(Verdict.APPLIED)


def post_of(item: Any) -> Post:
    """Return a post of the bulk answer.

    Raises:
        UnreadableAnswerError: It has no id or number.
    """
    found = an_object(item, "a post")
    return Post(
        _integer(found, "id"), _text(found, "nationalPostNumber"), _say(found, "status"), _say(found, "owner")
    )


def numbered_post_of(item: Any) -> Post | None:
    """Return a post, ``None`` for one without a national post number: nobody can have asked for it."""
    return None if _is_null(an_object(item, "a post"), "nationalPostNumber") else post_of(item)


def placement_of(item: Any, asked: int | None = None) -> Placement:
    """Return a placement: a summary's, or that asked for, in full.

    What ESR is told of it is taken leniently: a value that is null or of an odd shape is absent.

    Raises:
        UnreadableAnswerError: It has no id, is another one than asked for, or its trainee is no id.
    """
    found = an_object(item, "a placement")
    placement_id = _integer(found, "placementId" if asked is None or "placementId" in found else "id")
    if asked is not None and placement_id != asked:
        raise UnreadableAnswerError("TCS answered with another placement than was asked for")
    return Placement(
        id=placement_id,
        post_number=_say(found, "nationalPostNumber"),
        trainee_id=_integer(found, "traineeId") if found.get("traineeId") is not None else None,
        first_day=_say(found, "dateFrom"),
        last_day=_say(found, "dateTo"),
        kind=_say(found, "placementType"),
        status=_say(found, "status"),
        lifecycle_state=_say(found, "lifecycleState"),
        site_code=_say(found, "siteCode"),
        gmc_number=_registration(found, "traineeGmcNumber"),
        whole_time_equivalent=_share(found, "placementWholeTimeEquivalent"),
        forenames=_say(found, "forenames"),
        legal_forenames=_say(found, "legalforenames"),
        surname=_say(found, "surname"),
        legal_surname=_say(found, "legalsurname"),
        email=_say(found, "email"),
        grade=_say(found, "gradeAbbreviation"),
    )


def person_of(item: Any, asked: int) -> Person:
    """Return the person asked for.

    Raises:
        UnreadableAnswerError: It is somebody else, or a part is missing.
    """
    found = an_object(item, "a person")
    if _integer(found, "id") != asked:
        raise UnreadableAnswerError("TCS answered with another person than was asked for")
    return Person(
        asked,
        an_object(found.get("contactDetails") or {}, "contact details"),
        an_object(found.get("personalDetails") or {}, "personal details"),
        _registration(found.get("gmcDetails"), "gmcNumber"),
        _registration(found.get("gdcDetails"), "gdcNumber"),
    )


def registered_of(item: Any, body: Body) -> tuple[str, int] | None:
    """Return registration number and person id of an entry of a register, ``None`` if its number is null.

    Raises:
        UnreadableAnswerError: It has no id, or no such field.
    """
    found, field = an_object(item, "a registration"), f"{body.lower()}Number"
    return None if _is_null(found, field) else (_text(found, field), _integer(found, "id"))


def absence_of(item: Any, asked: str) -> Absence:
    """Return the absence asked for.

    Raises:
        UnreadableAnswerError: It is another one, or has no id.
    """
    found = an_object(item, "an absence")
    if str(found.get("absenceAttendanceId")) != asked:
        raise UnreadableAnswerError("TCS answered with another absence than was asked for")
    return Absence(_integer(found, "id"), asked, found)


def events_of(answer: Any, moment_field: str) -> tuple[EsrEvent, ...]:
    """Return the events of a post or placement in full; ``moment_field`` is what their time is called.

    Raises:
        UnreadableAnswerError: They are not there, or one has no time, position or status.
    """
    found = an_object(answer, "what has events")
    return tuple(_event_of(item, moment_field) for item in a_list(found.get("esrEvents"), "events"))


def _event_of(item: Any, moment_field: str) -> EsrEvent:
    found = an_object(item, "an event")
    return EsrEvent(
        at=moment(_text(found, moment_field)),
        position_id=_integer(found, "positionId"),
        status=_text(found, "status"),
        filename=_say(found, "filename"),
        position_number=_say(found, "positionNumber"),
    )


def moment(text: str) -> datetime:
    """Return a time of TCS as UTC in milliseconds, however it is written; no zone means UTC.

    Raises:
        UnreadableAnswerError: It is not a time.
    """
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise UnreadableAnswerError("TCS answered with a time that cannot be read") from None
    at = at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    return at.replace(microsecond=at.microsecond // 1000 * 1000)


def written(at: datetime) -> str:
    """Return a time as it is told to TCS: UTC with milliseconds, such as ``2026-03-04T14:30:00.120Z``."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{at.microsecond // 1000:03d}Z"


def a_list(answer: Any, of_what: str) -> list[Any]:
    """Return the answer if it is a list.

    Raises:
        UnreadableAnswerError: It is something else.
    """
    if not isinstance(answer, list):
        raise _unreadable(f"a list of {of_what}", answer)
    return answer


def an_object(answer: Any, what: str) -> Json:
    """Return the answer if it is a JSON object.

    Raises:
        UnreadableAnswerError: It is something else.
    """
    if not isinstance(answer, dict):
        raise _unreadable(what, answer)
    return answer


def _integer(found: Json, field: str) -> int:
    value = found.get(field)
    if isinstance(value, str) and value.isascii() and value.isdigit():
        return int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise _unreadable(f"a number in '{field}'", value)
    return value


def _text(found: Json, field: str) -> str:
    value = found.get(field)
    if not isinstance(value, str) or not value:
        raise _unreadable(f"text in '{field}'", value)
    return value


def _is_null(found: Json, field: str) -> bool:
    """Tell whether a field is there and empty; one that is missing is another shape."""
    return field in found and found[field] in (None, "")


def _say(found: Json, field: str) -> str | None:
    value = found.get(field)
    return value if isinstance(value, str) else None


def _registration(found: Any, field: str) -> str | None:
    """Return a registration number; one written as a JSON number is one as well."""
    value = found.get(field) if isinstance(found, dict) else None
    if isinstance(value, bool) or not isinstance(value, str | int):
        return None
    return str(value).strip() or None


def _share(found: Json, field: str) -> float | None:
    """Return a number of at least 0, however it is written (``0.8``, ``"0.8"``)."""
    value = found.get(field)
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    try:
        share = float(value)
    except (ValueError, OverflowError):
        return None
    return share if 0 <= share < inf else None


def _unreadable(wanted: str, answer: Any) -> UnreadableAnswerError:
    return UnreadableAnswerError(
        f"TCS answered with {type(answer).__name__} where {wanted} was expected; nothing is concluded from it"
    )
