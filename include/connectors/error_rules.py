"""What an answer means: first the partner's own rules, then HTTP's."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from math import isfinite
from typing import TYPE_CHECKING, Any

from include.connectors.answer import TRIED_AGAIN, Answer, NotJsonError
from include.connectors.expressions import WRONG_TYPE, getter
from include.errors import ConfigurationError, FatalError, RateLimitedError, TransientError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from include.connectors.manifest import ErrorRule, When

_TRANSIENT = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY})
_LONGEST_RETRY_AFTER = 3_600.0
_EPOCH_FROM, _EPOCH_MILLIS_FROM = 1e9, 1e11
"""A wait of 30 years is a point in time: vendors' reset headers hold seconds or milliseconds since 1970."""
_ADVICE: dict[int, str] = {
    HTTPStatus.UNAUTHORIZED: "the credential was refused; renew it in the connection that "
    "credential_ref names",
    HTTPStatus.FORBIDDEN: "the credential may not read this; ask the partner for the right, or add an errors "
    "rule if this is how it throttles",
    HTTPStatus.NOT_FOUND: "no such path; check base_url and endpoint.path",
    HTTPStatus.GONE: "the path is no more; ask the partner where it went",
}


@dataclass(frozen=True, slots=True)
class _Rule:
    rule: ErrorRule
    json: Callable[[Any], Any] | None

    def matches(self, answer: Answer) -> bool:
        if self.rule.status and answer.status_code not in self.rule.status:
            return False
        return self.rule.when is None or self._holds(self.rule.when, answer)

    def _holds(self, when: When, answer: Answer) -> bool:
        if when.header is not None:
            value = answer.headers.get(when.header)
            if value is None or (when.equals is not None and value != when.equals):
                return False
        if self.json is None:
            return True
        try:
            return bool(self.json(answer.told()))
        except WRONG_TYPE:
            return False


class ErrorRules:
    """The manifest's ``errors`` list over the meaning HTTP gives a status.

    Args:
        rules: First match wins.
        subject: The NPO, for messages.
    """

    def __init__(self, rules: Sequence[ErrorRule], subject: str) -> None:
        self._rules = [
            _Rule(rule, getter(rule.when.json_) if rule.when and rule.when.json_ else None) for rule in rules
        ]
        self._subject = subject

    def judge(self, answer: Answer) -> None:
        """Return if the answer can be read; mark it ``ignored`` if a rule says so.

        Raises:
            TransientError: Worth another try.
            RateLimitedError: Throttled.
            ConfigurationError: Refused, unknown, or not JSON.
            FatalError: A rule says that the fault is ours.
        """
        for rule in self._rules:
            if rule.matches(answer):
                self._apply(rule.rule, answer)
                return
        status = answer.status_code
        if HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
            self._require_json(answer)
        elif status == HTTPStatus.TOO_MANY_REQUESTS:
            raise self._rate_limited(answer, "Retry-After")
        elif status in _TRANSIENT or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            raise self._transient(answer)
        else:
            # Asking again after one of these would only annoy; 400 or 409 may be about today's request.
            advice = _ADVICE.get(status, "the request was refused; check the endpoint's parameters")
            raise self._configuration(answer, advice, pauses=status in _ADVICE)

    def throttling(self, answer: Answer) -> RateLimitedError | None:
        """Return what ``judge`` would raise of an answer that throttles; ``None`` for any other."""
        for rule in self._rules:
            if rule.matches(answer):
                told = rule.rule
                return (
                    self._rate_limited(answer, told.retry_after_header)
                    if told.action == "rate_limited"
                    else None
                )
        if answer.status_code == HTTPStatus.TOO_MANY_REQUESTS:
            return self._rate_limited(answer, "Retry-After")
        return None

    def _require_json(self, answer: Answer) -> None:
        if answer.status_code == HTTPStatus.NO_CONTENT:
            answer.ignored = True
            return
        try:
            answer.json()
        except NotJsonError as error:
            raise error.as_failure(f"{answer.status_code} from {answer.where}", self._subject) from None

    def _apply(self, rule: ErrorRule, answer: Answer) -> None:
        if rule.action == "ignore":
            answer.ignored = True
        elif rule.action == "rate_limited":
            raise self._rate_limited(answer, rule.retry_after_header)
        elif rule.action == "retry" or rule.failure == "transient":
            raise self._transient(answer)
        elif rule.failure == "config":
            raise self._configuration(answer, "refused by a rule of the manifest", pauses=True)
        else:
            raise FatalError(
                f"{answer.status_code} from {answer.where}: a fault of ours by a rule of the manifest",
                subject=self._subject,
            )

    def _rate_limited(self, answer: Answer, header: str) -> RateLimitedError:
        seconds = retry_after(answer, header)
        told = "without saying for how long" if seconds is None else f"for {seconds:.0f} s"
        return RateLimitedError(
            f"{answer.status_code} from {answer.where}: throttled {told}; {TRIED_AGAIN}; lower "
            "requests_per_minute if this repeats",
            retry_after=seconds,
            subject=self._subject,
        )

    def _transient(self, answer: Answer) -> TransientError:
        return TransientError(
            f"{answer.status_code} from {answer.where}: the partner's server is unwell; {TRIED_AGAIN}",
            subject=self._subject,
        )

    def _configuration(self, answer: Answer, advice: str, *, pauses: bool) -> ConfigurationError:
        return ConfigurationError(
            f"{answer.status_code} from {answer.where}: {advice}", pauses=pauses, subject=self._subject
        )


def retry_after(answer: Answer, header: str = "Retry-After") -> float | None:
    """Return the seconds the partner asks us to wait, at most an hour; ``None`` if it does not say.

    The wait is the whole NPO's, so an odd header must not silence it for long: after an hour it is asked once
    more, and says so again if it means it. A point in time is taken relative to the answer's own Date header,
    so that a skewed clock does no harm.
    """
    text = answer.headers.get(header, "").strip()
    now = _http_date(answer.headers.get("Date", "")) or answer.completed_at
    try:
        seconds = float(text)
    except ValueError:
        until = _http_date(text)
        if until is None:
            return None
        seconds = (until - now).total_seconds()
    if seconds >= _EPOCH_FROM:
        seconds = (seconds / 1000 if seconds >= _EPOCH_MILLIS_FROM else seconds) - now.timestamp()
    return min(max(seconds, 0.0), _LONGEST_RETRY_AFTER) if isfinite(seconds) else None


def _http_date(text: str) -> datetime | None:
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
