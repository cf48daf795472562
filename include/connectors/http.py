"""The one session that talks to partners: host guard, budget, time and size limits, retry."""

from __future__ import annotations

from http import HTTPStatus
from http.client import HTTPException
from time import monotonic
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin

from include.connectors.addresses import UnresolvedError
from include.connectors.answer import TRIED_AGAIN, Answer
from include.connectors.host_guard import host_of
from include.connectors.placeholders import CredentialError, holds_control_characters
from include.errors import (
    ConfigurationError,
    FatalError,
    IntegrationError,
    NotYetError,
    RateLimitedError,
    TransientError,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    import requests

    from include.connectors.error_rules import ErrorRules
    from include.connectors.host_guard import HostGuard
    from include.connectors.limits import Budget, Limits, Place
    from include.connectors.manifest_format import ResponseFormat
    from include.connectors.redaction import Redactor
    from include.connectors.retry import RetryPolicy

_CHUNK = 65_536
_MAX_REDIRECTS = 5
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_CREDENTIAL_HEADERS = ("Authorization", "Proxy-Authorization", "Cookie")
_BODY_HEADERS = ("Content-Length", "Content-Type", "Transfer-Encoding")
_MAX_RATIO = 200
_RATIO_FROM = 1024 * 1024
"""Decoded bytes from which on the ratio counts: a page of like records may well shrink to a hundredth."""


class PartnerSession:
    """Sends requests to one partner and hands out complete, judged answers.

    Has the methods of ``requests.Session`` that dlt's client and authenticators call, and only
    those: there is no way around the guard. Nothing is taken from the environment (no proxy, no
    ``.netrc``).

    Args:
        guard: Which hosts may be asked.
        limits: Time and size.
        budget: How often, and how many at once; told what came of it.
        rules: What answers mean.
        redactor: Keeps secrets out of messages.
        retry: When to try again.
        charset: The manifest's charset for bodies that are not UTF-8.
    """

    def __init__(
        self,
        *,
        guard: HostGuard,
        limits: Limits,
        budget: Budget,
        rules: ErrorRules,
        redactor: Redactor,
        retry: RetryPolicy,
        charset: str | None = None,
    ) -> None:
        import requests

        from include.connectors.wire import GuardedAdapter

        self._guard, self._limits, self._budget, self._rules = guard, limits, budget, rules
        self._redactor, self._retry, self._charset = redactor, retry, charset
        self._session = requests.Session()
        self._session.trust_env = False
        self._session.adapters.clear()
        for scheme in ("https://", "http://"):
            self._session.mount(scheme, GuardedAdapter(guard.addresses, limits, guard.subject))
        self._session.headers["Accept"] = "application/json"
        self._session.headers["Accept-Encoding"] = "gzip, deflate"
        self._session.headers["User-Agent"] = "spotlight-pipelines"
        self.credential_headers: set[str] = set(_CREDENTIAL_HEADERS)
        self.renew: Callable[[requests.PreparedRequest], None] | None = None
        self.expects: ResponseFormat | None = None
        """What the bodies of the resource now being read are; ``None`` for JSON."""

    def prepare_request(self, request: requests.Request) -> requests.PreparedRequest:
        """Return the request as it will be sent, signed.

        Raises:
            ConfigurationError: Its address is not one, or a header holds what none may.
        """
        self._guard.check(request.url)
        try:
            prepared = self._session.prepare_request(request)
        except ValueError as error:  # its text may quote a header
            raise self._refused(f"a request cannot be built ({type(error).__name__})") from None
        self._require_sendable(prepared)
        return prepared

    def merge_environment_settings(self, *_: Any) -> dict[str, Any]:
        """Return nothing: the environment has no say."""
        return {}

    def post(self, url: str, *, headers: dict[str, str], data: dict[str, str], once: bool = False) -> Answer:
        """Post a form, such as a token request, under the same guard, budget and retry.

        Args:
            url: Absolute address.
            headers: Of the request.
            data: The form.
            once: It is not tried again here, since what was sent may be used up by the first try.

        Raises:
            IntegrationError: As ``send``.
        """
        import requests

        request = self.prepare_request(requests.Request("POST", url, headers=headers, data=data))
        if not once:
            return self.send(request, renewable=False)
        answer = self.exchange(request, renewable=False)
        self._rules.judge(answer)
        return answer

    def send(self, request: requests.PreparedRequest, *, renewable: bool = True, **_: Any) -> Answer:
        """Return the answer to a request, after retries, redirects and at most one renewed token.

        Raises:
            TransientError: Still failing after all tries.
            RateLimitedError: Still throttled, or told to wait longer than a run should.
            NotYetError: The partner is left alone for a while after failures; nothing was sent.
            ConfigurationError: Refused, another host, too large, not JSON.
        """
        attempts = self._retry.retrying()
        try:
            answer: Answer = attempts(self._attempt, request, renewable=renewable)
        except NotYetError:
            raise
        except TransientError as error:
            self._count_against(error)
            tried = attempts.statistics.get("attempt_number", 1)
            error.message = f"{error.message} (tried {tried} times)" if tried > 1 else error.message
            raise
        self._budget.judged(well=True)
        return answer

    def exchange(self, request: requests.PreparedRequest, *, renewable: bool = True) -> Answer:
        """Return the answer to one request as it is: one try, at most one renewed token, no judgement.

        For requests that change something at the partner: whoever asks decides what an answer, or none,
        means. Redirects are followed under the same guard.

        Raises:
            TransientError: No complete answer; whether the partner acted on the request is not known.
            NotYetError: The partner is left alone for a while, or the budget cannot be had; nothing was sent.
            RateLimitedError: The budget cannot be had soon; nothing was sent.
            ConfigurationError: Another host, an answer too large.
        """
        try:
            answer = self._acted(request)
            if answer.status_code == HTTPStatus.UNAUTHORIZED and renewable and self.renew is not None:
                self.renew(request)
                answer = self._acted(request)
        except TransientError as error:
            self._count_against(error)
            raise
        throttled = self._rules.throttling(answer)
        if throttled is None:
            self._budget.judged(well=answer.status_code < HTTPStatus.INTERNAL_SERVER_ERROR)
        else:
            self._budget.throttled(throttled.retry_after)
        return answer

    def close(self) -> None:
        """Close idle connections."""
        self._session.close()

    def _attempt(self, request: requests.PreparedRequest, *, renewable: bool) -> Answer:
        answer = self._follow(request)
        if answer.status_code == HTTPStatus.UNAUTHORIZED and renewable and self.renew is not None:
            # A token can expire, or be rotated, in the middle of a run: once per request is enough.
            self.renew(request)
            answer = self._follow(request)
        try:
            self._rules.judge(answer)
        except RateLimitedError as error:
            self._budget.throttled(error.retry_after)
            raise
        except (ConfigurationError, FatalError):
            # Refused, but answered: the partner's server is well.
            if answer.status_code < HTTPStatus.INTERNAL_SERVER_ERROR:
                self._budget.judged(well=True)
            raise
        return answer

    def _count_against(self, error: TransientError) -> None:
        """Count a failure against the partner, unless it was throttled, not asked, or not found by name."""
        if not isinstance(error, (NotYetError, RateLimitedError, UnresolvedError)):
            self._budget.judged(well=False)

    def _acted(self, request: requests.PreparedRequest) -> Answer:
        """Return the answer to a request that may have acted although its redirect cannot be followed."""
        answer = self._exchange(request)
        try:
            return self._redirects(request, answer)
        except (NotYetError, RateLimitedError) as error:
            raise TransientError(
                f"{answer.where} redirects, and the target is not asked now: {error.message}",
                subject=self._guard.subject,
            ) from None

    def _follow(self, request: requests.PreparedRequest) -> Answer:
        return self._redirects(request, self._exchange(request))

    def _redirects(self, request: requests.PreparedRequest, answer: Answer) -> Answer:
        for _ in range(_MAX_REDIRECTS):
            if (location := _target(answer)) is None:
                return answer
            try:
                request = self._redirected(request, answer, location)
            except ConfigurationError:
                self._budget.judged(well=True)  # it answered, if not as we like
                raise
            answer = self._exchange(request)
        if _target(answer) is None:
            return answer
        raise self._refused(f"{answer.where} redirects more than {_MAX_REDIRECTS} times")

    def _redirected(
        self, request: requests.PreparedRequest, answer: Answer, location: str
    ) -> requests.PreparedRequest:
        target = urljoin(answer.url, location)
        self._guard.check(target, why=f"the redirect of {answer.where}")
        following = request.copy()
        following.prepare_url(target, None)
        elsewhere = host_of(target) != host_of(answer.url)
        if elsewhere:
            for name in self.credential_headers:
                following.headers.pop(name, None)
        turns_into_get = answer.status_code == HTTPStatus.SEE_OTHER or (
            answer.status_code in (HTTPStatus.MOVED_PERMANENTLY, HTTPStatus.FOUND)
            and request.method == "POST"
        )
        if turns_into_get:
            following.method, following.body = "GET", None
            for name in _BODY_HEADERS:
                following.headers.pop(name, None)
        if elsewhere and following.body:
            # A body may hold a client's secret or a candidate's data: no header can be dropped of those.
            raise self._refused(
                f"{answer.where} redirects a request with a body to another host; refused, it was not sent "
                "there; correct base_url or the path, or ask the partner why"
            )
        return following

    def _exchange(self, request: requests.PreparedRequest) -> Answer:
        """Send one request and read its whole answer, within the limits."""
        import requests
        import urllib3

        from include.connectors.wire import HeadersTooLargeError

        url = str(request.url)
        self._guard.check(url)
        where = f"{request.method} {self._redactor.url(url)}"
        place = self._budget.enter()
        deadline = monotonic() + self._limits.total_timeout
        try:
            return self._read(request, where, place, deadline)
        except HeadersTooLargeError:
            raise self._refused(f"{where} answers with headers that do not end; tell the partner") from None
        except requests.exceptions.SSLError as error:
            raise self._unsafe(where, error) from None
        except (requests.exceptions.Timeout, urllib3.exceptions.TimeoutError):
            raise self._timed_out(where, deadline) from None
        except requests.exceptions.ConnectionError:
            raise TransientError(
                f"{where} cannot be reached; {TRIED_AGAIN}; check base_url if it never worked",
                subject=self._guard.subject,
            ) from None
        except (requests.exceptions.RequestException, ValueError) as error:
            # A ValueError of http.client quotes the header, secret and all.
            raise self._refused(f"{where} cannot be sent ({type(error).__name__})") from None
        except (urllib3.exceptions.HTTPError, HTTPException, OSError):
            raise TransientError(
                f"{where} broke off in mid-answer; {TRIED_AGAIN}", subject=self._guard.subject
            ) from None
        finally:
            self._budget.leave(place)

    def _require_sendable(self, request: requests.PreparedRequest) -> None:
        """Refuse before anything is sent what ``http.client`` would refuse with the header in its message."""
        secret = {name.lower() for name in self.credential_headers}
        for name, value in request.headers.items():
            text = value.decode("latin-1") if isinstance(value, bytes) else value
            if holds_control_characters(text) or not _is_latin(text):
                kind = CredentialError if name.lower() in secret else ConfigurationError
                raise kind(
                    f"header {name} holds a character that none may (a line end, another control character, "
                    "or one beyond Latin-1); nothing was sent; correct the credential or the manifest",
                    subject=self._guard.subject,
                )

    def _read(self, request: requests.PreparedRequest, where: str, place: Place, deadline: float) -> Answer:
        response = self._session.send(
            request, stream=True, allow_redirects=False, verify=True, timeout=self._limits.timeout
        )
        try:
            content = self._content(response, where, deadline, place)
        finally:
            response.close()
        return Answer(
            method=str(request.method),
            url=str(request.url),
            shown_url=self._redactor.url(str(request.url)),
            status_code=response.status_code,
            headers=response.headers,
            content=content,
            request_body=request.body,
            completed_at=self._retry.now(),
            charset=self._charset,
            expects=self.expects,
            max_bytes=self._limits.max_page_bytes,
        )

    def _content(self, response: requests.Response, where: str, deadline: float, place: Place) -> bytes:
        """Read the body, counting decoded bytes: a small compressed answer can be a very large one.

        ``read1`` returns what has come; ``read`` would wait for a whole chunk, and a server that
        sends a byte a second could hold it for hours.
        """
        chunks: list[bytes] = []
        size = 0
        while chunk := response.raw.read1(_CHUNK, decode_content=True):
            size += len(chunk)
            if size > self._limits.max_page_bytes:
                raise self._refused(
                    f"{where} answers with more than {self._limits.max_page_bytes} bytes; ask for smaller "
                    "pages in the manifest, or raise SPOTLIGHT_MAX_PAGE_BYTES"
                )
            if size > max(_RATIO_FROM, _MAX_RATIO * response.raw.tell()):
                raise self._refused(
                    f"{where} answers with what unpacks to more than {_MAX_RATIO} times its size: no honest "
                    "list does; tell the partner"
                )
            self._budget.keep(place)
            if monotonic() > deadline:
                raise self._timed_out(where, deadline)
            chunks.append(chunk)
        return b"".join(chunks)

    def _timed_out(self, where: str, deadline: float) -> TransientError:
        late = monotonic() >= deadline
        told = f"was not complete after {self._limits.total_timeout:g} s" if late else "timed out"
        return TransientError(f"{where} {told}; {TRIED_AGAIN}", subject=self._guard.subject)

    def _unsafe(self, where: str, error: Exception) -> IntegrationError:
        if "certificate" in str(error).lower():
            return self._refused(
                f"{where}: the server's certificate is not valid; ask the partner to renew it"
            )
        return TransientError(
            f"{where}: the secure connection failed; {TRIED_AGAIN}", subject=self._guard.subject
        )

    def _refused(self, message: str) -> ConfigurationError:
        return ConfigurationError(self._redactor.text(message), subject=self._guard.subject)


def _is_latin(text: str) -> bool:
    return all(ord(character) < 256 for character in text)  # noqa: PLR2004 - where Latin-1 ends


def _target(answer: Answer) -> str | None:
    """Return where an answer redirects to, ``None`` if it does not."""
    return answer.headers.get("Location") or None if answer.status_code in _REDIRECTS else None
