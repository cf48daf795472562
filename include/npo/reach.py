"""Whether a partner's host can be reached: its addresses and its certificate."""

from __future__ import annotations

import math
import socket
import ssl
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from include.settings import Settings

TIMEOUT = 10.0
_DAY = 86_400


class CertificateError(Exception):
    """A host's certificate cannot be trusted, or no TLS connection comes about."""


def addresses_of(name: str, port: int, *, settings: Settings, subject: str) -> tuple[str, ...]:
    """Return the addresses of a host that may be asked.

    Raises:
        IntegrationError: It has none, or one that the host guard refuses.
    """
    from include.connectors.addresses import public_addresses

    return public_addresses(name, port, settings=settings, subject=subject)


def certificate_days(name: str, port: int, address: str) -> int:
    """Return for how many whole days the certificate of a host is valid; it is one that is trusted.

    Args:
        name: The host's name, which the certificate must be for.
        port: TCP port.
        address: One that was checked; the name is not looked up again.

    Raises:
        CertificateError: Not trusted, expired, for another name, or no TLS there.
    """
    context = ssl.create_default_context()
    try:
        with (
            socket.create_connection((address, port), timeout=TIMEOUT) as plain,
            context.wrap_socket(plain, server_hostname=name) as tls,
        ):
            certificate = tls.getpeercert()
    except ssl.SSLCertVerificationError as error:
        raise CertificateError(f"certificate refused: {error.verify_message}") from None
    except (OSError, ValueError) as error:
        raise CertificateError(f"no TLS connection: {type(error).__name__}") from None
    until = (certificate or {}).get("notAfter")
    if not isinstance(until, str):
        raise CertificateError("the certificate does not say until when it is valid")
    return math.floor((ssl.cert_time_to_seconds(until) - time.time()) / _DAY)
