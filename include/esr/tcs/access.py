"""The bearer token of TCS: client credentials, renewed once for all calls that wait for it."""

from __future__ import annotations

import asyncio
import ipaddress
import time
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import orjson

from include.connectors.host_guard import host_of
from include.errors import ConfigurationError
from include.esr.tcs.answers import NotSentError

if TYPE_CHECKING:
    from aiohttp import ClientSession

    from include.settings import Settings

SUBJECT = "TCS"
MAX_TOKEN_BYTES = 64 * 1024
_SHORTEST_LIFE = 60.0
_MARGIN = 0.1
"""Share of its life before the end of which a token is renewed: no call should find it expired."""
_REFUSED = frozenset({HTTPStatus.BAD_REQUEST, HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN})


class TokenKeeper:
    """Holds the token of one client; lives in one event loop."""

    def __init__(self, settings: Settings) -> None:
        require_safe(settings.tcs_token_url, "SPOTLIGHT_TCS_TOKEN_URL")
        self._settings = settings
        self._authorization = ""
        self._good_until = 0.0
        self._renewing = asyncio.Lock()

    @property
    def current(self) -> str:
        """Return the ``Authorization`` header's value, empty when a new token is due."""
        return self._authorization if time.monotonic() < self._good_until else ""

    async def renewed(self, client: ClientSession, refused: str | None) -> str:
        """Return a value other than the refused one; who comes while it is fetched waits for that one.

        Raises:
            NotSentError: The token endpoint is unwell.
            ConfigurationError: It refuses the client, or answers with something else than a token.
        """
        async with self._renewing:
            if self.current and self.current != refused:
                return self.current
            token, seconds = _token_of(await self._fetch(client))
            self._authorization = f"Bearer {token}"
            self._good_until = time.monotonic() + seconds * (1 - _MARGIN)
            return self._authorization

    async def _fetch(self, client: ClientSession) -> bytes:
        from aiohttp import ClientError

        secret = self._settings.tcs_client_secret
        form = {
            "grant_type": "client_credentials",
            "client_id": self._settings.tcs_client_id,
            "client_secret": secret.get_secret_value() if secret else "",
        }
        try:
            async with client.post(
                self._settings.tcs_token_url, data=form, allow_redirects=False
            ) as response:
                body = await response.content.read(MAX_TOKEN_BYTES)
                while not response.content.at_eof() and len(body) < MAX_TOKEN_BYTES:
                    body += await response.content.read(MAX_TOKEN_BYTES)
        except (ClientError, OSError) as error:
            raise NotSentError(
                f"no token for TCS ({type(error).__name__}); check SPOTLIGHT_TCS_TOKEN_URL if it stays",
                subject=SUBJECT,
            ) from None
        if response.status == HTTPStatus.OK:
            return body
        if response.status in _REFUSED:
            raise ConfigurationError(
                f"{response.status} from the token endpoint: client '{self._settings.tcs_client_id}' is "
                "refused; what waits to be sent is kept. Renew SPOTLIGHT_TCS_CLIENT_SECRET",
                pauses=True,
                subject=SUBJECT,
            )
        raise NotSentError(f"{response.status} from the token endpoint of TCS", subject=SUBJECT)


def require_safe(url: str, setting: str) -> None:
    """Do nothing if a token may be sent to this address: https, or this machine itself.

    Raises:
        ConfigurationError: It would go over the network in the clear, or the address is none.
    """
    if host_of(url) is None:
        raise ConfigurationError(f"{setting} is not a plain http(s) address", subject=SUBJECT)
    parts = urlsplit(url)
    if parts.scheme != "https" and not _is_this_machine(parts.hostname or ""):
        raise ConfigurationError(
            f"{setting} is plain http on another machine; no credential is sent in the clear, use https",
            subject=SUBJECT,
        )


def _is_this_machine(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _token_of(body: bytes) -> tuple[str, float]:
    """Return token and the seconds it lives, of the endpoint's answer."""
    try:
        answer: Any = orjson.loads(body)
        token, seconds = answer["access_token"], float(answer.get("expires_in", _SHORTEST_LIFE))
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError, AttributeError):
        token, seconds = None, 0.0
    if not isinstance(token, str) or not token.isascii() or not token.isprintable():
        raise ConfigurationError(
            "the token endpoint answered with something else than a token; check SPOTLIGHT_TCS_TOKEN_URL",
            subject=SUBJECT,
        )
    return token, seconds
