"""What a partner's answer to an enrolment means: pure, from status and body to a verdict.

Source: the domain page "NPO integration", section 6.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from include.connectors.answer import NotJsonError
from include.connectors.error_rules import retry_after
from include.connectors.expressions import WRONG_TYPE, getter
from include.npo.enrolment.record import Reason

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from include.connectors.answer import Answer
    from include.connectors.manifest import ErrorRule
    from include.connectors.manifest_enrolment import Enrolment, EnrolmentResponse

LONGEST_ID, LONGEST_STATUS, LONGEST_TEXT = 255, 100, 200
_MAIL = re.compile(r"\S+@\S+")
_NUMBER = re.compile(r"\+?\d[\d ()./-]{5,}\d")
_SHORTEST_HIDDEN = 3
_ERROR_KEYS = ("error", "errors")


class Kind(StrEnum):
    """What an answer, or none, comes to."""

    ACCEPTED = "accepted"
    PENDING = "pending"
    REJECTED = "rejected"
    UNKNOWN = "unknown"
    """Whether the partner acted is not known: it is asked before anything is sent again."""
    LATER = "later"
    """It did not act, and may another time."""
    NOT_FOUND = "not_found"
    """It has nothing of ours."""
    DUPLICATE = "duplicate"
    """It has this enrolment already."""
    TAKEN_BACK = "taken_back"
    KEPT = "kept"
    """It does not take the enrolment back."""
    STOPPED = "stopped"
    """Our set-up is refused: this NPO's enrolments stop until a person has looked. It did not act."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of one step.

    Attributes:
        why: For the history and for people; no personal data.
        wait: Seconds the partner asks us to wait.
        whole_npo: The wait is for everything of this NPO, not for this enrolment.
        stops: The NPO's enrolments stop, whatever came of this one.
        sure: Of ``NOT_FOUND``: the partner was asked for this one, and all of its answer was looked at.
    """

    kind: Kind
    why: str = ""
    external_id: str | None = None
    external_status: str | None = None
    reason: Reason | None = None
    wait: float | None = None
    whole_npo: bool = False
    stops: bool = False
    sure: bool = True


def read_answer(
    enrolment: Enrolment,
    rules: Sequence[ErrorRule],
    answer: Answer,
    candidate: Mapping[str, Any],
    *,
    unnamed: Kind = Kind.UNKNOWN,
) -> Verdict:
    """Return the verdict on the answer to a POST, or to a poll.

    First the section's own expressions over the body of an answer that can be about the candidate, then
    the manifest's ``errors``, then the status. The partner's words are cleaned of the ``candidate``'s data.

    Args:
        enrolment: The manifest's section.
        rules: The manifest's ``errors``.
        answer: The partner's.
        candidate: What was sent of the candidate.
        unnamed: What a good answer means that does not hold what the section calls accepted.
    """
    body = _body(answer)
    decided = _about_candidate(enrolment.response, answer.status_code)
    if decided and (found := by_expressions(enrolment.response, body, candidate)):
        return found
    if ruled := _by_rule(rules, answer, body):
        return ruled
    if answer.status_code in enrolment.response.rejected_statuses:
        return _rejected(enrolment.response, body, candidate, f"{answer.status_code}")
    good = HTTPStatus.OK <= answer.status_code < HTTPStatus.MULTIPLE_CHOICES
    return _good(enrolment.response, answer, body, candidate, unnamed) if good else _bad(answer)


def by_expressions(response: EnrolmentResponse, body: Any, candidate: Mapping[str, Any]) -> Verdict | None:
    """Return the verdict of the first expression that holds of rejected, pending, accepted."""
    if _holds(response.rejected, body):
        return _rejected(response, body, candidate, "its answer")
    for kind, expression in ((Kind.PENDING, response.pending), (Kind.ACCEPTED, response.accepted)):
        if _holds(expression, body):
            return _yes(kind, response, body, candidate)
    return None


def read_withdrawal(rules: Sequence[ErrorRule], answer: Answer) -> Verdict:
    """Return the verdict on the answer to a withdrawal."""
    if ruled := _by_rule(rules, answer, _body(answer)):
        return ruled
    status = answer.status_code
    if HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
        return Verdict(Kind.TAKEN_BACK, why=f"taken back by the partner ({status})")
    if status in (HTTPStatus.NOT_FOUND, HTTPStatus.GONE):
        return Verdict(Kind.NOT_FOUND, why=f"the partner has no such enrolment ({status})")
    if status in (HTTPStatus.BAD_REQUEST, HTTPStatus.CONFLICT, HTTPStatus.UNPROCESSABLE_ENTITY):
        return Verdict(Kind.KEPT, why=f"{status}", reason=Reason("withdrawal_refused"))
    return _unwell(answer, Kind.LATER)


def unjudged(rules: Sequence[ErrorRule], answer: Answer) -> Verdict | None:
    """Return why an answer to a look-up cannot be read, ``None`` if it can."""
    if ruled := _by_rule(rules, answer, _body(answer)):
        return ruled
    if HTTPStatus.OK <= answer.status_code < HTTPStatus.MULTIPLE_CHOICES:
        return None
    return _unwell(answer, Kind.LATER)


def scrubbed(text: Any, candidate: Mapping[str, Any], longest: int) -> str:
    """Return a partner's words as one short line without the candidate's data, addresses and numbers."""
    if text is None or isinstance(text, dict | list):
        return ""
    line = " ".join("".join(c if c.isprintable() else " " for c in str(text)).split())
    for value in _texts(candidate):
        line = re.sub(re.escape(value), "***", line, flags=re.IGNORECASE)
    return _NUMBER.sub("***", _MAIL.sub("***", line))[:longest]


def _texts(value: Any) -> list[str]:
    """Return every text in a candidate's data worth hiding, longest first."""
    if isinstance(value, dict):
        found = [text for entry in value.values() for text in _texts(entry)]
    elif isinstance(value, list | tuple):
        found = [text for entry in value for text in _texts(entry)]
    elif value is None or isinstance(value, bool):
        found = []
    else:
        found = [str(value).strip()]
    return sorted({text for text in found if len(text) >= _SHORTEST_HIDDEN}, key=len, reverse=True)


def _body(answer: Answer) -> Any:
    try:
        return answer.json()
    except NotJsonError:
        return None


def _about_candidate(response: EnrolmentResponse, status: int) -> bool:
    """Tell whether an answer of this status can decide about one candidate; others are about our set-up."""
    good = HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES
    return good or status == HTTPStatus.CONFLICT or status in response.rejected_statuses


def _holds(expression: str | None, body: Any) -> bool:
    return expression is not None and bool(_read(expression, body))


def _read(expression: str | None, body: Any) -> Any:
    if expression is None:
        return None
    try:
        return getter(expression)(body)
    except WRONG_TYPE:
        return None


def _yes(kind: Kind, response: EnrolmentResponse, body: Any, candidate: Mapping[str, Any]) -> Verdict:
    return Verdict(
        kind,
        why="the partner decides later" if kind is Kind.PENDING else "enrolled by the partner",
        external_id=external_id(response.external_id, body),
        external_status=scrubbed(_read(response.external_status, body), candidate, LONGEST_STATUS) or None,
    )


def external_id(expression: str | None, body: Any) -> str | None:
    """Return the partner's id of an assignment, ``None`` if it is not there or is none."""
    value = _read(expression, body)
    if isinstance(value, bool) or not isinstance(value, str | int):
        return None
    text = str(value).strip()
    return text if 0 < len(text) <= LONGEST_ID and text.isprintable() else None


def _rejected(response: EnrolmentResponse, body: Any, candidate: Mapping[str, Any], by: str) -> Verdict:
    text = scrubbed(_read(response.reason, body), candidate, LONGEST_TEXT)
    return Verdict(
        Kind.REJECTED,
        why=f"rejected by {by}",
        external_status=scrubbed(_read(response.external_status, body), candidate, LONGEST_STATUS) or None,
        reason=Reason("refused_by_npo", text),
    )


def _by_rule(rules: Sequence[ErrorRule], answer: Answer, body: Any) -> Verdict | None:
    """Return the verdict of the manifest's first error rule that matches."""
    rule = next((rule for rule in rules if _matches(rule, answer, body)), None)
    if rule is None or rule.action == "ignore":
        return None
    if rule.action == "rate_limited":
        return _throttled(answer, rule.retry_after_header)
    if rule.action == "retry" or rule.failure == "transient":
        return _unclear(answer)
    return _stopped(answer, "refused by a rule of the manifest")


def _matches(rule: ErrorRule, answer: Answer, body: Any) -> bool:
    if rule.status and answer.status_code not in rule.status:
        return False
    when = rule.when
    if when is None:
        return True
    if when.header is not None:
        value = answer.headers.get(when.header)
        if value is None or (when.equals is not None and value != when.equals):
            return False
    return when.json_ is None or _holds(when.json_, body)


def _good(
    response: EnrolmentResponse, answer: Answer, body: Any, candidate: Mapping[str, Any], unnamed: Kind
) -> Verdict:
    """Return the verdict on 2xx: a yes by its status alone, unless its body says otherwise."""
    status = answer.status_code
    if body is None and answer.content.strip():
        return Verdict(Kind.UNKNOWN, why=f"{status}, but what came with it is not JSON")
    if isinstance(body, dict) and any(body.get(name) for name in _ERROR_KEYS):
        return Verdict(Kind.UNKNOWN, why=f"{status}, but its body tells of an error")
    if status == HTTPStatus.ACCEPTED:
        return _yes(Kind.PENDING, response, body, candidate)
    if response.accepted is not None:
        return Verdict(unnamed, why=f"{status}, but nothing the manifest calls accepted")
    return _yes(Kind.ACCEPTED, response, body, candidate)


def _bad(answer: Answer) -> Verdict:
    if answer.status_code == HTTPStatus.CONFLICT:
        return Verdict(Kind.DUPLICATE, why="the partner has it already (409)")
    return _unwell(answer, Kind.UNKNOWN)


def _unwell(answer: Answer, kind: Kind) -> Verdict:
    """Return the verdict on an error; ``kind`` is that of a server that may have acted all the same."""
    status = answer.status_code
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return _throttled(answer, "Retry-After")
    if status == HTTPStatus.TOO_EARLY:
        return _unclear(answer)
    if status == HTTPStatus.REQUEST_TIMEOUT or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return Verdict(kind, why=f"the partner answered {status}", wait=retry_after(answer))
    return _stopped(answer, "check credential, base_url and the enrolment section's paths")


def _unclear(answer: Answer) -> Verdict:
    return Verdict(Kind.UNKNOWN, why=f"the partner answered {answer.status_code}", wait=retry_after(answer))


def _throttled(answer: Answer, header: str) -> Verdict:
    return Verdict(
        Kind.LATER,
        why=f"throttled by the partner ({answer.status_code})",
        wait=retry_after(answer, header),
        whole_npo=True,
    )


def _stopped(answer: Answer, advice: str) -> Verdict:
    return Verdict(Kind.STOPPED, why=f"{answer.status_code} from {answer.where}: {advice}", stops=True)
