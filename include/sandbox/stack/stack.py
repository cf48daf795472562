"""The local stack: all servers of one home, brought up, looked at and taken down as one."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import platform
import shlex
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Any

from include.sandbox.stack import proc
from include.sandbox.stack.errors import StackError
from include.sandbox.stack.events import Events
from include.sandbox.stack.files import locked, write_private
from include.sandbox.stack.mongo import Mongo
from include.sandbox.stack.partners import Partners
from include.sandbox.stack.ports import Ports
from include.sandbox.stack.postgres import Postgres
from include.sandbox.stack.processes import ProcessBook
from include.sandbox.stack.s3 import BUCKET, S3
from include.sandbox.stack.secret import Secrets
from include.sandbox.stack.sftp import Sftp
from include.sandbox.stack.tcs import Tcs
from include.settings import PROJECT_ROOT, Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping
    from pathlib import Path

    from include.sandbox.stack.server import Server

    Progress = Callable[[str, str], None]

DEFAULT_HOME = PROJECT_ROOT / ".local" / "run"
SERVERS: tuple[type[Server], ...] = (Postgres, Mongo, S3, Events, Sftp, Partners, Tcs)
NAMES = tuple(server.name for server in SERVERS)
START_TIMEOUT = 90.0
"""Seconds a server may take to answer; on an idle machine none takes more than 3."""
STUCK_TIMEOUT = 5.0
"""Seconds a server that does not answer gets to end in order."""
PORT_ATTEMPTS = 3
CHECK_ATTEMPTS = 2
"""Checks a running server may fail, on a busy machine, before it is taken for stuck."""


@dataclass(frozen=True, slots=True)
class ServiceStatus:
    """One server as it is now.

    Attributes:
        state: ``running``, ``not answering``, ``stopped``, or ``external`` (the environment names another).
        memory_mb: Resident memory of its processes, ``None`` when it does not run.
    """

    name: str
    state: str
    pid: int | None
    address: str
    memory_mb: float | None

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain values, for JSON."""
        return asdict(self)


class LocalStack:
    """The servers of one home.

    Servers the environment already names (``SPOTLIGHT_MONGO_URI`` ...) are used and not started.

    Args:
        home: Folder of all data, logs, ports and secrets of this stack.
        services: Only these servers; ``None`` means all of :data:`NAMES`.
        ports: Ports asked for by name (``mongo``, ``postgres``, ``s3`` ...); others are chosen.
        environ: The environment to read; ``None`` is the process's own.

    Raises:
        StackError: An unknown server or port name.
    """

    def __init__(
        self,
        home: Path,
        services: Collection[str] | None = None,
        *,
        ports: Mapping[str, int] | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self.home = home.expanduser().resolve()
        for name in services or ():
            if name not in NAMES:
                raise StackError(f"unknown server '{name}'; there are {', '.join(NAMES)}")
        known_ports = {port for server in SERVERS for port in server.port_names}
        for name in ports or {}:
            if name not in known_ports:
                raise StackError(f"unknown port name '{name}'; there are {', '.join(sorted(known_ports))}")
        self._make_home()
        self.book = ProcessBook(self.home)
        self._ports = Ports(self.home, ports)
        self._secrets = Secrets(self.home)
        self._environ = os.environ if environ is None else environ
        chosen = NAMES if services is None else services
        self._servers = {
            server.name: server(self.home, self._ports, self._secrets)
            for server in SERVERS
            if server.name in chosen
        }
        self._cancelled = threading.Event()

    @property
    def env_file(self) -> Path:
        """Return the file ``up`` writes: what leads clients to these servers."""
        return self.home / "stack.env"

    def up(self, on_progress: Progress | None = None) -> Settings:
        """Start what does not run and return the settings that lead there.

        A running, answering server is left as it is; one that died is started in place and finds its
        data. When one cannot be started, those started by this call are stopped again.

        Args:
            on_progress: Called with a server's name and what happens to it; from several threads.

        Raises:
            StackError: One line for each server that could not be started.
        """
        tell = on_progress or _silent
        with self._locked(tell):
            return self._bring_up(self._own(tell), tell)

    def down(self, on_progress: Progress | None = None) -> None:
        """Stop this stack's servers; data, ports and secrets stay."""
        tell = on_progress or _silent
        with self._locked(tell):
            servers = [server for server in self._servers.values() if self.book.get(server.name)]
            self._in_parallel(servers, lambda server: self._stop(server, tell), stop_on_error=False)
            self.book.end_leftovers(set(self._servers))

    def restart(self, name: str, on_progress: Progress | None = None) -> None:
        """Stop one server and start it in place.

        Raises:
            StackError: Unknown name, or it does not start.
        """
        if name not in self._servers:
            raise StackError(f"unknown server '{name}'; there are {', '.join(self._servers)}")
        tell = on_progress or _silent
        with self._locked(tell):
            self._stop(self._servers[name], tell)
            self._bring_up([self._servers[name]], tell)

    def status(self) -> list[ServiceStatus]:
        """Return how each server is now, each asked for real."""
        with ThreadPoolExecutor(max(1, len(self._servers))) as pool:
            return list(pool.map(self._status_of, self._servers.values()))

    def env(self) -> dict[str, str]:
        """Return the ``SPOTLIGHT_*`` variables that lead clients here, secrets included.

        Values the environment has already win, as long as they are not simply ours from an earlier ``up``.
        """
        values = {
            "SPOTLIGHT_REGISTRY_SNAPSHOT": str(self.home / "registry_snapshot.json"),
            "SPOTLIGHT_MONGO_DATABASE": "spotlight",
            "SPOTLIGHT_LANDING_BUCKET": BUCKET,
        }
        given = self._given()
        for server in self._servers.values():
            if not self._is_external(server, given):
                values |= server.values()
            else:
                values |= {name: given[name] for name in server.values() if name in given}
            values |= {name: given[name] for name in server.addresses if name in given}
        return values

    def settings(self) -> Settings:
        """Return :meth:`env` as the product's settings."""
        fields = Settings.model_fields
        named = {name.removeprefix("SPOTLIGHT_").lower(): value for name, value in self.env().items()}
        return Settings.model_validate({name: value for name, value in named.items() if name in fields})

    def _bring_up(self, servers: list[Server], tell: Progress) -> Settings:
        """Start those that do not answer, and see that clients find what they expect in all of them."""
        self._cancelled.clear()
        missing = [server for server in servers if not self._answers(server)]
        for server in missing:
            server.preflight()
        self._in_parallel(missing, lambda server: self._start(server, tell))
        for server in servers:
            server.settle()
        write_private(self.env_file, env_lines(self.env()))
        settings = self.settings()
        _ensure_topics(settings, wanted="events" in {server.name for server in servers})
        return settings

    def _given(self) -> dict[str, str]:
        """Return the user's own SPOTLIGHT_* variables: those that do not come from our env file."""
        ours: dict[str, str] = {}
        for server in self._servers.values():
            ours |= server.values()
        return {
            name: value
            for name, value in self._environ.items()
            if name.startswith("SPOTLIGHT_") and value and ours.get(name) != value
        }

    def _is_external(self, server: Server, given: Mapping[str, str]) -> bool:
        return all(name in given for name in server.addresses)

    def _own(self, tell: Progress) -> list[Server]:
        """Return the servers to run here, naming those the environment has elsewhere."""
        given = self._given()
        own = []
        for server in self._servers.values():
            if self._is_external(server, given):
                tell(server.name, f"not started: {server.addresses[0]} is set")
            else:
                own.append(server)
        return own

    def _answers(self, server: Server, attempts: int = CHECK_ATTEMPTS) -> bool:
        for _ in range(attempts):
            if not self.book.alive(server.name):
                return False
            with contextlib.suppress(Exception):  # whatever a client library raises, it does not answer
                server.check()
                return self.book.alive(server.name)
        return False

    def _start(self, server: Server, tell: Progress) -> None:
        tell(server.name, "starting")
        began = time.monotonic()
        # What is left of a killed predecessor holds its ports and its data: end it first. One that
        # does not answer will hardly end in order either.
        self.book.end_leftovers({server.name}, timeout=STUCK_TIMEOUT)
        for attempt in range(1, PORT_ATTEMPTS + 1):
            self._ports.claim(server.port_names)
            server.prepare()
            launch = server.launch()
            self.book.spawn(server.name, launch.argv, env=launch.env, stop_signal=launch.stop_signal)
            try:
                self._wait_until_ready(server)
                break
            except StackError:
                self.book.stop(server.name)
                # Somebody took the port between our look and the server's: take another.
                if attempt == PORT_ATTEMPTS or not self._ports.replaceable(server.port_names):
                    raise
        tell(server.name, f"ready at {server.address} after {time.monotonic() - began:.1f} s")

    def _wait_until_ready(self, server: Server) -> None:
        deadline = time.monotonic() + START_TIMEOUT
        reason: Exception | None = None
        while time.monotonic() < deadline:
            if self._cancelled.is_set():
                raise StackError(f"{server.name}: start was broken off")
            if not self.book.alive(server.name):
                raise StackError(self.book.death_notice(server.name))
            try:
                server.check()
            except Exception as error:  # noqa: BLE001 - every client library has its own
                reason = error
                time.sleep(0.05)
                continue
            # Another program could have answered on the port of a server that died meanwhile.
            if self.book.alive(server.name):
                return
        log = self.book.log_path(server.name)
        raise StackError(
            f"{server.name} does not answer at {server.address} after {START_TIMEOUT:.0f} s: "
            f"{type(reason).__name__}: {reason} (log: {log})"
        )

    def _stop(self, server: Server, tell: Progress) -> None:
        if self.book.stop(server.name, timeout=30):
            tell(server.name, "stopped")

    def _in_parallel(
        self, servers: list[Server], work: Callable[[Server], None], *, stop_on_error: bool = True
    ) -> None:
        """Do the work for all servers at once; a failure or Ctrl-C ends what was started."""
        if not servers:
            return
        with ThreadPoolExecutor(len(servers)) as pool:
            futures = [pool.submit(work, server) for server in servers]
            try:
                errors = [error for future in futures if (error := future.exception()) is not None]
            except BaseException:
                self._cancelled.set()
                pool.shutdown(wait=True)
                self._end(servers, when=stop_on_error)
                raise
        if errors:
            self._end(servers, when=stop_on_error)
            surprise = next((error for error in errors if not isinstance(error, StackError)), None)
            if surprise is not None:
                raise surprise
            raise StackError("\n".join(str(error) for error in errors))

    def _end(self, servers: list[Server], *, when: bool) -> None:
        for server in servers if when else ():
            self.book.stop(server.name)

    def _status_of(self, server: Server) -> ServiceStatus:
        if self._is_external(server, self._given()):
            return ServiceStatus(server.name, "external", None, f"${server.addresses[0]}", None)
        record = self.book.get(server.name)
        if record is None or not record.alive:
            return ServiceStatus(server.name, "stopped", None, server.address, None)
        state = "running" if self._answers(server, attempts=1) else "not answering"
        memory = proc.memory_megabytes(record.sid)
        return ServiceStatus(server.name, state, record.pid, server.address, memory)

    def _make_home(self) -> None:
        if sys.platform != "linux" or platform.machine() not in {"x86_64", "aarch64"}:
            raise StackError(
                f"the local stack runs on Linux (x86_64, arm64), not on {sys.platform} {platform.machine()}; "
                "use the containers of docker-compose.override.yml"
            )
        try:
            self.home.mkdir(parents=True, exist_ok=True, mode=0o700)
            with TemporaryFile(dir=self.home):  # nameless: test workers do this at the same moment
                pass
        except OSError as error:
            raise StackError(
                f"{self.home} cannot be written ({error.strerror}): choose another with --home"
            ) from error

    @contextlib.contextmanager
    def _locked(self, tell: Progress) -> Iterator[None]:
        with locked(
            self.home / "stack.lock",
            timeout=180,
            on_wait=lambda: tell("stack", "waiting for another command on this home"),
        ):
            yield


def env_lines(values: Mapping[str, str]) -> str:
    """Return ``NAME=value`` lines a shell can source."""
    return "".join(f"{name}={shlex.quote(value)}\n" for name, value in sorted(values.items()))


def read_env_file(path: Path) -> dict[str, str]:
    """Return the variables of an env file written by ``up``; empty when there is none."""
    try:
        lines = path.read_text().splitlines()
    except FileNotFoundError:
        return {}
    pairs = (line.partition("=") for line in lines if "=" in line)
    return {name: "".join(shlex.split(value)) for name, _, value in pairs}


def _silent(_name: str, _message: str) -> None:
    """Tell nobody."""


def _ensure_topics(settings: Settings, *, wanted: bool) -> None:
    if wanted and importlib.util.find_spec("include.events.topics") is not None:
        from include.events.topics import ensure_topics

        ensure_topics(settings)
