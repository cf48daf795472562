"""The last good rows of a shard in a file: DAGs stay when the registry cannot be reached at parse."""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from include.registry.models import BrokenRow

if TYPE_CHECKING:
    from collections.abc import Sequence

    from include.registry.queries import RawRow


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Rows as they were last read, when that was (UTC), and which of them were found broken."""

    rows: list[RawRow]
    taken_at: datetime
    broken: tuple[BrokenRow, ...] = ()


def write_snapshot(path: Path, rows: Sequence[RawRow], broken: Sequence[BrokenRow] = ()) -> bool:
    """Keep the rows, and what was found wrong with them, in ``path``; return whether the content changed.

    A reader sees the old file or the new one, never a part. Unchanged rows only move the file's
    time stamp, which says when the registry was last read.

    Raises:
        OSError: The folder cannot be made or written.
    """
    kept = {"rows": rows, "broken": [[one.npo_id, one.problem, one.config_version] for one in broken]}
    content = json.dumps(kept, sort_keys=True, separators=(",", ":")).encode()
    try:
        if path.read_bytes() == content:
            os.utime(path)
            return False
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as part:
        try:
            part.write(content)
            part.flush()
            os.fsync(part.fileno())
            Path(part.name).replace(path)
        except BaseException:
            Path(part.name).unlink(missing_ok=True)
            raise
    return True


def read_snapshot(path: Path) -> Snapshot | None:
    """Return the last good rows, ``None`` when there is no readable snapshot."""
    try:
        kept = json.loads(path.read_bytes())
        taken_at = datetime.fromtimestamp(path.stat().st_mtime, tz=UTC)
        rows, broken = kept["rows"], tuple(BrokenRow(*one) for one in kept["broken"])
    except (OSError, ValueError, TypeError, KeyError):
        return None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        return None
    return Snapshot(rows, taken_at, broken)
