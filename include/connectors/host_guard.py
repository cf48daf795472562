"""No request leaves the hosts a row allows: not by a next-page link, not by a redirect."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from include.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable

_DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class HostGuard:
    """Decides whether an address may be asked.

    Attributes:
        allowed: ``host`` (the scheme's own port) or ``host:port``, lower case.
        secure_only: Refuse plain http, because the API itself is on https.
        subject: The NPO, for messages.
    """

    allowed: frozenset[str]
    secure_only: bool
    subject: str

    @classmethod
    def of(cls, base_url: str, allowed_hosts: Iterable[str], subject: str) -> HostGuard:
        """Return the guard of a row."""
        return cls(frozenset(allowed_hosts), base_url.startswith("https:"), subject)

    def check(self, url: str, *, why: str = "the address") -> None:
        """Do nothing if ``url`` may be asked.

        Args:
            url: Absolute address, as it would be sent.
            why: Where the address comes from, for the message.

        Raises:
            ConfigurationError: Another host or scheme, or an address that two parsers may read differently.
        """
        host = host_of(url)
        scheme = url.partition(":")[0].lower()
        if host is None:
            raise ConfigurationError(
                f"{why} is not a plain http(s) address; refused, no credential sent", subject=self.subject
            )
        if self.secure_only and scheme != "https":
            raise ConfigurationError(
                f"{why} leads from https to plain http on {host}; refused, no credential sent; ask the "
                "partner why, or correct base_url",
                subject=self.subject,
            )
        if not self._allows(scheme, host):
            raise ConfigurationError(
                f"{why} leads to {host}, which is not in allowed_hosts ({', '.join(sorted(self.allowed))}); "
                "refused, no credential sent; if the host is the partner's own, add it to the row",
                subject=self.subject,
            )

    def _allows(self, scheme: str, host: str) -> bool:
        name, _, port = host.rpartition(":")
        return host in self.allowed or (int(port) == _DEFAULT_PORTS[scheme] and name in self.allowed)


def host_of(url: str) -> str | None:
    """Return ``host:port`` of an http(s) address, lower case; ``None`` for anything odd.

    User info is odd: it is how an address is made to look like another host's.
    """
    try:
        parts = urlsplit(url)
        port = parts.port or _DEFAULT_PORTS.get(parts.scheme, 0)
    except ValueError:
        return None
    if parts.scheme not in _DEFAULT_PORTS or not parts.hostname or "@" in parts.netloc:
        return None
    return f"{parts.hostname.lower()}:{port}"
