"""Ports of a home: chosen free once, remembered, so that a restart keeps every address."""

from __future__ import annotations

import json
import random
import socket
import time
from typing import TYPE_CHECKING

from include.sandbox.stack.errors import StackError
from include.sandbox.stack.files import locked, write_private

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

# Below Linux's ephemeral range (32768 and up): a remembered port there is sooner or later the local
# end of somebody's outgoing connection just when its server restarts.
FIRST, LAST = 12_000, 21_999
# weed's worker dials its admin port + 10000 whatever it is told, so each port's twin is kept free too.
TWIN = 10_000


def is_free(port: int) -> bool:
    """Return whether a server could listen on 127.0.0.1:port now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


class Ports:
    """Port numbers by name, kept in ``<home>/ports.json``.

    Args:
        home: The stack's folder.
        explicit: Ports the user asked for by name; these are never replaced.
    """

    def __init__(self, home: Path, explicit: Mapping[str, int] | None = None) -> None:
        self._home = home
        self._file = home / "ports.json"
        self._explicit = dict(explicit or {})
        if self._explicit:
            # Remembered too: the next command without the option finds the server where it is.
            with locked(home / "ports.lock"):
                self._write(self._read() | self._explicit)

    def get(self, name: str) -> int:
        """Return the port of this name, choosing a free one at first use."""
        if name in self._explicit:
            return self._explicit[name]
        if (known := self._read().get(name)) is not None:
            return known
        return self._choose([name])[name]

    def claim(self, names: Iterable[str]) -> None:
        """Make sure that a server about to start can have its ports.

        A remembered port that somebody else took meanwhile is replaced.

        Raises:
            StackError: A port that was asked for is taken.
        """
        taken = [name for name in names if not _becomes_free(self.get(name))]
        for name in taken:
            if name in self._explicit:
                raise StackError(
                    f"port {self._explicit[name]} asked for '{name}' is in use by another program; "
                    f"stop that program (see 'ss -ltnp') or give another port"
                )
        if taken:
            self._choose(taken)

    def replaceable(self, names: Iterable[str]) -> bool:
        """Return whether a port of these is taken and may be replaced by another."""
        return any(name not in self._explicit and not is_free(self.get(name)) for name in names)

    def _choose(self, names: Iterable[str]) -> dict[str, int]:
        """Choose and remember a new port for each name."""
        with locked(self._home / "ports.lock"):
            known = self._read()
            for name in names:
                used = {*known.values(), *self._explicit.values()}
                known[name] = _free_port(used)
            self._write(known)
        return known

    def _write(self, ports: Mapping[str, int]) -> None:
        write_private(self._file, json.dumps(ports, indent=1, sort_keys=True))

    def _read(self) -> dict[str, int]:
        try:
            return {str(name): int(port) for name, port in json.loads(self._file.read_text()).items()}
        except (FileNotFoundError, ValueError):
            return {}


def _becomes_free(port: int) -> bool:
    """Return whether the port is free, now or in a second: a dead server's connections end just after it."""
    for _ in range(20):
        if is_free(port):
            return True
        time.sleep(0.05)
    return False


def _free_port(used: set[int]) -> int:
    candidates = random.sample(range(FIRST, LAST + 1), 500)
    for port in candidates:
        if port not in used and is_free(port) and is_free(port + TWIN):
            return port
    raise StackError(f"no free port between {FIRST} and {LAST} on 127.0.0.1")
