"""Which network addresses a partner's name may lead to: public ones, checked after resolution."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from threading import Thread
from typing import TYPE_CHECKING, Any

from include.errors import ConfigurationError, TransientError

if TYPE_CHECKING:
    from collections.abc import Callable

    from include.settings import Settings

    Resolve = Callable[..., list[Any]]

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

LONGEST_RESOLUTION = 10.0
"""Seconds a name server may take; the C library itself has no bound worth the name."""
MOST_ADDRESSES = 64

# Never a partner's, whatever SPOTLIGHT_PRIVATE_NETWORKS says: clouds hand out credentials there.
_METADATA = frozenset(
    map(ip_address, ("169.254.169.254", "169.254.170.2", "100.100.100.200", "fd00:ec2::254", "fd20:ce::254"))
)
_SHARED = ip_network("100.64.0.0/10")
# Python 3.11's own tables lack some of these (RFC 6890 and the IANA special-purpose registries).
_SPECIAL = tuple(
    map(
        ip_network,
        ("0.0.0.0/8", "192.0.0.0/24", "192.88.99.0/24", "198.18.0.0/15", "240.0.0.0/4",
         "2001::/23", "2001:db8::/32", "3fff::/20"),
    )
)  # fmt: skip
_GLOBAL_UNICAST = ip_network("2000::/3")
_NAT64 = ip_network("64:ff9b::/96")
_COMPATIBLE = ip_network("::/96")


class UnresolvedError(TransientError):
    """A name was not resolved: as likely our own name server, so it does not count against the partner."""


@dataclass(frozen=True, slots=True)
class AddressRules:
    """What may be connected to beside public addresses.

    Attributes:
        allow_loopback: This machine itself: the local stack and tests.
        private_networks: Networks of partners that are reached over a VPN.
    """

    allow_loopback: bool = False
    private_networks: tuple[Network, ...] = ()

    @classmethod
    def of(cls, settings: Settings) -> AddressRules:
        """Return the rules of a deployment."""
        return cls(settings.allow_loopback, settings.private_networks)

    def objection(self, text: str) -> str | None:
        """Return what an address is that must not be connected to; ``None`` where it may be.

        An IPv4 address inside an IPv6 one (mapped, 6to4, NAT64) is judged as what it leads to.
        """
        try:
            address = ip_address(text.partition("%")[0])
        except ValueError:
            return "no address"
        inner = _embedded(address)
        address = inner or address
        if address in _METADATA:
            return "a cloud's metadata service"
        if address.is_loopback:
            return None if self.allow_loopback and inner is None else "this machine itself"
        return _never(address) or self._private(address)

    def _private(self, address: Address) -> str | None:
        if any(address in network for network in self.private_networks):
            return None
        if address in _SHARED:
            return "a carrier's shared network"
        if any(address in network for network in _SPECIAL):
            return "a reserved network"
        if isinstance(address, IPv6Address) and address not in _GLOBAL_UNICAST:
            return "a private network"
        return None if address.is_global else "a private network"


def public_addresses(
    host: str,
    port: int,
    *,
    settings: Settings | AddressRules,
    subject: str,
    resolve: Resolve | None = None,
) -> tuple[str, ...]:
    """Return the addresses of a host, each of which may be connected to; at least one.

    Args:
        host: A name, or an address as text (no brackets).
        port: Where the connection will go.
        settings: Says whether loopback and which private networks are allowed.
        subject: The NPO, for messages.
        resolve: As ``socket.getaddrinfo``, which it is when left out.

    Raises:
        ConfigurationError: One of the addresses is not public: then none is used, since a name that
            leads both ways is how a guard is walked around.
        UnresolvedError: The name cannot be resolved, or not in time.
    """
    rules = settings if isinstance(settings, AddressRules) else AddressRules.of(settings)
    found = _resolved(host, port, resolve or socket.getaddrinfo, subject)
    for address in found:
        objection = rules.objection(address)
        if objection:
            raise ConfigurationError(
                f"{host} leads to {address}, {objection}; refused, nothing was sent; correct the host, or "
                "add its network to SPOTLIGHT_PRIVATE_NETWORKS if the partner is reached over a VPN",
                subject=subject,
            )
    return found


def _resolved(host: str, port: int, resolve: Resolve, subject: str) -> tuple[str, ...]:
    """Return the addresses of a name in the resolver's order, each once."""
    outcome: list[list[Any] | Exception] = []

    def ask() -> None:
        try:
            outcome.append(resolve(host, port, type=socket.SOCK_STREAM))
        except (OSError, UnicodeError) as error:
            outcome.append(error)

    # A thread of its own: a resolver that hangs cannot be interrupted, only left behind.
    asking = Thread(target=ask, name="resolve", daemon=True)
    asking.start()
    asking.join(LONGEST_RESOLUTION)
    answer = outcome[0] if outcome else TimeoutError()
    if isinstance(answer, Exception) or not answer:
        why = f"not within {LONGEST_RESOLUTION:g} s" if isinstance(answer, TimeoutError) else "no address"
        raise UnresolvedError(
            f"the name {host} cannot be resolved ({why}); it is tried again; check base_url and "
            "allowed_hosts if it never worked",
            subject=subject,
        )
    return tuple(dict.fromkeys(str(entry[4][0]) for entry in answer[:MOST_ADDRESSES]))


def _embedded(address: Address) -> IPv4Address | None:
    """Return the IPv4 address that an IPv6 one really leads to."""
    if isinstance(address, IPv4Address):
        return None
    if address.ipv4_mapped or address.sixtofour:
        return address.ipv4_mapped or address.sixtofour
    if address in _NAT64 or (address in _COMPATIBLE and int(address) > 1):
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return None


def _never(address: Address) -> str | None:
    """Return what an address is that no network of a partner can have."""
    if address.is_unspecified:
        return "no address of a host"
    if address.is_link_local or getattr(address, "is_site_local", False):
        return "a link-local address"
    if address.is_multicast:
        return "a multicast address"
    return None
