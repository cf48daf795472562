"""Every change TCS was told, one JSON line each: survives a restart and can be read back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FILE_NAME = "journal.jsonl"
WORLD_NAME = "world.json"


class Journal:
    """The journal of one state folder.

    Args:
        folder: Made when missing.
        world: What the changes are changes of (seed, size); a journal of another world is dropped.
    """

    def __init__(self, folder: Path, world: dict[str, Any]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / FILE_NAME
        kept = folder / WORLD_NAME
        if not kept.exists() or orjson.loads(kept.read_bytes()) != world:
            self._path.unlink(missing_ok=True)
            kept.write_bytes(orjson.dumps(world))
        else:
            self._drop_half_a_line()
        self._file = self._path.open("ab")

    def add(self, entry: dict[str, Any]) -> None:
        """Append one change; a kill of the process after this does not lose it."""
        self._file.write(orjson.dumps(entry) + b"\n")
        self._file.flush()

    def entries(self) -> Iterator[dict[str, Any]]:
        """Yield all changes in the order they were made."""
        with self._path.open("rb") as file:
            for line in file:
                yield orjson.loads(line)

    def clear(self) -> None:
        """Forget all changes."""
        self._file.truncate(0)

    def _drop_half_a_line(self) -> None:
        """Cut off what a kill in the middle of a write left behind."""
        if self._path.exists():
            lines = self._path.read_bytes()
            whole = lines.rfind(b"\n") + 1
            if whole < len(lines):
                self._path.write_bytes(lines[:whole])
