"""What an answer of TCS means: found, not there, refused, later, or a failure."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http import HTTPStatus
from http.client import responses
from typing import TYPE_CHECKING, Any

import orjson

from include.connectors import answer as partner_answer
from include.connectors.error_rules import retry_after
from include.errors import ConfigurationError, FatalError, IntegrationError, RateLimitedError, TransientError
from include.esr.tcs.answers import APPLIED, Outcome, UnreadableAnswerError, Verdict

if TYPE_CHECKING:
    from collections.abc import Mapping

SUBJECT = "TCS"
_FIELD_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.]{0,40}")
_MAX_SHOWN_FIELDS = 5
_LATER = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY})


@dataclass(frozen=True, slots=True)
class Answer:
    """A complete answer of TCS."""

    status: int
    body: bytes = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)

    @property
    def total(self) -> str | None:
        """Return how many items there are in all, where the headers say so."""
        return self.headers.get("X-Total-Count")

    def json(self) -> Any:
        """Return the value of the body.

        Raises:
            UnreadableAnswerError: It is not JSON.
        """
        try:
            return orjson.loads(self.body)
        except orjson.JSONDecodeError:
            raise UnreadableAnswerError(
                f"TCS answered {self.status} with something that is not JSON; nothing is concluded from it",
                subject=SUBJECT,
            ) from None


def is_failure(answer: Answer) -> bool:
    """Tell whether it says that TCS is unwell, which another try may find mended."""
    return answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR or answer.status in _LATER


def failure_of(endpoint: str, answer: Answer) -> TransientError:
    """Return the failure of an unwell TCS, with how long it asks to be left alone."""
    message = f"{answer.status} for {endpoint}: TCS is unwell"
    seconds = told_to_wait(answer)
    if seconds is not None and answer.status == HTTPStatus.SERVICE_UNAVAILABLE:
        return _AskedToWaitError(message, retry_after=seconds, subject=SUBJECT)
    return _UnwellError(message, subject=SUBJECT)


class _UnwellError(TransientError):
    """A 5xx: TCS answers, but fails on this call."""


class _AskedToWaitError(RateLimitedError):
    """A 5xx with Retry-After: waited for like a 429, but TCS may have acted on the call."""


def was_turned_away(error: BaseException) -> bool:
    """Tell whether TCS said that it did not look at the call because there are too many."""
    return isinstance(error, RateLimitedError) and not isinstance(error, _AskedToWaitError)


def was_failed_on(error: BaseException) -> bool:
    """Tell whether TCS answered the call with a failure of its own."""
    return isinstance(error, _UnwellError | _AskedToWaitError)


def judge(endpoint: str, answer: Answer) -> None:
    """Do nothing if it is an answer, or a refusal of what was sent.

    Raises:
        RateLimitedError: TCS asks to slow down.
        ConfigurationError: TCS refuses the client, or redirects it.
    """
    if answer.status < HTTPStatus.MULTIPLE_CHOICES:
        return
    if answer.status == HTTPStatus.TOO_MANY_REQUESTS:
        raise RateLimitedError(
            f"429 for {endpoint}: TCS asks to slow down", retry_after=told_to_wait(answer), subject=SUBJECT
        )
    if answer.status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        raise ConfigurationError(
            f"{answer.status} for {endpoint}, with a fresh token: TCS refuses this client; what waits to be "
            "sent is kept. Check SPOTLIGHT_TCS_CLIENT_ID and the rights it has in TCS",
            subject=SUBJECT,
        )
    if answer.status < HTTPStatus.BAD_REQUEST:
        raise ConfigurationError(
            f"{answer.status} for {endpoint}: a redirect, which is not followed; check SPOTLIGHT_TCS_URL",
            subject=SUBJECT,
        )


def told_to_wait(answer: Answer) -> float | None:
    """Return the seconds of Retry-After, ``None`` when TCS does not say."""
    told = partner_answer.Answer(
        "", "", SUBJECT, answer.status, answer.headers, b"", None, completed_at=datetime.now(UTC)
    )
    return retry_after(told)


def is_of_the_api(answer: Answer) -> bool:
    """Tell whether TCS itself answered: nothing or JSON; a proxy or a portal in between sends a page.

    A 404 is what a gateway answers as well when it does not find TCS: TCS's own is a problem detail (RFC
    9457, as Spring writes it), with the status in the body and a title or the path.
    """
    if not answer.body:
        return answer.status != HTTPStatus.NOT_FOUND
    try:
        said = answer.json()
    except UnreadableAnswerError:
        return False
    return answer.status != HTTPStatus.NOT_FOUND or _is_problem(said, answer.status)


def _is_problem(said: Any, status: int) -> bool:
    return (
        isinstance(said, dict)
        and said.get("status") == status
        and any(isinstance(said.get(name), str) and said[name] for name in ("title", "path"))
    )


def not_looked_up(endpoint: str, answer: Answer) -> IntegrationError:
    """Return the failure of a lookup that was neither answered nor worth another try."""
    if answer.status == HTTPStatus.NOT_FOUND:
        return ConfigurationError(
            f"404 for {endpoint}: there is no such path, so nothing was looked up; check SPOTLIGHT_TCS_URL",
            subject=SUBJECT,
        )
    return FatalError(
        f"{answer.status} for {endpoint}: TCS refuses the lookup{_fields(answer)}; nothing is concluded from "
        "it. A developer must look at what is asked",
        subject=SUBJECT,
    )


def outcome_of(answer: Answer) -> Outcome:
    """Return what became of a change: applied, or refused with what TCS says of it, without values."""
    if answer.status < HTTPStatus.MULTIPLE_CHOICES:
        return APPLIED
    phrase = responses.get(answer.status, "refused")
    return Outcome(Verdict.REFUSED, answer.status, f"{answer.status} {phrase}{_fields(answer)}")


def _fields(answer: Answer) -> str:
    """Return the names of the fields TCS complains about; its sentences echo what was sent."""
    if not answer.body or not is_of_the_api(answer):
        return ""
    said = answer.json()
    errors = said.get("fieldErrors") if isinstance(said, dict) else None
    names = [str(error.get("field")) for error in errors or [] if isinstance(error, dict)]
    shown = [name for name in names if _FIELD_NAME.fullmatch(name)][:_MAX_SHOWN_FIELDS]
    return f" ({', '.join(shown)})" if shown else ""
