"""Folders the invented ESR works in: on the SFTP server, or on disk for quick tests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from pathlib import Path


class Folder(Protocol):
    """What ESR needs of a folder."""

    def names(self, below: str = "") -> list[str]:
        """Return the names in the folder, or in one below it; none when that is not there."""

    def read(self, name: str) -> bytes:
        """Return a file's bytes."""

    def put(self, name: str, body: bytes) -> None:
        """Write a file in one go, over one of that name."""

    def move(self, name: str, below: str) -> None:
        """Move a file into a folder below, which is made when missing, over one of that name."""


class DiskFolder:
    """A folder on this machine."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.mkdir(parents=True, exist_ok=True)

    def names(self, below: str = "") -> list[str]:
        """Return the names in the folder, or in one below it."""
        folder = self._path / below
        return sorted(one.name for one in folder.iterdir()) if folder.is_dir() else []

    def read(self, name: str) -> bytes:
        """Return a file's bytes."""
        return (self._path / name).read_bytes()

    def put(self, name: str, body: bytes) -> None:
        """Write a file."""
        (self._path / name).write_bytes(body)

    def move(self, name: str, below: str) -> None:
        """Move a file into a folder below."""
        (self._path / below).mkdir(exist_ok=True)
        (self._path / name).replace(self._path / below / name)
