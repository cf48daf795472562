"""Connections to partners: to the very address that was checked, each answer bounded from its first byte.

Imported only when something is asked: requests and urllib3 cost a DAG file's parse too much.
"""

from __future__ import annotations

import io
import logging
from contextlib import suppress
from functools import partial
from http.client import HTTPResponse
from ipaddress import ip_address
from time import monotonic
from typing import TYPE_CHECKING, Any

from requests.adapters import HTTPAdapter  # noqa: TID253 - see the module's line
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import ConnectTimeoutError, NewConnectionError
from urllib3.util import connection

from include.connectors.addresses import public_addresses
from include.errors import ConfigurationError

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from include.connectors.addresses import AddressRules
    from include.connectors.limits import Limits

    Addresses = Callable[[str, int], tuple[str, ...]]

MAX_HEADER_BYTES = 64 * 1024
"""Of one answer, with any 1xx before it; Python alone would take a hundred lines of that size."""
MOST_TRIED = 4
"""Addresses of one name that are tried, within one time-out."""
_READ_AHEAD = 8192
_SHORTEST = 0.05


class HeadersTooLargeError(Exception):
    """An answer's headers do not end."""


class GuardedAdapter(HTTPAdapter):
    """Connects only to checked addresses.

    The name is resolved once for each new connection, every address judged, and the connection made to
    one of those: a name that changes its address in between (DNS rebinding) gains nothing. Host header,
    SNI and certificate stay those of the name.

    Args:
        rules: Which addresses may be connected to.
        limits: Time-outs and connections at once.
        subject: The NPO, for messages.
    """

    def __init__(self, rules: AddressRules, limits: Limits, subject: str) -> None:
        self._rules, self._limits, self._subject = rules, limits, subject
        # Both log whole addresses, with whatever secret is in the query.
        logging.getLogger("urllib3.connection").setLevel(logging.ERROR)
        logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)
        super().__init__(pool_maxsize=limits.max_concurrency, max_retries=0)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """Make pools whose connections know the rules."""
        super().init_poolmanager(*args, **kwargs)
        answer = partial(_BoundedResponse, seconds=self._limits.total_timeout)
        secure, plain = self._addresses, self._loopback_addresses

        class Https(HTTPSConnection):
            response_class = answer  # type: ignore[assignment]

            def _new_conn(self) -> socket.socket:
                return _connect(self, secure)

        class Http(HTTPConnection):
            response_class = answer  # type: ignore[assignment]

            def _new_conn(self) -> socket.socket:
                return _connect(self, plain)

        class HttpsPool(HTTPSConnectionPool):
            ConnectionCls = Https

        class HttpPool(HTTPConnectionPool):
            ConnectionCls = Http

        self.poolmanager.pool_classes_by_scheme = {"http": HttpPool, "https": HttpsPool}

    def _addresses(self, host: str, port: int) -> tuple[str, ...]:
        return public_addresses(host, port, settings=self._rules, subject=self._subject)

    def _loopback_addresses(self, host: str, port: int) -> tuple[str, ...]:
        found = self._addresses(host, port)
        if all(ip_address(address).is_loopback for address in found):
            return found
        raise ConfigurationError(
            f"plain http on {host} would leave this machine; refused, nothing was sent; correct base_url",
            subject=self._subject,
        )


class _BoundedResponse(HTTPResponse):
    """An answer whose every read ends at one deadline, and whose headers end."""

    def __init__(self, sock: socket.socket, *args: Any, seconds: float, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        self.fp.close()
        self._wire = _Wire(sock, monotonic() + seconds)
        self.fp = io.BufferedReader(self._wire, _READ_AHEAD)

    def begin(self) -> None:
        """Read status and headers."""
        self._wire.allowance = MAX_HEADER_BYTES + _READ_AHEAD
        super().begin()
        self._wire.allowance = None


class _Wire(io.RawIOBase):
    """Reads a socket until a deadline; a server that sends a byte now and then meets it too.

    The socket's own time-out says how long one read may take.
    """

    def __init__(self, sock: socket.socket, deadline: float) -> None:
        self._socket, self._timeout, self._deadline = sock, sock.gettimeout(), deadline
        self._file = sock.makefile("rb", buffering=0)
        self.allowance: int | None = None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        left = self._deadline - monotonic()
        if left <= 0:
            raise TimeoutError("the whole answer took too long")
        timeout = left if self._timeout is None else min(self._timeout, left)
        self._socket.settimeout(max(timeout, _SHORTEST))
        size = self._file.readinto(buffer)
        if self.allowance is not None:
            self.allowance -= size or 0
            if self.allowance < 0:
                raise HeadersTooLargeError
        return size

    def close(self) -> None:
        if not self.closed:
            with suppress(OSError):  # the next request on this connection starts with its own time-out
                self._socket.settimeout(self._timeout)
            self._file.close()
        super().close()


def _connect(conn: HTTPConnection, addresses: Addresses) -> socket.socket:
    """Return a socket to one of the checked addresses, all tries within one time-out."""
    checked = addresses(conn.host, conn.port)
    timeout = conn.timeout if isinstance(conn.timeout, (int, float)) else None
    deadline = None if timeout is None else monotonic() + timeout
    failure: OSError | None = None
    for address in checked[:MOST_TRIED]:
        left = None if deadline is None else deadline - monotonic()
        if left is not None and left <= 0:
            break
        try:
            return connection.create_connection(
                (address, conn.port),
                left,
                source_address=conn.source_address,
                socket_options=conn.socket_options,
            )
        except OSError as error:
            failure = error
    if failure is None or isinstance(failure, TimeoutError):
        raise ConnectTimeoutError(conn, f"no connection to {conn.host} within {timeout} s") from failure
    raise NewConnectionError(conn, f"no connection to {conn.host}") from failure
