"""dlt's RESTClient, driven by our session; imported only when something is read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dlt.common.configuration.specs.runtime_configuration import (  # noqa: TID253 - see the module's line
    RuntimeConfiguration,
)
from dlt.sources.helpers.rest_client import RESTClient  # noqa: TID253 - see the module's line
from dlt.sources.helpers.rest_client.auth import OAuth2ClientCredentials  # noqa: TID253
from dlt.sources.helpers.rest_client.exceptions import IgnoreResponseException  # noqa: TID253
from dlt.sources.rest_api.config_setup import AUTH_MAP, create_paginator  # noqa: TID253

from include.connectors.answer import TRIED_AGAIN
from include.connectors.placeholders import resolve
from include.errors import ConfigurationError, TransientError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from requests import PreparedRequest, Request
    from requests.auth import AuthBase

    from include.connectors.answer import Answer
    from include.connectors.host_guard import HostGuard
    from include.connectors.http import PartnerSession
    from include.connectors.manifest import Endpoint
    from include.connectors.manifest_client import Auth, Client
    from include.connectors.redaction import Redactor
    from include.registry.models import Credential


class PartnerClient(RESTClient):  # type: ignore[misc]
    """A RESTClient that reads no configuration, logs no request and selects records our way.

    Args:
        base_url: Of the row.
        headers: Of the manifest, resolved.
        auth: Signs each request.
        session: Sends it.
        guard: Names the next-page link in its refusal.
        select: Returns the records of an answer.
    """

    def __init__(
        self,
        *,
        base_url: str,
        headers: dict[str, str],
        auth: AuthBase | None,
        session: PartnerSession,
        guard: HostGuard,
        select: Callable[[Answer], list[Any]],
    ) -> None:
        # An explicit configuration: without one dlt looks into files and the environment.
        runtime = RuntimeConfiguration(dlthub_telemetry=False)
        super().__init__(base_url=base_url, headers=headers, auth=auth, session=session, config=runtime)
        self._guard = guard
        self._select = select
        self._asked = 0

    def read(self, endpoint: Endpoint, client: Client, params: dict[str, Any]) -> Iterator[Any]:
        """Yield dlt's pages of one endpoint; ``page.response`` is our ``Answer``.

        Raises:
            IntegrationError: As the session; also when the paginator cannot make sense of an answer.
        """
        paginator = make_paginator(endpoint, client, self._guard.subject)
        pages = self.paginate(
            path=endpoint.path,
            method=endpoint.method,
            params=params,
            json=endpoint.json_,
            paginator=paginator,
            data_selector="$",
            hooks={"response": []},
        )
        self._asked = 0
        while True:
            try:
                page = next(pages, None)
            except (ValueError, TypeError, AttributeError, KeyError):
                # dlt's message quotes the whole answer, which may hold personal data.
                raise ConfigurationError(
                    f"{type(paginator).__name__} cannot find its way in answer {self._asked} of "
                    f"{endpoint.path}; check the paginator's words against the partner's answer",
                    subject=self._guard.subject,
                ) from None
            if page is None:
                return
            yield page

    def _send_request(self, request: Request, **_: Any) -> Answer:
        if self._asked:
            self._guard.check(request.url, why=f"the next-page link of answer {self._asked}")
        self._asked += 1
        answer: Answer = self.session.send(self.session.prepare_request(request))
        if answer.ignored and self._asked > 1:
            # dlt would take it for the end: a list cut short would look complete, and move a checkpoint.
            raise TransientError(
                f"{answer.status_code} from {answer.where}: nothing to read in answer {self._asked}, in the "
                f"middle of a list; {TRIED_AGAIN}",
                subject=self._guard.subject,
            )
        if answer.ignored:
            raise IgnoreResponseException
        return answer

    def extract_response(self, response: Answer, _: Any) -> list[Any]:
        """Return the records of an answer."""
        return self._select(response)


def make_paginator(endpoint: Endpoint, client: Client, subject: str) -> Any:
    """Return dlt's paginator for an endpoint, with exactly the words the manifest uses.

    Raises:
        ConfigurationError: dlt does not accept them together.
    """
    words = (endpoint.paginator or client.paginator).model_dump(exclude_unset=True)
    try:
        return create_paginator(words)
    except (ValueError, TypeError) as error:
        raise ConfigurationError(f"paginator of {endpoint.path}: {error}", subject=subject) from error


class TokenEndpoint:
    """What dlt's OAuth2 authenticator posts to: our session, with a look at the answer.

    dlt would take a missing ``access_token`` for the token ``None``.
    """

    def __init__(self, session: PartnerSession, redactor: Redactor, subject: str) -> None:
        self._session, self._redactor, self._subject = session, redactor, subject

    def post(self, url: str, *, headers: dict[str, str], data: dict[str, str]) -> Answer:
        """Return the answer to a token request.

        Raises:
            ConfigurationError: The client is refused, or the answer holds no token; pauses.
        """
        try:
            answer = self._session.post(url, headers=headers, data=data)
        except ConfigurationError as error:
            error.pauses = True
            raise
        told = answer.json() if not answer.ignored else None
        told = told if isinstance(told, dict) else {}
        token = told.get("access_token")
        if not isinstance(token, str) or not token or not isinstance(told.get("expires_in", 1), (int, float)):
            raise ConfigurationError(
                f"{answer.status_code} from {answer.where} gave no access_token; check access_token_url",
                pauses=True,
                subject=self._subject,
            )
        self._redactor.add(token)
        return answer


def make_auth(
    auth: Auth | None,
    credential: Credential,
    session: PartnerSession,
    redactor: Redactor,
    *,
    base_url: str,
    subject: str,
) -> AuthBase | None:
    """Return dlt's authenticator with the credential filled in, and tell the session how to renew it."""
    if auth is None:
        return None
    words = {key: _filled(value, credential) for key, value in auth.model_dump(exclude={"type"}).items()}
    if auth.type != "oauth2_client_credentials":
        if auth.type == "api_key" and auth.location == "header":
            session.credential_headers.add(auth.name)
        return AUTH_MAP[auth.type](**words)  # type: ignore[no-any-return]
    if "://" not in words["access_token_url"]:
        words["access_token_url"] = f"{base_url.rstrip('/')}/{words['access_token_url'].lstrip('/')}"
    oauth = OAuth2ClientCredentials(**words, session=TokenEndpoint(session, redactor, subject))

    def renew(request: PreparedRequest) -> None:
        oauth.obtain_token()
        oauth(request)

    session.renew = renew
    return oauth  # type: ignore[no-any-return]


def _filled(value: Any, credential: Credential) -> Any:
    if isinstance(value, str):
        return resolve(value, credential)
    if isinstance(value, dict):
        return {key: _filled(entry, credential) for key, entry in value.items()}
    return value
