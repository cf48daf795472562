"""Keeps secrets out of addresses and messages."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, quote, quote_plus, urlencode, urlsplit, urlunsplit

if TYPE_CHECKING:
    from include.registry.models import Credential

_TELLING_NAMES = frozenset(
    {"access_token", "api_key", "apikey", "auth", "client_secret", "key", "password", "secret", "sig",
     "signature", "token"}
)  # fmt: skip
_SHORTEST_SECRET = 4
HIDDEN = "***"


@dataclass(frozen=True, slots=True)
class Redactor:
    """Knows the secrets of one run; tokens fetched on the way are added.

    Attributes:
        names: Query parameters that carry a credential.
        secrets: Values that must not appear anywhere.
    """

    names: set[str] = field(default_factory=set, repr=False)
    secrets: set[str] = field(default_factory=set, repr=False)

    @classmethod
    def of(cls, credential: Credential, *names: str) -> Redactor:
        """Return a redactor for a credential and the query parameters that carry it."""
        redactor = cls(names={name.casefold() for name in names})
        for value in (credential.password, *credential.extra.values()):
            redactor.add(value)
        return redactor

    def add(self, secret: str | None) -> None:
        """Hide ``secret`` from now on; very short values are no secrets and would hide half the text."""
        if secret and len(secret) >= _SHORTEST_SECRET:
            self.secrets.update((secret, quote(secret), quote(secret, safe=""), quote_plus(secret)))

    def text(self, text: str) -> str:
        """Return ``text`` without any known secret."""
        for secret in sorted(self.secrets, key=len, reverse=True):
            text = text.replace(secret, HIDDEN)
        return text

    def url(self, url: str) -> str:
        """Return an address without user info and with the query values that are or may be secret hidden."""
        parts = urlsplit(url)
        query = [
            (name, HIDDEN if name.casefold() in self.names | _TELLING_NAMES else self.text(value))
            for name, value in parse_qsl(parts.query, keep_blank_values=True)
        ]
        host = parts.netloc.rpartition("@")[2]
        shown = urlunsplit((parts.scheme, host, parts.path, urlencode(query, safe="*'>=<:,/"), ""))
        return self.text(shown)
