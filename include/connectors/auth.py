"""Signs requests as the manifest's ``auth`` says; imported only when something is read."""

from __future__ import annotations

import re
from threading import Lock
from typing import TYPE_CHECKING, Any

from dlt.sources.helpers.rest_client.auth import OAuth2ClientCredentials  # noqa: TID253 - see the module's line
from dlt.sources.rest_api.config_setup import AUTH_MAP  # noqa: TID253
from requests.auth import AuthBase  # noqa: TID253

from include.connectors.host_guard import host_of
from include.connectors.placeholders import CredentialError, resolve
from include.connectors.tokens import RefreshedToken, TokenEndpoint, seconds_told

if TYPE_CHECKING:
    from collections.abc import Callable

    from requests import PreparedRequest

    from include.connectors.http import PartnerSession
    from include.connectors.manifest_client import ApiKeyAuth, Auth, OAuth2RefreshToken
    from include.connectors.redaction import Redactor
    from include.registry.models import Credential
    from include.settings import Settings

_COOKIE_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_COOKIE_VALUE = re.compile(r"[!#-+\--:<-\[\]-~]+")  # RFC 6265: no space, quote, comma, semicolon, backslash


class CookieKey(AuthBase):
    """A fixed key in a cookie, beside whatever cookies the request has."""

    def __init__(self, name: str, key: str) -> None:
        self._pair = f"{name}={key}"

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        """Add the cookie."""
        others = [
            part
            for part in str(request.headers.get("Cookie", "")).split("; ")
            if part and part.partition("=")[0] != self._pair.partition("=")[0]
        ]
        request.headers["Cookie"] = "; ".join([*others, self._pair])
        return request


class SharedClientToken(OAuth2ClientCredentials):  # type: ignore[misc]
    """dlt's client credentials for several threads: one token, fetched once for each refusal."""

    def __init__(self, **words: Any) -> None:
        super().__init__(**words)
        self._lock = Lock()

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        """Sign with the token, fetched if need be."""
        with self._lock:
            return super().__call__(request)  # type: ignore[no-any-return]

    def renew(self, request: PreparedRequest) -> None:
        """Fetch another token, unless the refused request was signed with one replaced meanwhile."""
        with self._lock:
            if request.headers.get("Authorization") == f"Bearer {self.access_token}":
                self.obtain_token()

    def parse_access_token(self, response_json: Any) -> str:
        """Return the token of an answer; an odd ``expires_in`` is the usual one."""
        response_json["expires_in"] = seconds_told(response_json, self.default_token_expiration)
        return super().parse_access_token(response_json)  # type: ignore[no-any-return]


class RefreshTokenAuth(AuthBase):
    """A bearer token that all tasks of an NPO share; see ``RefreshedToken``."""

    def __init__(self, token: RefreshedToken) -> None:
        self._token = token

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        """Sign with the token, fetched or renewed if need be."""
        request.headers["Authorization"] = f"Bearer {self._token.value()}"
        return request

    def renew(self, request: PreparedRequest) -> None:
        """Take the token of a refused request as refused: the next is signed with another."""
        self._token.refused(str(request.headers.get("Authorization", "")).removeprefix("Bearer "))


def make_auth(
    auth: Auth | None,
    credential: Credential,
    session: PartnerSession,
    redactor: Redactor,
    *,
    base_url: str,
    subject: str,
    settings: Settings | None = None,
) -> AuthBase | None:
    """Return what signs requests, the credential filled in, and tell the session how to renew it.

    Args:
        auth: Of the manifest; ``None`` signs nothing.
        credential: What the row's ``credential_ref`` resolves to.
        session: Asks for tokens, and drops what is secret on the way to another host.
        redactor: Told every token.
        base_url: Of the row; only its host gets a renewed token.
        subject: The NPO.
        settings: Where rotated tokens are kept; those of the process when left out.

    Raises:
        ConfigurationError: The credential lacks a part, or one that cannot be sent.
    """
    if auth is None:
        return None
    words = {key: _filled(value, credential) for key, value in auth.model_dump(exclude={"type"}).items()}
    if auth.type == "api_key":
        return _api_key(auth, words, session, subject)
    if auth.type == "oauth2_refresh_token":
        return _refresh_token(auth, words, session, redactor, base_url, subject, settings)
    if auth.type != "oauth2_client_credentials":
        return AUTH_MAP[auth.type](**words)  # type: ignore[no-any-return]
    words["access_token_url"] = _absolute(words["access_token_url"], base_url)
    oauth = SharedClientToken(**words, session=TokenEndpoint(session, redactor, subject))
    session.renew = _only_at(base_url, oauth.renew, oauth)
    return oauth


def _api_key(auth: ApiKeyAuth, words: dict[str, Any], session: PartnerSession, subject: str) -> AuthBase:
    if auth.location == "cookie":
        if not (_COOKIE_NAME.fullmatch(auth.name) and _COOKIE_VALUE.fullmatch(words["api_key"])):
            raise CredentialError(
                "client.auth: the name or the key holds a character that no cookie may (space, comma, "
                "semicolon, quote); correct the manifest or the connection",
                subject=subject,
            )
        return CookieKey(auth.name, words["api_key"])
    if auth.location == "header":
        session.credential_headers.add(auth.name)
    return AUTH_MAP["api_key"](**words)  # type: ignore[no-any-return]


def _refresh_token(
    auth: OAuth2RefreshToken,
    words: dict[str, Any],
    session: PartnerSession,
    redactor: Redactor,
    base_url: str,
    subject: str,
    settings: Settings | None,
) -> RefreshTokenAuth:
    from include.connectors.tokens import Grant
    from include.settings import get_settings

    grant = Grant(
        url=_absolute(words["access_token_url"], base_url),
        refresh_token=words["refresh_token"],
        client_id=words["client_id"],
        client_secret=words["client_secret"],
        extra=words["access_token_request_data"],
        lasts=auth.default_token_expiration,
    )
    endpoint = TokenEndpoint(session, redactor, subject, once=True)
    signer = RefreshTokenAuth(RefreshedToken(grant, endpoint, redactor, subject, settings or get_settings()))
    session.renew = _only_at(base_url, signer.renew, signer)
    return signer


def _only_at(
    base_url: str, fetch: Callable[[PreparedRequest], Any], sign: Callable[[PreparedRequest], Any]
) -> Callable[[PreparedRequest], None]:
    """Return what signs a refused request anew, if it is one to the NPO's own host."""
    home = host_of(base_url)

    def renew(request: PreparedRequest) -> None:
        if host_of(str(request.url)) == home:
            fetch(request)
            sign(request)

    return renew


def _absolute(url: str, base_url: str) -> str:
    return url if "://" in url else f"{base_url.rstrip('/')}/{url.lstrip('/')}"


def _filled(value: Any, credential: Credential) -> Any:
    if isinstance(value, str):
        return resolve(value, credential)
    if isinstance(value, dict):
        return {key: _filled(entry, credential) for key, entry in value.items()}
    return value
