"""The partner's side of the SFTP server: a folder of one test's own, and files to put into it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import date
from pathlib import Path

STEM = "DE_KSS_RMF_20260304_00000017"
NAME = f"{STEM}.DAT"


@dataclass(frozen=True)
class Inbox:
    """The folder as the server has it on disk; the stages see it by SFTP only."""

    path: Path

    def put(self, name: str | bytes, body: bytes, *, modified: int | None = None) -> Path:
        """Put a file there whole, as ESR does; its time is long ago unless said otherwise."""
        target = os.fsencode(self.path) + b"/" + os.fsencode(name)
        Path(os.fsdecode(target)).write_bytes(body)
        when = 1_772_000_000 if modified is None else modified
        os.utime(target, (when, when))
        return Path(os.fsdecode(target))

    def tree(self) -> dict[str, bytes]:
        """Return every file below the folder with its content."""
        return {
            str(file.relative_to(self.path)): file.read_bytes()
            for file in sorted(self.path.rglob("*"))
            if file.is_file()
        }

    def names(self) -> list[str]:
        """Return the paths of the files below the folder."""
        return list(self.tree())


def name_of(sequence: int, *, day: int = 4, deanery: str = "KSS", kind: str = "RMF") -> str:
    """Return a file's name in March 2026."""
    return f"DE_{deanery}_{kind}_{date(2026, 3, day):%Y%m%d}_{sequence:08d}.DAT"


def body_of(name: str = NAME, lines: int = 3, *, counted: int | None = None, text: str = "Post") -> bytes:
    """Return a sound file; ``counted`` is what its footer says when that is wrong."""
    stem = name.removesuffix(".DAT")
    _, deanery, _, day, sequence = stem.split("_")
    header = f'HDR,"{stem}",{day},143000,"{deanery}",{int(sequence)}\n'
    rows = "".join(
        f'POS,{each},20260304,"C","{each}","{text}","","","","{deanery}/RTD01/{each}","","","","","",""\n'
        for each in range(1, lines + 1)
    )
    return f"{header}{rows}FTR,{lines if counted is None else counted}\n".encode()
