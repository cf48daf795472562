"""What every server of the stack can do: prepare, start, answer a real check, tell its address."""

from __future__ import annotations

import os
import signal
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from include.sandbox.stack.ports import Ports
    from include.sandbox.stack.secret import Secrets

LOCALHOST = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Launch:
    """How a server process starts and what ends it in order."""

    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    stop_signal: int = signal.SIGTERM


class NotReadyError(Exception):
    """The server runs but cannot be used yet; the text says why."""


class Server(ABC):
    """One server of a home.

    Attributes:
        name: Name in the process book, in messages and of its folder.
        port_names: Its ports; the first is the one clients use.
        addresses: Environment variables that say where such a server is: when the user has set all of
            them, he has one of his own and this one is not started.
    """

    name: ClassVar[str]
    port_names: ClassVar[tuple[str, ...]]
    addresses: ClassVar[tuple[str, ...]]

    def __init__(self, home: Path, ports: Ports, secrets: Secrets) -> None:
        self.home = home
        self.folder = home / self.name
        self.secrets = secrets
        self._ports = ports

    def port(self, name: str | None = None) -> int:
        """Return a port of this server, by default the one clients use."""
        return self._ports.get(name or self.port_names[0])

    @property
    def address(self) -> str:
        """Return ``host:port``, for people."""
        return f"{LOCALHOST}:{self.port()}"

    def preflight(self) -> None:  # noqa: B027 - most servers need nothing
        """Check what must be there before anything is started.

        Raises:
            StackError: Something is missing; the message says what and how to get it.
        """

    def prepare(self) -> None:
        """Make folders and files. The server does not run; calling it again is harmless."""
        self.folder.mkdir(parents=True, exist_ok=True)

    @abstractmethod
    def launch(self) -> Launch:
        """Return how to start it."""

    @abstractmethod
    def check(self) -> None:
        """Do one real thing with the server.

        Raises:
            Exception: Anything: it is not ready. No check takes longer than about 3 s.
        """

    def settle(self) -> None:  # noqa: B027 - most servers need nothing
        """Make what clients expect to find (databases, buckets); calling it again is harmless."""

    @abstractmethod
    def values(self) -> dict[str, str]:
        """Return the environment variables that lead clients here."""


def inherited(*, without: tuple[str, ...] = ()) -> dict[str, str]:
    """Return our environment for a child, less what could steer it elsewhere.

    AWS_* and PG* variables of the user's shell must not reach our servers.
    """
    dropped = ("AWS_", "PG", "WEED_", "MINISTACK_", "LOCALSTACK_", "SPOTLIGHT_", *without)
    return {name: value for name, value in os.environ.items() if not name.startswith(dropped)}
