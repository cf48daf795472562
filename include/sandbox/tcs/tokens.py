"""Bearer tokens from client credentials, with an end."""

from __future__ import annotations

import base64
import binascii
import hmac
import secrets
import time
from urllib.parse import parse_qsl, unquote_plus


class Tokens:
    """The tokens in force.

    Args:
        client_id: The one client there is.
        client_secret: Its secret.
        seconds: How long a token is good.
    """

    def __init__(self, client_id: str, client_secret: str, seconds: float) -> None:
        self._client = (client_id, client_secret)
        self.seconds = seconds
        self.issued = 0
        self._ends: dict[bytes, float] = {}

    def issue(self, form: str, authorization: str) -> str | None:
        """Return a new token for a right client, given in the form or as HTTP Basic; else ``None``."""
        values = dict(parse_qsl(form))
        given = _basic(authorization) or (values.get("client_id", ""), values.get("client_secret", ""))
        right = [
            hmac.compare_digest(a.encode(), b.encode()) for a, b in zip(given, self._client, strict=True)
        ]
        if values.get("grant_type") != "client_credentials" or not all(right):
            return None
        token = secrets.token_urlsafe(24)
        now = time.monotonic()
        self._ends = {known: end for known, end in self._ends.items() if end > now}
        self._ends[b"Bearer " + token.encode()] = now + self.seconds
        self.issued += 1
        return token

    def accepts(self, authorization: bytes) -> bool:
        """Return whether an ``Authorization`` header holds a token that is still good."""
        return self._ends.get(authorization, 0.0) > time.monotonic()

    def expire(self) -> None:
        """End all tokens issued so far."""
        self._ends.clear()


def _basic(authorization: str) -> tuple[str, str] | None:
    scheme, _, value = authorization.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        name, _, password = base64.b64decode(value, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return None
    return unquote_plus(name), unquote_plus(password)
