"""The one error of the local stack: a line that says what is wrong and what to do."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


class StackError(Exception):
    """A server of the local stack cannot be started, reached or stopped.

    The message is one line for the person at the keyboard and holds no secret.
    """


def last_meaningful_line(log: Path, limit: int = 300) -> str:
    """Return the last line of a server's log that looks like a reason, or its last line.

    Args:
        log: Path of the log; it need not exist.
        limit: Characters of the line to keep.
    """
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - 20_000))
            lines = file.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return "it wrote no log"
    lines = [_plain(line.strip()) for line in lines if line.strip()]
    words = ("error", "fatal", "panic", "cannot", "in use", "denied", "no space", "failed")
    telling = [line for line in lines if any(word in line.lower() for word in words)]
    return (telling or lines or ["its log is empty"])[-1][:limit]


def _plain(line: str) -> str:
    """Return a line of mongod's JSON log as text: its message and the error it names."""
    try:
        entry = json.loads(line)
        details = entry["attr"].get("error") or entry["attr"].get("msg") if "attr" in entry else None
        return f"{entry['msg']}: {details}" if details else str(entry["msg"])
    except (ValueError, TypeError, KeyError, AttributeError):
        return line
