"""dlt's RESTClient, driven by our session; imported only when something is read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dlt.common.configuration.specs.runtime_configuration import (  # noqa: TID253 - see the module's line
    RuntimeConfiguration,
)
from dlt.sources.helpers.rest_client import RESTClient  # noqa: TID253 - see the module's line
from dlt.sources.helpers.rest_client.exceptions import (  # noqa: TID253
    IgnoreResponseException,
    PaginatorNotFound,
)
from dlt.sources.helpers.rest_client.paginators import JSONLinkPaginator  # noqa: TID253
from dlt.sources.rest_api.config_setup import create_paginator  # noqa: TID253

from include.connectors.answer import TRIED_AGAIN
from include.connectors.auth import make_auth
from include.connectors.host_guard import host_of
from include.errors import ConfigurationError, TransientError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from requests import Request
    from requests.auth import AuthBase

    from include.connectors.answer import Answer
    from include.connectors.host_guard import HostGuard
    from include.connectors.http import PartnerSession
    from include.connectors.manifest import Endpoint
    from include.connectors.manifest_client import Client, Paginator

__all__ = ["PartnerClient", "make_auth", "make_paginator"]


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
        self._home = host_of(base_url)
        self._same_host = True
        self._answered: str | None = None

    def read(self, endpoint: Endpoint, client: Client, params: dict[str, Any]) -> Iterator[Any]:
        """Yield dlt's pages of one endpoint; ``page.response`` is our ``Answer``.

        Raises:
            IntegrationError: As the session; also when the paginator cannot make sense of an answer.
        """
        words = endpoint.paginator or client.paginator
        paginator = make_paginator(words, endpoint.path, self._guard.subject)
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
        self._same_host = getattr(words, "same_host", True)
        self.session.expects = endpoint.response
        while True:
            try:
                page = next(pages, None)
            except (ValueError, TypeError, AttributeError, KeyError, PaginatorNotFound):
                # dlt's message quotes the whole answer, which may hold personal data.
                raise ConfigurationError(
                    f"paginator {words.type} cannot find its way in answer {self._asked} of "
                    f"{endpoint.path}; check the paginator's words against the partner's answer",
                    subject=self._guard.subject,
                ) from None
            if page is None:
                return
            yield page

    def _send_request(self, request: Request, **_: Any) -> Answer:
        if self._asked:
            self._check_next(request.url)
        self._asked += 1
        answer: Answer = self.session.send(self.session.prepare_request(self._for_its_host(request)))
        self._answered = host_of(answer.url)
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

    def _check_next(self, url: str) -> None:
        """Refuse a next-page link to another host."""
        why = f"the next-page link of answer {self._asked}"
        self._guard.check(url, why=why)
        if self._same_host and host_of(url) not in (self._answered, self._home):
            raise ConfigurationError(
                f"{why} leads to {host_of(url)}, another host than the one that answered; refused, no "
                "credential sent; if the partner pages so, write same_host: false in the paginator",
                subject=self._guard.subject,
            )

    def _for_its_host(self, request: Request) -> Request:
        """Return the request as its host may see it: only that of ``base_url`` gets the credential."""
        if host_of(request.url) == self._home:
            return request
        from requests import Request as Asked

        secret = {name.casefold() for name in self.session.credential_headers}
        headers = {name: value for name, value in request.headers.items() if name.casefold() not in secret}
        return Asked(request.method, request.url, headers=headers, params=request.params, json=request.json)

    def extract_response(self, response: Answer, _: Any) -> list[Any]:
        """Return the records of an answer."""
        return self._select(response)


class LinkInAnswer(JSONLinkPaginator):  # type: ignore[misc]
    """A link in the answer, of which blank text and false are none too.

    xAPI ends its lists with ``"more": ""`` (Communication, section 4.2); dlt would ask for that address.
    """

    _next_reference: Any  # dlt's property: setting it to nothing ends the list

    def update_state(self, response: Answer, data: list[Any] | None = None) -> None:
        """Take the next link from the answer."""
        super().update_state(response, data)
        if not self._next_reference:
            self._next_reference = None


def make_paginator(words: Paginator, path: str, subject: str) -> Any:
    """Return dlt's paginator for an endpoint, with exactly the words the manifest uses.

    ``None`` is dlt's word for finding out from the first answer.

    Raises:
        ConfigurationError: dlt does not accept them together.
    """
    told = words.model_dump(exclude_unset=True, exclude={"same_host"})
    if words.type == "json_link":
        return LinkInAnswer(words.next_url_path)
    try:
        return create_paginator(told)
    except (ValueError, TypeError) as error:
        raise ConfigurationError(f"paginator of {path}: {error}", subject=subject) from error
