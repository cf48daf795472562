"""The one session that talks to TCS: token, time-outs, retries, breaker, and what its answers mean.

No redirect is followed and nothing is taken from the environment, so the token goes nowhere else.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING

from include.connectors.retry import RetryPolicy
from include.errors import NotYetError, RateLimitedError, TransientError
from include.esr.tcs.access import TokenKeeper, require_safe
from include.esr.tcs.answers import NoTimeLeftError, NotSentError, Outcome, UnreadableAnswerError, Verdict
from include.esr.tcs.breaker import CircuitBreaker
from include.esr.tcs.reading import (
    SUBJECT,
    Answer,
    failure_of,
    is_failure,
    is_of_the_api,
    judge,
    not_looked_up,
    outcome_of,
    was_failed_on,
    was_turned_away,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aiohttp import ClientResponse, ClientSession
    from yarl import URL

    from include.settings import Settings

PATIENCE = RetryPolicy(attempts=5, first_wait=0.5, longest_wait=8)
_CONNECT_SECONDS = 10.0
_IDLE_SECONDS = 3.0
_CHUNK = 65_536


@dataclass(frozen=True, slots=True)
class _Request:
    endpoint: str
    method: str
    path: str
    body: bytes | None = None
    until: float | None = None
    changes: bool = False


def _is_passing(error: BaseException) -> bool:
    """Tell whether another try makes sense now; an open breaker says when."""
    later = NotYetError | NoTimeLeftError | UnreadableAnswerError
    return isinstance(error, TransientError) and not isinstance(error, later)


def _did_not_happen(error: BaseException) -> bool:
    """Tell whether TCS certainly did not act on the call."""
    return isinstance(error, NotSentError | NotYetError) or was_turned_away(error)


def _changed_by(request: _Request) -> str | None:
    """Return what names the record a call changes, ``None`` for a lookup."""
    return request.path if request.changes else None


def _may_be_told_again(error: BaseException) -> bool:
    return _is_passing(error) and _did_not_happen(error)


class TcsSession:
    """Connections, token and breaker of one client; everything async runs in one event loop.

    Attributes:
        calls: How many requests went out, by ``<method> <endpoint>``, repeats included.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        progress: Callable[[str], None],
        patience: RetryPolicy,
    ) -> None:
        require_safe(settings.tcs_url, "SPOTLIGHT_TCS_URL")
        self._base = settings.tcs_url.rstrip("/")
        self._settings, self._patience = settings, patience
        self._max_bytes = settings.max_page_bytes
        self._breaker = CircuitBreaker(
            failures=settings.tcs_breaker_failures,
            seconds=settings.tcs_breaker_seconds,
            clock=time.monotonic,
            tell=progress,
        )
        self._token = TokenKeeper(settings)
        self._client: ClientSession | None = None
        self._quiet_until = 0.0
        self.calls: Counter[str] = Counter()

    async def ask(self, endpoint: str, method: str, path: str, body: bytes | None = None) -> Answer:
        """Return the answer to a lookup; 200 and nothing else.

        Raises:
            IntegrationError: As ``Tcs`` says.
        """
        answer = await self._insist(_Request(endpoint, method, path, body))
        if answer.status != HTTPStatus.OK:
            raise not_looked_up(endpoint, answer)
        return answer

    async def find(self, endpoint: str, path: str) -> Answer | None:
        """Return the answer to a lookup of one thing, ``None`` when TCS itself says there is none.

        A proxy, a gateway or a portal that says 404 is not TCS.

        Raises:
            IntegrationError: As ``Tcs`` says.
        """
        answer = await self._insist(_Request(endpoint, "GET", path))
        if answer.status == HTTPStatus.NOT_FOUND:
            if is_of_the_api(answer):
                return None
            raise UnreadableAnswerError(
                f"404 for {endpoint}, but not from TCS itself; nothing is concluded from it. Check "
                "SPOTLIGHT_TCS_URL, and the gateway before TCS, if it stays",
                subject=SUBJECT,
            )
        if answer.status != HTTPStatus.OK:
            raise not_looked_up(endpoint, answer)
        return answer

    async def change(self, endpoint: str, method: str, path: str, body: bytes) -> Outcome | TransientError:
        """Send a change that may be repeated, until it is applied or refused.

        Returns:
            The outcome, ``UNKNOWN`` when TCS keeps failing on it while the breaker is closed; or the
            failure, when there was no answer to it.

        Raises:
            IntegrationError: As ``Tcs`` says.
        """
        try:
            answer = await self._insist(_Request(endpoint, method, path, body, changes=True))
        except TransientError as error:
            if not _is_passing(error) or _did_not_happen(error) or self._is_long(error):
                raise
            return Outcome(Verdict.UNKNOWN, reason=error.message) if was_failed_on(error) else error
        if not is_of_the_api(answer):
            raise UnreadableAnswerError(
                f"a page, not TCS, answered a change ({answer.status}); it is sent again", subject=SUBJECT
            )
        return outcome_of(answer)

    async def tell(
        self, endpoint: str, path: str, body: bytes, *, until: float | None = None
    ) -> Outcome | TransientError:
        """Send a POST that must not be repeated once it left; tried again only while it has not.

        Returns:
            The outcome; or the failure, when TCS certainly did not get it: a ``NotYetError`` when it left
            the breaker open.

        Raises:
            ConfigurationError: TCS refuses the client.
        """
        request = _Request(endpoint, "POST", path, body, until, changes=True)
        try:
            answer = await self._persist(request, again=_may_be_told_again)
        except TransientError as error:
            if _did_not_happen(error):
                return self._breaker.opened_by(error) or error
            return Outcome(Verdict.UNKNOWN, reason=error.message)
        if not is_of_the_api(answer):
            return Outcome(Verdict.UNKNOWN, answer.status, "a page, not TCS, answered")
        return outcome_of(answer)

    async def close(self) -> None:
        """Close the connections."""
        if self._client is not None:
            await self._client.close()

    async def _insist(self, request: _Request) -> Answer:
        """Return the answer to what may be repeated; once the breaker has opened, later is soon enough."""
        try:
            return await self._persist(request)
        except TransientError as error:
            if later := self._breaker.opened_by(error):
                raise later from error
            raise

    async def _persist(
        self,
        request: _Request,
        *,
        again: Callable[[BaseException], bool] = _is_passing,
    ) -> Answer:
        """Return the answer to a request, tried again with back-off and jitter where that helps."""
        try:
            return await self._attempt(request)
        except TransientError as error:  # the loop below costs more than a call: only who needs it pays
            first = error
        failures = iter([first])

        async def attempt() -> Answer:
            for error in failures:
                raise error
            return await self._attempt(request)

        return await self._repeated(attempt, again)

    async def _repeated(
        self, attempt: Callable[[], Awaitable[Answer]], again: Callable[[BaseException], bool]
    ) -> Answer:
        from tenacity import AsyncRetrying, retry_if_exception

        policy = self._patience.retrying()
        retrying = AsyncRetrying(
            retry=retry_if_exception(again),
            stop=policy.stop,
            wait=policy.wait,
            sleep=asyncio.sleep,
            reraise=True,
        )
        try:
            return await retrying(attempt)
        except TransientError as error:
            tried = retrying.statistics.get("attempt_number", 1)
            if tried > 1 and not isinstance(error, NotYetError):
                error.message = f"{error.message} (tried {tried} times)"
            raise

    async def _attempt(self, request: _Request) -> Answer:
        """Make one try: admitted by the breaker, with a token that is renewed once when it is refused."""
        if self._quiet_until:
            await self._keep_quiet()
        probe = await self._breaker.admit()
        began = time.monotonic()
        try:
            answer = await self._with_token(request)
        except (NoTimeLeftError, UnreadableAnswerError):
            self._breaker.gave_up(probe=probe)
            raise
        except TransientError as error:
            timed_out = isinstance(error.__cause__, TimeoutError)
            change = None if isinstance(error, NotSentError) else _changed_by(request)
            self._breaker.failed(time.monotonic() if timed_out else began, probe=probe, change=change)
            raise
        except BaseException:
            self._breaker.gave_up(probe=probe)
            raise
        if is_failure(answer):
            self._breaker.failed(began, probe=probe, change=_changed_by(request))
            raise failure_of(request.endpoint, answer)
        self._breaker.succeeded(probe=probe)
        try:
            judge(request.endpoint, answer)
        except RateLimitedError as error:
            self._slow_down(error)
            raise
        return answer

    def _is_long(self, error: TransientError) -> bool:
        """Tell whether TCS asks to be left alone for longer than a task waits."""
        asked = error.retry_after if isinstance(error, RateLimitedError) else None
        return (asked or 0.0) > self._patience.longest_told_wait

    def _slow_down(self, error: RateLimitedError) -> None:
        """Hold all calls back, not only the one that was told, unless it is for longer than a task waits."""
        seconds = self._patience.first_wait if error.retry_after is None else error.retry_after
        if seconds <= self._patience.longest_told_wait:
            self._quiet_until = max(self._quiet_until, time.monotonic() + seconds)

    async def _keep_quiet(self) -> None:
        left = self._quiet_until - time.monotonic()
        if left > 0:
            await asyncio.sleep(left)
        else:
            self._quiet_until = 0.0

    async def _with_token(self, request: _Request) -> Answer:
        client = self._client or self._open()
        authorization = self._token.current or await self._token.renewed(client, None)
        answer = await self._exchange(client, request, authorization)
        if answer.status != HTTPStatus.UNAUTHORIZED:
            return answer
        # It may expire, or be revoked, in the middle of a run.
        return await self._exchange(client, request, await self._token.renewed(client, authorization))

    async def _exchange(self, client: ClientSession, request: _Request, authorization: str) -> Answer:
        from aiohttp import ClientConnectorError, ClientError, ConnectionTimeoutError

        if request.until is not None and time.monotonic() > request.until:
            raise NoTimeLeftError("there was no time left to send it", subject=SUBJECT)
        self.calls[f"{request.method} {request.endpoint}"] += 1
        headers = {"Authorization": authorization}
        if request.body is not None:
            headers["Content-Type"] = "application/json"
        try:
            async with client.request(
                request.method,
                self._url(request.path),
                data=request.body,
                headers=headers,
                allow_redirects=False,
            ) as response:
                body = await self._read(request, response)
                return Answer(response.status, body, response.headers)
        except (ClientConnectorError, ConnectionTimeoutError) as error:
            raise NotSentError(
                f"TCS cannot be reached ({type(error).__name__}); check SPOTLIGHT_TCS_URL if it stays",
                subject=SUBJECT,
            ) from None
        except TimeoutError as error:
            raise TransientError(
                f"no answer for {request.endpoint} within {self._settings.tcs_timeout:g} s", subject=SUBJECT
            ) from error
        except (ClientError, OSError) as error:
            raise TransientError(
                f"the connection broke during {request.endpoint} ({type(error).__name__})", subject=SUBJECT
            ) from None

    def _url(self, path: str) -> URL:
        from yarl import URL

        return URL(self._base + path, encoded=True)

    async def _read(self, request: _Request, response: ClientResponse) -> bytes:
        """Return the whole body, bounded: a list of everything would not fit the memory of a task.

        Raises:
            UnreadableAnswerError: It is larger, or compressed though that was not asked for.
        """
        if response.headers.get("Content-Encoding", "identity") != "identity":
            response.close()
            raise UnreadableAnswerError(f"a compressed answer for {request.endpoint}", subject=SUBJECT)
        length = response.content_length
        if length is not None and length <= self._max_bytes:  # the usual case, and no more can come
            return await response.read()
        parts: list[bytes] = []
        size = 0
        async for part in response.content.iter_chunked(_CHUNK):
            parts.append(part)
            size += len(part)
            if size > self._max_bytes:
                response.close()
                raise UnreadableAnswerError(
                    f"an answer of more than {self._max_bytes} bytes for {request.endpoint}", subject=SUBJECT
                )
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _open(self) -> ClientSession:
        from aiohttp import ClientSession, ClientTimeout, DummyCookieJar, TCPConnector

        width = self._settings.tcs_concurrency
        self._client = ClientSession(
            # A connection that idled is dropped before the other side does it while a call is on its way.
            connector=TCPConnector(limit=width, keepalive_timeout=_IDLE_SECONDS),
            cookie_jar=DummyCookieJar(),
            headers={"Accept": "application/json", "User-Agent": "spotlight-pipelines"},
            skip_auto_headers=["Accept-Encoding"],
            timeout=ClientTimeout(
                total=self._settings.tcs_timeout,
                sock_connect=min(_CONNECT_SECONDS, self._settings.tcs_timeout),
            ),
            auto_decompress=False,
            trust_env=False,
        )
        return self._client
