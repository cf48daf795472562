"""The exchange's documents in the integration store, as words and values shared by every stage.

What belongs to a deanery commits under one fence and one outbox owner: ``esr/<deanery>``.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from include.esr.names import FileName

if TYPE_CHECKING:
    from datetime import datetime

    from include.esr.names import Deanery


class FileState(StrEnum):
    """Life of a file: discovered > landed > split > saved > reconciled > published, or rejected."""

    DISCOVERED = "discovered"
    LANDED = "landed"
    SPLIT = "split"
    SAVED = "saved"
    RECONCILED = "reconciled"
    PUBLISHED = "published"
    REJECTED = "rejected"


DONE = frozenset({FileState.PUBLISHED, FileState.REJECTED})
"""States in which nothing is left to do for a file."""

APPLIED = frozenset({FileState.RECONCILED, FileState.PUBLISHED, FileState.REJECTED})
"""States in which the next file of the deanery may be applied: reconciling one and saving the next at
once would make each plan anew for every commit of the other."""


class MatchStatus(StrEnum):
    """Whether TCS has the post of a position."""

    MATCHED = "MATCHED"
    UNMATCHED = "UNMATCHED"


def owner(deanery: str) -> str:
    """Return the owner under which a deanery's fence, outbox and quarantine are kept."""
    return f"esr/{deanery}"


def file_id(name: str, version: int) -> str:
    """Return the ledger's key of one version of a file, by its name with 8 digits."""
    return f"{name}#{version}"


@dataclass(frozen=True, slots=True)
class Source:
    """The file that records come from, as far as applying them needs to know.

    Attributes:
        file_id: ``<name>#<version>``.
        order: Place in time of the file among all of its deanery, which no other has: date, sequence, type
            and version as text of fixed width, which sorts; a full file comes after the changes of its
            day. A record with a lower order never overwrites one with a higher.
    """

    file_id: str
    name: FileName
    version: int

    @property
    def deanery(self) -> Deanery:
        """Return whose file it is."""
        return self.name.deanery

    @property
    def owner(self) -> str:
        """Return the owner of what it holds."""
        return owner(self.deanery)

    @property
    def order(self) -> str:
        """Return its place in time, such as ``20260304-00000017-RMF-001``."""
        return f"{self.name.day:%Y%m%d}-{self.name.sequence:08d}-{self.name.type}-{self.version:03d}"

    @classmethod
    def of(cls, file_id: str) -> Source:
        """Return the source of a ledger key.

        Raises:
            FileRejectedError: The name is not an ESR file's.
        """
        name, _, version = file_id.rpartition("#")
        return cls(file_id, FileName.parse(name), int(version))


@dataclass(frozen=True, slots=True)
class LandedFile:
    """What is known of a file once every byte of it lies in the landing zone.

    Attributes:
        key: Object key in the landing zone (gzip).
        sha256: Hex digest of the bytes as they came.
        size: Bytes as they came.
        encoding: ``utf-8``, ``cp1252`` when only that decodes it, ``None`` when neither does.
        lines: Lines in all, header and footer included.
    """

    source: Source
    key: str
    sha256: str
    size: int
    encoding: str | None
    lines: int
    landed_at: datetime
