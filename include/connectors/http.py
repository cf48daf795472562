"""The one session that talks to partners: host guard, budget, time and size limits, retry."""

from __future__ import annotations

from http import HTTPStatus
from http.client import HTTPException
from threading import BoundedSemaphore
from time import monotonic
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin

from include.connectors.answer import TRIED_AGAIN, Answer
from include.connectors.host_guard import host_of
from include.errors import ConfigurationError, IntegrationError, TransientError

if TYPE_CHECKING:
    from collections.abc import Callable

    import requests

    from include.connectors.error_rules import ErrorRules
    from include.connectors.host_guard import HostGuard
    from include.connectors.limits import Limits
    from include.connectors.redaction import Redactor
    from include.connectors.retry import RetryPolicy

_CHUNK = 65_536
_MAX_REDIRECTS = 5
_CREDENTIAL_HEADERS = ("Authorization", "Proxy-Authorization", "Cookie")
_BODY_HEADERS = ("Content-Length", "Content-Type", "Transfer-Encoding")


class PartnerSession:
    """Sends requests to one partner and hands out complete, judged answers.

    Has the methods of ``requests.Session`` that dlt's client and authenticators call, and only
    those: there is no way around the guard. Nothing is taken from the environment (no proxy, no
    ``.netrc``).

    Args:
        guard: Which hosts may be asked.
        limits: Budget, time and size.
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
        rules: ErrorRules,
        redactor: Redactor,
        retry: RetryPolicy,
        charset: str | None = None,
    ) -> None:
        import requests

        self._guard, self._limits, self._rules = guard, limits, rules
        self._redactor, self._retry, self._charset = redactor, retry, charset
        self._budget = limits.budget()
        self._slots = BoundedSemaphore(limits.max_concurrency)
        self._session = requests.Session()
        self._session.trust_env = False
        self._session.headers["Accept"] = "application/json"
        self._session.headers["Accept-Encoding"] = "gzip, deflate"
        self._session.headers["User-Agent"] = "spotlight-pipelines"
        self.credential_headers: set[str] = set(_CREDENTIAL_HEADERS)
        self.renew: Callable[[requests.PreparedRequest], None] | None = None

    def prepare_request(self, request: requests.Request) -> requests.PreparedRequest:
        """Return the request as it will be sent, signed.

        Raises:
            ConfigurationError: Its address is not one.
        """
        import requests

        try:
            self._guard.check(request.url)
            return self._session.prepare_request(request)
        except (requests.exceptions.InvalidURL, requests.exceptions.InvalidHeader) as error:
            raise self._refused(f"a request cannot be built ({type(error).__name__})") from None

    def merge_environment_settings(self, *_: Any) -> dict[str, Any]:
        """Return nothing: the environment has no say."""
        return {}

    def post(self, url: str, *, headers: dict[str, str], data: dict[str, str]) -> Answer:
        """Post a form, such as a token request, under the same guard, budget and retry.

        Raises:
            IntegrationError: As ``send``.
        """
        import requests

        request = self.prepare_request(requests.Request("POST", url, headers=headers, data=data))
        return self.send(request, renewable=False)

    def send(self, request: requests.PreparedRequest, *, renewable: bool = True, **_: Any) -> Answer:
        """Return the answer to a request, after retries, redirects and at most one renewed token.

        Raises:
            TransientError: Still failing after all tries.
            RateLimitedError: Still throttled, or told to wait longer than a run should.
            ConfigurationError: Refused, another host, too large, not JSON.
        """
        attempts = self._retry.retrying()
        try:
            return attempts(self._attempt, request, renewable=renewable)
        except TransientError as error:
            tried = attempts.statistics.get("attempt_number", 1)
            error.message = f"{error.message} (tried {tried} times)" if tried > 1 else error.message
            raise

    def close(self) -> None:
        """Close idle connections."""
        self._session.close()

    def _attempt(self, request: requests.PreparedRequest, *, renewable: bool) -> Answer:
        answer = self._follow(request)
        if answer.status_code == HTTPStatus.UNAUTHORIZED and renewable and self.renew is not None:
            # A token can expire, or be rotated, in the middle of a run: once per request is enough.
            self.renew(request)
            answer = self._follow(request)
        self._rules.judge(answer)
        return answer

    def _follow(self, request: requests.PreparedRequest) -> Answer:
        for _ in range(_MAX_REDIRECTS + 1):
            answer = self._exchange(request)
            location = answer.headers.get("Location")
            if answer.status_code not in (301, 302, 303, 307, 308) or not location:
                return answer
            request = self._redirected(request, answer, location)
        raise self._refused(f"{answer.where} redirects more than {_MAX_REDIRECTS} times")

    def _redirected(
        self, request: requests.PreparedRequest, answer: Answer, location: str
    ) -> requests.PreparedRequest:
        target = urljoin(answer.url, location)
        self._guard.check(target, why=f"the redirect of {answer.where}")
        following = request.copy()
        following.prepare_url(target, None)
        if host_of(target) != host_of(answer.url):
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
        return following

    def _exchange(self, request: requests.PreparedRequest) -> Answer:
        """Send one request and read its whole answer, within the limits."""
        import requests
        import urllib3

        url = str(request.url)
        self._guard.check(url)
        where = f"{request.method} {self._redactor.url(url)}"
        self._budget()
        try:
            with self._slots:
                return self._read(request, where)
        except requests.exceptions.SSLError as error:
            raise self._unsafe(where, error) from None
        except (requests.exceptions.Timeout, urllib3.exceptions.TimeoutError):
            raise TransientError(f"{where} timed out; {TRIED_AGAIN}", subject=self._guard.subject) from None
        except requests.exceptions.ConnectionError:
            raise TransientError(
                f"{where} cannot be reached; {TRIED_AGAIN}; check base_url if it never worked",
                subject=self._guard.subject,
            ) from None
        except requests.exceptions.RequestException as error:
            raise self._refused(f"{where} cannot be sent ({type(error).__name__})") from None
        except (urllib3.exceptions.HTTPError, HTTPException, OSError):
            raise TransientError(
                f"{where} broke off in mid-answer; {TRIED_AGAIN}", subject=self._guard.subject
            ) from None

    def _read(self, request: requests.PreparedRequest, where: str) -> Answer:
        deadline = monotonic() + self._limits.total_timeout
        response = self._session.send(
            request, stream=True, allow_redirects=False, verify=True, timeout=self._limits.timeout
        )
        try:
            content = self._content(response, where, deadline)
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
        )

    def _content(self, response: requests.Response, where: str, deadline: float) -> bytes:
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
            if monotonic() > deadline:
                raise TransientError(
                    f"{where} was not complete after {self._limits.total_timeout:g} s; {TRIED_AGAIN}",
                    subject=self._guard.subject,
                )
            chunks.append(chunk)
        return b"".join(chunks)

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
