"""The manifest's ``client`` section: authentication, pagination and time limits, in dlt's words."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from include.connectors.manifest_types import Headers, Part, as_typed, sounds_secret
from include.connectors.placeholders import Secret

_SECRET_PARTS = ("token", "api_key", "password", "client_secret", "refresh_token")


class BearerAuth(Part):
    """A fixed token in the Authorization header."""

    type: Literal["bearer"]
    token: Secret


class ApiKeyAuth(Part):
    """A fixed key in a header, in the query or in a cookie."""

    type: Literal["api_key"]
    api_key: Secret
    name: str = "Authorization"
    location: Literal["header", "query", "cookie"] = "header"


class HttpBasicAuth(Part):
    """User name and password."""

    type: Literal["http_basic"]
    username: str
    password: Secret


class OAuth2ClientCredentials(Part):
    """A token fetched with client id and secret; ``access_token_url`` may be relative to base_url."""

    type: Literal["oauth2_client_credentials"]
    access_token_url: str
    client_id: str
    client_secret: Secret
    access_token_request_data: dict[str, str] = Field(default_factory=dict)
    default_token_expiration: Annotated[int, Field(ge=1)] = 3600


class OAuth2RefreshToken(Part):
    """A token fetched with a refresh token, which the partner may replace each time.

    The credential holds the first one; its successors are kept encrypted in the registry, written by one
    task at a time. A credential that a person has changed since counts more than they do.
    """

    type: Literal["oauth2_refresh_token"]
    access_token_url: str
    refresh_token: Secret
    client_id: str
    client_secret: Secret | None = None
    access_token_request_data: dict[str, str] = Field(default_factory=dict)
    default_token_expiration: Annotated[int, Field(ge=1)] = 3600


Auth = Annotated[
    BearerAuth | ApiKeyAuth | HttpBasicAuth | OAuth2ClientCredentials | OAuth2RefreshToken,
    Field(discriminator="type"),
]


class SinglePagePaginator(Part):
    """One answer holds everything."""

    type: Literal["single_page"]


class AutoPaginator(Part):
    """dlt finds out from the first answer; what it does not recognise is taken for a single page."""

    type: Literal["auto"]


class JsonLinkPaginator(Part):
    """The address of the next page stands in the answer.

    Attributes:
        same_host: Refuse an address on another host than the one that answered, even an allowed one.
    """

    type: Literal["json_link"]
    next_url_path: str = "next"
    same_host: bool = True


class HeaderLinkPaginator(Part):
    """The address of the next page stands in the Link header.

    Attributes:
        same_host: As for ``json_link``.
    """

    type: Literal["header_link"]
    links_next_key: str = "next"
    same_host: bool = True


class HeaderCursorPaginator(Part):
    """A cursor stands in a header."""

    type: Literal["header_cursor"]
    cursor_key: str = "next"
    cursor_param: str = "cursor"


class CursorPaginator(Part):
    """A cursor stands in the answer."""

    type: Literal["cursor"]
    cursor_path: str = "cursors.next"
    cursor_param: str | None = None
    cursor_body_path: str | None = None
    stop_after_empty_page: bool = False
    has_more_path: str | None = None


class OffsetPaginator(Part):
    """Offset and limit."""

    type: Literal["offset"]
    limit: Annotated[int, Field(ge=1)]
    offset: Annotated[int, Field(ge=0)] = 0
    offset_param: str | None = None
    offset_body_path: str | None = None
    limit_param: str | None = None
    limit_body_path: str | None = None
    total_path: str | None = "total"
    maximum_offset: int | None = None
    stop_after_empty_page: bool = True
    has_more_path: str | None = None


class PageNumberPaginator(Part):
    """Numbered pages."""

    type: Literal["page_number"]
    base_page: int = 0
    page: int | None = None
    page_param: str | None = None
    page_body_path: str | None = None
    total_path: str | None = "total"
    maximum_page: int | None = None
    stop_after_empty_page: bool = True
    has_more_path: str | None = None


Paginator = Annotated[
    SinglePagePaginator
    | AutoPaginator
    | JsonLinkPaginator
    | HeaderLinkPaginator
    | HeaderCursorPaginator
    | CursorPaginator
    | OffsetPaginator
    | PageNumberPaginator,
    Field(discriminator="type"),
    BeforeValidator(as_typed),
]


class Client(Part):
    """How to talk to the API.

    Attributes:
        timeout: Seconds for connecting and between two reads; the deployment's setting when absent.
        total_timeout: Seconds for one whole answer, so that one that drips cannot hold a run.
        charset: What bodies are encoded in when they are not UTF-8 and do not say.
    """

    headers: Headers = Field(default_factory=dict)
    auth: Auth | None = None
    paginator: Paginator = SinglePagePaginator(type="single_page")
    timeout: Annotated[float, Field(gt=0, le=600)] | None = None
    total_timeout: Annotated[float, Field(gt=0, le=3600)] = 300
    charset: str | None = None

    @property
    def login_is_secret(self) -> bool:
        """Return whether the credential's login is sent as a key or token, and not as a name."""
        words = self.auth.model_dump() if self.auth else {}
        texts = [words[name] for name in _SECRET_PARTS if words.get(name)]
        texts += [text for name, text in self.headers.items() if sounds_secret(name)]
        return any("{credential.login}" in text for text in texts)
