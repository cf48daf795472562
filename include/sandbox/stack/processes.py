"""Detached processes of one home: started, recorded on disk, and ended by exactly that record."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import threading
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from include.sandbox.stack import proc
from include.sandbox.stack.errors import StackError, last_meaningful_line
from include.sandbox.stack.files import locked, write_private

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
    from pathlib import Path

MARKER_HOME = "SPOTLIGHT_CHILD_OF"
"""Environment variable every child carries: the home it belongs to. Never set it by hand."""
MARKER_NAME = "SPOTLIGHT_CHILD_NAME"


LOG_LIMIT = 5 * 2**20
"""Bytes above which a log is moved aside at the next start; one older log is kept."""


@dataclass(frozen=True, slots=True)
class ProcessRecord:
    """One started process, as kept in ``processes.json``.

    Attributes:
        started_ticks: Start in clock ticks since boot: with ``boot_id`` it tells a re-used pid.
        sid: Session id, shared by all children that do not open a session of their own.
        stop_signal: What asks this process to end in order.
    """

    name: str
    pid: int
    started_ticks: int
    boot_id: str
    sid: int
    stop_signal: int = signal.SIGTERM

    @property
    def alive(self) -> bool:
        """Return whether exactly this process still runs (a zombie does not)."""
        return self.boot_id == proc.boot_id() and proc.is_running(self.pid, self.started_ticks)


class ProcessBook:
    """The processes of one home.

    Safe to use from several threads and processes at once: the file is the truth, each change is
    made under a file lock and written atomically.

    Args:
        home: Folder the processes belong to; made when missing.
    """

    def __init__(self, home: Path) -> None:
        self.home = home.resolve()
        self.home.mkdir(parents=True, exist_ok=True)
        self._file = self.home / "processes.json"
        self._children: dict[int, subprocess.Popen[bytes]] = {}
        self._children_lock = threading.Lock()

    def log_path(self, name: str) -> Path:
        """Return where the process ``name`` writes its stdout and stderr."""
        return self.home / "logs" / f"{name}.log"

    def spawn(
        self,
        name: str,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        stop_signal: int = signal.SIGTERM,
    ) -> ProcessRecord:
        """Start a process in a session of its own and record it.

        Args:
            name: Its name in this home; one running process a name.
            argv: Program and arguments.
            env: Whole environment of the process; ``None`` inherits ours.
            cwd: Working folder, made when missing; by default ``<home>/<name>``. It must lie inside the home.
            stop_signal: What asks it to end in order.

        Raises:
            StackError: It already runs, or the program cannot be started.
        """
        folder = (cwd or self.home / name).resolve()
        if not folder.is_relative_to(self.home):
            raise StackError(f"{name}: working folder {folder} is not inside {self.home}")
        if self.alive(name):
            raise StackError(f"{name} already runs in {self.home}")
        folder.mkdir(parents=True, exist_ok=True)
        log = self.log_path(name)
        log.parent.mkdir(parents=True, exist_ok=True)
        environment = dict(os.environ if env is None else env)
        environment |= {MARKER_HOME: str(self.home), MARKER_NAME: name}
        try:
            _rotate(log)
            with log.open("ab") as output:
                child = subprocess.Popen(
                    list(argv),
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    cwd=folder,
                    env=environment,
                    start_new_session=True,
                )
        except OSError as error:
            raise StackError(f"{name}: cannot start {argv[0]}: {error.strerror}") from error
        with self._children_lock:
            self._children[child.pid] = child
        # start_new_session makes the child the leader of a session with its own pid as id.
        ticks = proc.started_ticks(child.pid) or 0
        record = ProcessRecord(name, child.pid, ticks, proc.boot_id(), child.pid, int(stop_signal))
        with self._changing() as records:
            records[name] = record
        return record

    def get(self, name: str) -> ProcessRecord | None:
        """Return the record of ``name``, alive or not."""
        return self._read().get(name)

    def names(self) -> list[str]:
        """Return the names of the processes that run now, sorted."""
        self._reap()
        return sorted(name for name, record in self._read().items() if record.alive)

    def alive(self, name: str) -> bool:
        """Return whether the recorded process ``name`` runs."""
        self._reap()
        record = self.get(name)
        return record is not None and record.alive

    def death_notice(self, name: str) -> str:
        """Return one line on a dead process: its last telling log line and the log's path."""
        log = self.log_path(name)
        return f"{name} stopped: {last_meaningful_line(log)} (log: {log})"

    def stop(self, name: str, *, timeout: float = 15) -> bool:
        """End the process ``name`` and its process group, in order if it complies.

        Args:
            name: A recorded name; an unknown one is no error.
            timeout: Seconds to wait after its stop signal before SIGKILL.

        Returns:
            Whether it was running.
        """
        record = self.get(name)
        if record is None:
            return False
        was_alive = record.alive
        if was_alive:
            proc.signal_group(record.pid, record.started_ticks, record.stop_signal)
            self._wait_for(lambda: not record.alive, timeout)
        self._end_all(self._leftovers_of({name}), grace=1 if was_alive else timeout)
        with self._changing() as records:
            if records.get(name) == record:
                del records[name]
        return was_alive

    def end_leftovers(self, names: Collection[str] | None = None, *, timeout: float = 15) -> list[int]:
        """End what is still running of this home and forget it; nothing else is touched.

        A process is ours when it is a recorded one (pid, start and boot agree), or belongs to a recorded
        session and works inside the home, or carries our marker with this home, or is a program
        of this Python environment (mongod, postgres, weed) that works inside the home. PostgreSQL and
        Airflow overwrite their environment and argv, so no single sign is enough.

        Args:
            names: Only the processes of these names; ``None`` means all of the home.
            timeout: Seconds between the stop signal and SIGKILL.

        Returns:
            The pids ended.
        """
        self._reap()
        wanted = None if names is None else set(names)
        found = self._leftovers_of(wanted)
        leaders = [r for r in self._read().values() if found.get(r.pid) == r.started_ticks and r.alive]
        for leader in leaders:
            proc.signal_group(leader.pid, leader.started_ticks, leader.stop_signal)
        # A leader ends its children in order: they get a signal of ours only when it could not.
        self._wait_for(lambda: not any(leader.alive for leader in leaders), timeout)
        self._end_all(found, grace=1 if leaders else timeout)
        with self._changing() as records:
            for name in [n for n in records if (wanted is None or n in wanted) and not records[n].alive]:
                del records[name]
        return sorted(found)

    def _leftovers_of(self, names: set[str] | None) -> dict[int, int]:
        """Return pid to start ticks of every living process of ours with one of the names."""
        records = [r for r in self._read().values() if r.boot_id == proc.boot_id()]
        by_identity = {(r.pid, r.started_ticks): r.name for r in records}
        by_session = {r.sid: r for r in records}
        untouchable = proc.lineage(os.getpid())
        found: dict[int, int] = {}
        for seen in proc.all_running():
            if seen.pid in untouchable:
                continue
            owner = by_identity.get((seen.pid, seen.started_ticks))
            owner = owner or self._owner_by_session(seen, by_session) or self._owner_by_signs(seen)
            if owner is not None and (names is None or owner in names):
                found[seen.pid] = seen.started_ticks
        return found

    def _owner_by_session(self, seen: proc.Seen, by_session: Mapping[int, ProcessRecord]) -> str | None:
        record = by_session.get(seen.sid)
        if record is None or seen.started_ticks < record.started_ticks:
            return None
        return record.name if self._works_here(seen.pid) else None

    def _owner_by_signs(self, seen: proc.Seen) -> str | None:
        environment = proc.environment(seen.pid)
        if environment.get(MARKER_HOME) == str(self.home):
            return environment.get(MARKER_NAME, "")
        folder = proc.working_folder(seen.pid)
        if folder is None or not folder.is_relative_to(self.home) or not proc.runs_own_program(seen.pid):
            return None
        return next(iter(folder.relative_to(self.home).parts), "")

    def _works_here(self, pid: int) -> bool:
        folder = proc.working_folder(pid)
        return folder is not None and folder.is_relative_to(self.home)

    def _end_all(self, found: Mapping[int, int], *, grace: float) -> None:
        """Send SIGTERM, wait, then SIGKILL; each only while the pid is still the same process."""

        def left() -> list[int]:
            return [pid for pid, ticks in found.items() if proc.is_running(pid, ticks)]

        if not left():
            return
        for pid in left():
            proc.signal_one(pid, found[pid], signal.SIGTERM)
        if not self._wait_for(lambda: not left(), grace):
            for pid in left():
                proc.signal_one(pid, found[pid], signal.SIGKILL)
            self._wait_for(lambda: not left(), 5)

    def _wait_for(self, condition: Callable[[], bool], timeout: float) -> bool:
        deadline = time.monotonic() + timeout
        while True:
            self._reap()
            if condition():
                return True
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)

    def _reap(self) -> None:
        """Collect the exit of our own dead children, so that they do not stay as zombies."""
        with self._children_lock:
            for pid in [pid for pid, child in self._children.items() if child.poll() is not None]:
                del self._children[pid]

    def _read(self) -> dict[str, ProcessRecord]:
        try:
            rows = json.loads(self._file.read_text())
        except (FileNotFoundError, json.JSONDecodeError):
            return {}
        return {row["name"]: ProcessRecord(**row) for row in rows}

    @contextlib.contextmanager
    def _changing(self) -> Iterator[dict[str, ProcessRecord]]:
        with locked(self.home / "processes.lock"):
            records = self._read()
            yield records
            write_private(self._file, json.dumps([asdict(r) for r in records.values()], indent=1))


def _rotate(log: Path) -> None:
    if log.exists() and log.stat().st_size > LOG_LIMIT:
        log.replace(log.with_suffix(".log.1"))
