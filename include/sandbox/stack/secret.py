"""Secrets of a home, made once and readable by its owner only."""

from __future__ import annotations

import json
import secrets
from typing import TYPE_CHECKING

from include.sandbox.stack.files import locked, write_private

if TYPE_CHECKING:
    from pathlib import Path


class Secrets:
    """Random secrets by name, kept in ``<home>/secrets.json`` (0600)."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._file = home / "secrets.json"

    def get(self, name: str) -> str:
        """Return the secret of this name, made at first use (URL-safe text)."""
        known = self._read()
        if name not in known:
            with locked(self._home / "secrets.lock"):
                known = self._read()
                known.setdefault(name, secrets.token_hex(20))
                write_private(self._file, json.dumps(known, indent=1))
        return known[name]

    def _read(self) -> dict[str, str]:
        try:
            return {str(name): str(value) for name, value in json.loads(self._file.read_text()).items()}
        except (FileNotFoundError, ValueError):
            return {}
