"""No request leaves the hosts a row allows: not by a next-page link, not by a redirect."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from include.connectors.addresses import AddressRules
from include.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable

_DEFAULT_PORTS = {"http": 80, "https": 443}
_LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
_NAME = re.compile(rf"{_LABEL}(\.{_LABEL})*", re.ASCII)
_LONGEST_NAME = 253
_AUTHORITY = re.compile(r"[a-z0-9.-]+(:[0-9]{1,5})?", re.ASCII | re.IGNORECASE)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_PUBLIC_ONLY = AddressRules()
_LOOPBACK_NAME = "localhost"


@dataclass(frozen=True, slots=True)
class HostGuard:
    """Decides whether an address may be asked.

    Attributes:
        allowed: ``host`` (the scheme's own port) or ``host:port``, lower case.
        secure_only: Refuse plain http, because the API itself is on https.
        subject: The NPO, for messages.
        addresses: Which network addresses they may have.
    """

    allowed: frozenset[str]
    secure_only: bool
    subject: str
    addresses: AddressRules = _PUBLIC_ONLY

    @classmethod
    def of(
        cls,
        base_url: str,
        allowed_hosts: Iterable[str],
        subject: str,
        *,
        addresses: AddressRules | None = None,
    ) -> HostGuard:
        """Return the guard of a row."""
        secure = base_url.lower().startswith("https:")
        return cls(frozenset(allowed_hosts), secure, subject, addresses or _PUBLIC_ONLY)

    def check(self, url: str, *, why: str = "the address") -> None:
        """Do nothing if ``url`` may be asked.

        Args:
            url: Absolute address, as it would be sent.
            why: Where the address comes from, for the message.

        Raises:
            ConfigurationError: Another host or scheme, or an address that two parsers may read differently.
        """
        host = host_of(url)
        if host is None:
            raise self._refused(f"{why} is not a plain http(s) address; refused, no credential sent")
        scheme = url.partition(":")[0].lower()
        if not self._allows(scheme, host):
            raise self._refused(
                f"{why} leads to {host}, which is not in allowed_hosts ({', '.join(sorted(self.allowed))}); "
                "refused, no credential sent; if the host is the partner's own, add it to the row"
            )
        if scheme != "https" and self.secure_only:
            raise self._refused(
                f"{why} leads from https to plain http on {host}; refused, no credential sent; ask the "
                "partner why, or correct base_url"
            )
        if scheme != "https" and not (self.addresses.allow_loopback and _is_loopback(host)):
            raise self._refused(
                f"{why} leads to plain http on {host}; refused, no credential sent; only https is asked: "
                "correct base_url (a local stack allows its own machine by SPOTLIGHT_ALLOW_LOOPBACK)"
            )

    def _allows(self, scheme: str, host: str) -> bool:
        name, _, port = host.rpartition(":")
        return host in self.allowed or (int(port) == _DEFAULT_PORTS[scheme] and name in self.allowed)

    def _refused(self, message: str) -> ConfigurationError:
        return ConfigurationError(message, subject=self.subject)


def host_of(url: str) -> str | None:
    """Return ``host:port`` of an http(s) address, lower case; ``None`` for anything odd.

    Odd is what two programs could read as two hosts: user info, a backslash, control characters (which
    Python's own parser drops), letters beyond ASCII, a trailing dot, a number in any other form than four
    decimal parts, port 0.
    """
    if not isinstance(url, str) or _CONTROL.search(url) or url[:1].isspace():
        return None
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return None
    if parts.scheme not in _DEFAULT_PORTS or port == 0 or not _AUTHORITY.fullmatch(parts.netloc):
        return None
    name = (parts.hostname or "").lower()
    if len(name) > _LONGEST_NAME or not _NAME.fullmatch(name) or _is_odd_number(name):
        return None
    return f"{name}:{port or _DEFAULT_PORTS[parts.scheme]}"


def _is_odd_number(name: str) -> bool:
    """Return whether a host is a number in disguise: 127.1, 0x7f000001, 2130706433, 0177.0.0.1."""
    last = name.rpartition(".")[2]
    if not (last.isdigit() or re.fullmatch(r"0x[0-9a-f]*", last)):
        return False
    try:
        return str(IPv4Address(name)) != name
    except AddressValueError:
        return True


def _is_loopback(host: str) -> bool:
    name = host.rpartition(":")[0]
    try:
        return IPv4Address(name).is_loopback
    except AddressValueError:
        return name == _LOOPBACK_NAME
