"""Rotated OAuth2 tokens: encrypted in the registry, written by one task at a time."""

from __future__ import annotations

import hmac
import json
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from typing import TYPE_CHECKING

from include.errors import ConfigurationError
from include.registry.connection import registry
from include.registry.sql import query

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import psycopg

    from include.settings import Settings

_FILE = "npo_token"
LOCK_SECONDS = 120  # another task's exchange, with its retries


@dataclass(frozen=True, slots=True)
class Tokens:
    """What the last exchange gave; shows nothing."""

    refresh_token: str = field(repr=False)
    access_token: str | None = field(default=None, repr=False)
    expires_at: datetime | None = None


@dataclass(slots=True)
class KeptTokens:
    """The tokens of one NPO while its row is locked.

    Attributes:
        tokens: ``None`` before the first exchange, and when a person has changed the credential since.
    """

    tokens: Tokens | None = field(repr=False)
    _connection: psycopg.Connection = field(repr=False)
    _npo_id: str
    _identity: str = field(repr=False)
    _keys: Sequence[str] = field(repr=False)

    def write(self) -> None:
        """Write ``tokens``; committed when the lock is let go."""
        from cryptography.fernet import Fernet

        if self.tokens is None:
            return
        moment = self.tokens.expires_at.isoformat() if self.tokens.expires_at else None
        plain = json.dumps([self.tokens.refresh_token, self.tokens.access_token, moment]).encode()
        self._connection.execute(
            query("write_token", file=_FILE),
            {
                "npo_id": self._npo_id,
                "fingerprint": _fingerprint(self._keys[0], self._identity),
                "ciphertext": Fernet(self._keys[0]).encrypt(plain),
            },
        )


def token_keys(settings: Settings, subject: str) -> list[str]:
    """Return the keys of ``SPOTLIGHT_TOKEN_KEY``: the first writes, every one reads.

    Raises:
        ConfigurationError: There is none, or one is not a Fernet key.
    """
    from cryptography.fernet import Fernet

    told = settings.token_key.get_secret_value() if settings.token_key else ""
    keys = [key.strip() for key in told.split(",") if key.strip()]
    try:
        for key in keys:
            Fernet(key)
    except ValueError:
        keys = []
    if not keys:
        raise ConfigurationError(
            "oauth2_refresh_token needs SPOTLIGHT_TOKEN_KEY, under which the partner's next token is kept: "
            "one or more Fernet keys (32 bytes in URL-safe base64), separated by commas, the newest first",
            subject=subject,
        )
    return keys


@contextmanager
def locked_tokens(
    settings: Settings, npo_id: str, identity: str, keys: Sequence[str]
) -> Iterator[KeptTokens]:
    """Lock an NPO's row and give what it holds; what is written is committed on leaving.

    A process that dies lets the lock go and writes nothing.

    Args:
        settings: Of the registry.
        npo_id: Whose.
        identity: Of the credential, as a person set it: tokens kept for another one are not given.
        keys: As ``token_keys`` gives them.

    Raises:
        TransientError: The registry does not answer, or another task held the lock for too long.
        ConfigurationError: The table is missing.
    """
    with registry(settings.registry_dsn.get_secret_value(), settings.registry_timeout) as connection:
        # An exchange may take longer than the registry is given to answer.
        connection.execute(
            "select set_config('statement_timeout', %s, true),"
            " set_config('idle_in_transaction_session_timeout', '0', true)",
            (str(LOCK_SECONDS * 1000),),
        )
        connection.execute(query("make_token", file=_FILE), {"npo_id": npo_id})
        row = connection.execute(query("lock_token", file=_FILE), {"npo_id": npo_id}).fetchone()
        told, ciphertext = row or (None, None)
        tokens = _opened(told, ciphertext, identity, keys)
        yield KeptTokens(tokens, connection, npo_id, identity, keys)


def forget_tokens(dsn: str, npo_id: str, timeout: int) -> bool:
    """Delete what is kept for an NPO that leaves; return whether there was anything.

    Raises:
        TransientError: The registry does not answer.
    """
    with registry(dsn, timeout) as connection:
        return connection.execute(query("forget_token", file=_FILE), {"npo_id": npo_id}).rowcount > 0


def _opened(told: str | None, ciphertext: bytes | None, identity: str, keys: Sequence[str]) -> Tokens | None:
    """Return what is kept for this very credential, ``None`` where there is nothing that can be read."""
    from cryptography.fernet import Fernet, InvalidToken, MultiFernet

    if not told or not ciphertext:
        return None
    if not any(hmac.compare_digest(told, _fingerprint(key, identity)) for key in keys):
        return None
    try:
        plain = MultiFernet([Fernet(key) for key in keys]).decrypt(bytes(ciphertext))
    except InvalidToken:
        return None
    refresh_token, access_token, moment = json.loads(plain)
    return Tokens(refresh_token, access_token, datetime.fromisoformat(moment) if moment else None)


def _fingerprint(key: str, identity: str) -> str:
    """Return a keyed digest: without the key nobody can try out secrets against it."""
    return hmac.new(key.encode(), identity.encode(), sha256).hexdigest()
