"""Tokens of OAuth2: asking for one, and one that the tasks of an NPO share and renew in turn."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from math import isfinite
from threading import Lock
from typing import TYPE_CHECKING, Any

from include.connectors.placeholders import CredentialError, holds_control_characters
from include.connectors.protocol import status_told
from include.errors import ConfigurationError, NotYetError, TransientError
from include.registry.tokens import Tokens, locked_tokens, token_keys

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from include.connectors.answer import Answer
    from include.connectors.http import PartnerSession
    from include.connectors.redaction import Redactor
    from include.settings import Settings

_EARLY = timedelta(seconds=30)  # so that a token does not expire between signing and arriving
_LONGEST_LIFE = 366 * 86_400.0
REGISTRY_WAIT = 15.0
WRITTEN_AGAIN_AFTER = (1.0, 4.0, 15.0, 30.0)
"""Seconds between tries to write a new refresh token: a registry that restarts is back within a minute."""


class TokenEndpoint:
    """What a token is asked of: our session, with a look at the answer.

    dlt would take a missing ``access_token`` for the token ``None``.

    Args:
        session: Sends.
        redactor: Told every token.
        subject: The NPO.
        once: What is sent may be used up by the first try, so there is no second one.
    """

    def __init__(
        self, session: PartnerSession, redactor: Redactor, subject: str, *, once: bool = False
    ) -> None:
        self._session, self._redactor, self._subject, self._once = session, redactor, subject, once

    def post(self, url: str, *, headers: dict[str, str], data: dict[str, str]) -> Answer:
        """Return the answer to a token request.

        Raises:
            CredentialError: The client is refused, or the answer holds no token; pauses.
            ConfigurationError: Another host; pauses.
            TransientError: The partner did not answer.
        """
        expects, self._session.expects = self._session.expects, None  # a token is JSON whatever is read
        try:
            answer = self._session.post(url, headers=headers, data=data, once=self._once)
        except ConfigurationError as error:
            if status_told(error) is not None:
                raise CredentialError(error.message, pauses=True, subject=self._subject) from None
            error.pauses = True
            raise
        finally:
            self._session.expects = expects
        told = answer.json() if not answer.ignored else None
        told = told if isinstance(told, dict) else {}
        token = told.get("access_token")
        if not isinstance(token, str) or not token or holds_control_characters(token):
            raise CredentialError(
                f"{answer.status_code} from {answer.where} gave no access_token that can be sent; check "
                "access_token_url",
                pauses=True,
                subject=self._subject,
            )
        self._redactor.add(token)
        return answer


def seconds_told(told: Mapping[str, Any], usual: float) -> float:
    """Return how long a token lasts: ``expires_in`` as number or text, ``usual`` where it does not say.

    After an exchange the old refresh token may be used up, so nothing here is worth an error.
    """
    value = told.get("expires_in")
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return usual
    try:
        seconds = float(value)
    except ValueError:
        return usual
    return min(seconds, _LONGEST_LIFE) if isfinite(seconds) and seconds > 0 else usual


@dataclass(frozen=True, slots=True)
class Grant:
    """What a refresh token is exchanged with; shows nothing.

    Attributes:
        url: Of the token endpoint.
        refresh_token: The credential's, which may have been replaced since.
        extra: More form fields.
        lasts: Seconds a token lasts whose answer does not say.
    """

    url: str = field(repr=False)
    refresh_token: str = field(repr=False)
    client_id: str = field(repr=False)
    client_secret: str | None = field(repr=False)
    extra: Mapping[str, str] = field(default_factory=dict, repr=False)
    lasts: int = 3600


class _RegistryAwayError(TransientError):
    """The registry did not answer."""


@dataclass(frozen=True, slots=True)
class _Exchange:
    """What an exchange made of what was kept."""

    before: Tokens | None = field(repr=False)
    after: Tokens = field(repr=False)

    def follows(self, kept: Tokens | None) -> bool:
        """Return whether what is kept is still what was exchanged: else another task has gone on since."""
        told = kept.refresh_token if kept else None
        return told == (self.before.refresh_token if self.before else None)


class RefreshedToken:
    """The access token of a refresh token, shared by every task of the NPO.

    Where the partner replaces the refresh token at each exchange, losing the new one ends the integration
    until a person logs in again. So the exchange happens under a row lock in the registry, and the new token
    is committed before the first request is signed with it: of two tasks one exchanges, the other takes what
    that one wrote. Where the registry fails just then, the new token is held on to and written again. If a
    process dies between the partner's answer and the commit, the old token is tried again (many partners
    allow that for a while); if it is refused, a person is asked for a new one.

    Args:
        grant: What to exchange.
        endpoint: Where.
        redactor: Told every token.
        subject: The NPO.
        settings: Registry and key.
        now: The clock.
        sleep: Waits.
    """

    def __init__(
        self,
        grant: Grant,
        endpoint: TokenEndpoint,
        redactor: Redactor,
        subject: str,
        settings: Settings,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._grant, self._endpoint, self._redactor = grant, endpoint, redactor
        self._subject, self._settings, self._now, self._sleep = subject, settings, now, sleep
        self._held: Tokens | None = None
        self._unwritten: _Exchange | None = None
        self._refused: str | None = None
        self._lock = Lock()  # requests of one NPO are signed by several threads

    def value(self) -> str:
        """Return an access token that lasts for a while.

        Raises:
            ConfigurationError: The refresh token was refused (pauses), or no key is set up.
            TransientError: The partner did not answer.
            NotYetError: The registry did not answer; the partner has no part in it.
        """
        with self._lock:
            if self._held is None or not self._lasts(self._held):
                self._held = self._shared()
            return str(self._held.access_token)

    def refused(self, token: str) -> None:
        """Note that the partner does not take this token any more.

        Of a token that was replaced meanwhile nothing is noted: its successor is another thread's answer to
        the same refusal, and renewing once more would make that one void.
        """
        with self._lock:
            if self._held is not None and self._held.access_token == token:
                self._refused, self._held = token, None

    def _lasts(self, tokens: Tokens) -> bool:
        return (
            tokens.access_token is not None
            and tokens.access_token != self._refused
            and tokens.expires_at is not None
            and self._now() + _EARLY < tokens.expires_at
        )

    def _shared(self) -> Tokens:
        keys = token_keys(self._settings, self._subject)
        waits = iter(WRITTEN_AGAIN_AFTER)
        while True:
            try:
                found = self._locked(keys)
                break
            except _RegistryAwayError as error:
                wait = next(waits, None) if self._unwritten else None
                if wait is None:
                    raise NotYetError(
                        f"no token can be had, nothing was sent: {error.message}",
                        retry_after=REGISTRY_WAIT,
                        subject=self._subject,
                    ) from None
                self._sleep(wait)
        for secret in (found.access_token, found.refresh_token):
            self._redactor.add(secret)
        return found

    def _locked(self, keys: Sequence[str]) -> Tokens:
        """Return the tokens of the registry, exchanged if need be; what was not written is written first."""
        identity = json.dumps([self._grant.client_id, self._grant.refresh_token])
        partner: TransientError | None = None
        try:
            with locked_tokens(self._settings, self._subject, identity, keys) as kept:
                if self._unwritten and self._unwritten.follows(kept.tokens):
                    kept.tokens = self._unwritten.after
                    kept.write()
                if kept.tokens is None or not self._lasts(kept.tokens):
                    try:
                        after = self._exchanged(kept.tokens)
                    except TransientError as error:
                        partner = error
                        raise
                    self._unwritten = _Exchange(kept.tokens, after)
                    kept.tokens = after
                    kept.write()
                found = kept.tokens
        except TransientError as error:
            if error is partner:
                raise
            raise _RegistryAwayError(error.message) from None
        self._unwritten = None
        return found

    def _exchanged(self, before: Tokens | None) -> Tokens:
        grant = self._grant
        present = before.refresh_token if before else grant.refresh_token
        self._redactor.add(present)
        data = {"grant_type": "refresh_token", "refresh_token": present, "client_id": grant.client_id}
        if grant.client_secret is not None:
            data["client_secret"] = grant.client_secret
        try:
            answer = self._endpoint.post(
                grant.url,
                headers={"Content-Type": "application/x-www-form-urlencoded"},
                data={**data, **grant.extra},
            )
        except ConfigurationError as error:
            if status_told(error) is not None:
                error.message += (
                    "; the refresh token is used up, expired or withdrawn: get a new one from the partner "
                    "and set it in the connection that credential_ref names"
                )
            raise
        told: dict[str, Any] = answer.json()
        successor = told.get("refresh_token")
        lasts = seconds_told(told, grant.lasts)
        return Tokens(
            refresh_token=successor if isinstance(successor, str) and successor else present,
            access_token=told["access_token"],
            expires_at=self._now() + timedelta(seconds=lasts),
        )
