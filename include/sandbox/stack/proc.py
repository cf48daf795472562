"""Reading Linux's process table: identity, session, working folder, environment, memory."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class Seen:
    """One running process: who it is and which session it belongs to."""

    pid: int
    parent: int
    sid: int
    started_ticks: int
    state: str
    threads: int

    @property
    def running(self) -> bool:
        """Return whether it still does anything.

        A killed process shows as a zombie while other threads of it still hold its ports and files.
        """
        return self.state not in "ZX" or self.threads > 1


@lru_cache(maxsize=1)
def boot_id() -> str:
    """Return the id of this boot of the machine."""
    return (PROC / "sys/kernel/random/boot_id").read_text().strip()


def look(pid: int) -> Seen | None:
    """Return the process with this pid, zombie or not; ``None`` when there is none."""
    try:
        stat = (PROC / str(pid) / "stat").read_text()
    except OSError:
        return None
    # The command in parentheses may hold spaces and parentheses: count from the last one.
    fields = stat[stat.rindex(")") + 2 :].split()
    return Seen(pid, int(fields[1]), int(fields[3]), int(fields[19]), fields[0], int(fields[17]))


def started_ticks(pid: int) -> int | None:
    """Return the process's start in clock ticks since boot."""
    seen = look(pid)
    return None if seen is None else seen.started_ticks


def is_running(pid: int, ticks: int) -> bool:
    """Return whether pid is still the process that started at ``ticks``; a zombie is not running."""
    seen = look(pid)
    return seen is not None and seen.started_ticks == ticks and seen.running


def all_running() -> Iterator[Seen]:
    """Yield every running process of the machine that is no zombie."""
    for entry in PROC.iterdir():
        if entry.name.isdigit() and (seen := look(int(entry.name))) is not None and seen.running:
            yield seen


def lineage(pid: int) -> set[int]:
    """Return the pid and those of all its ancestors."""
    line: set[int] = set()
    while pid > 0 and pid not in line:
        line.add(pid)
        seen = look(pid)
        pid = 0 if seen is None else seen.parent
    return line


def working_folder(pid: int) -> Path | None:
    """Return the process's working folder, ``None`` when we may not know it."""
    try:
        return (PROC / str(pid) / "cwd").readlink()
    except OSError:
        return None


def environment(pid: int) -> dict[str, str]:
    """Return the environment the process started with, empty when we may not know it."""
    try:
        raw = (PROC / str(pid) / "environ").read_bytes()
    except OSError:
        return {}
    pairs = (item.decode("utf-8", "replace").partition("=") for item in raw.split(b"\0"))
    return {name: value for name, _, value in pairs if name}


def runs_own_program(pid: int) -> bool:
    """Return whether it runs a program (not the interpreter) of this Python environment."""
    try:
        program = (PROC / str(pid) / "exe").readlink()
    except OSError:
        return False
    inside = program.is_relative_to(Path(sys.prefix).resolve())
    return inside and not program.name.startswith("python")


def memory_megabytes(sid: int) -> float:
    """Return the resident memory of a session's processes and their children, in MB.

    Memory that forked processes share is counted once for each (PostgreSQL looks larger than it is).
    """
    processes = list(all_running())
    family = {p.pid for p in processes if p.sid == sid}
    # PostgreSQL's children open sessions of their own: follow parents too.
    while grown := {p.pid for p in processes if p.parent in family} - family:
        family |= grown
    pages = 0
    for pid in family:
        with contextlib.suppress(OSError):
            pages += int((PROC / str(pid) / "statm").read_text().split()[1])
    return round(pages * os.sysconf("SC_PAGE_SIZE") / 2**20, 1)


def signal_one(pid: int, ticks: int, number: int) -> None:
    """Signal exactly the process that started at ``ticks``; a re-used pid is left alone."""
    try:
        handle = os.pidfd_open(pid)
    except OSError:
        return
    try:
        # The handle pins the process: checked after it is held, the identity cannot change any more.
        if is_running(pid, ticks):
            with contextlib.suppress(OSError):
                signal.pidfd_send_signal(handle, number)
    finally:
        os.close(handle)


def signal_group(pid: int, ticks: int, number: int) -> None:
    """Signal the process group led by the process that started at ``ticks``."""
    if is_running(pid, ticks):
        with contextlib.suppress(OSError):
            os.killpg(pid, number)
