"""Names of ESR files: ``DE_<deanery>_<type>_<YYYYMMDD>_<sequence>.DAT``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum

from include.esr.errors import FileRejectedError

EXTENSION = ".DAT"
_PATTERN = re.compile(r"DE_([A-Z]{3})_([A-Z]{3})_(\d{8})_(\d{7,8})\.DAT", re.ASCII)


class Deanery(StrEnum):
    """The 13 deaneries, by ESR's code."""

    EMD = "EMD"
    KSS = "KSS"
    NTH = "NTH"
    WMD = "WMD"
    PEN = "PEN"
    NWN = "NWN"
    YHD = "YHD"
    EOE = "EOE"
    OXF = "OXF"
    WES = "WES"
    LDN = "LDN"
    MER = "MER"
    SEV = "SEV"


class FileType(StrEnum):
    """What a file holds; see the table of files in ``docs/esr.md``."""

    RMF = "RMF"
    RMC = "RMC"
    RTC = "RTC"
    APP = "APP"
    APC = "APC"
    DNC = "DNC"
    DNF = "DNF"
    DCC = "DCC"


RMT = frozenset({FileType.RMF, FileType.RMC})
"""Data from ESR: the full reconciliation file and the day's changes to it."""

ANSWERS = frozenset({FileType.APC, FileType.DCC})
"""ESR's answers to what we sent; they come into the same folder as its data."""


@dataclass(frozen=True, slots=True)
class FileName:
    """A file's name, taken apart.

    Attributes:
        sequence: Rises by one with each RMF or RMC of a deanery; at most 8 digits.
    """

    deanery: Deanery
    type: FileType
    day: date
    sequence: int

    @property
    def stem(self) -> str:
        """Return the name without its extension, as the header line has it."""
        return f"DE_{self.deanery}_{self.type}_{self.day:%Y%m%d}_{self.sequence:08d}"

    def __str__(self) -> str:
        """Return the name as we write it, with 8 digits."""
        return self.stem + EXTENSION

    @classmethod
    def parse(cls, name: str) -> FileName:
        """Return the parts of a name; 7 digits of sequence, which older documents show, are read too.

        Raises:
            FileRejectedError: With code ``bad_name``, ``unknown_deanery`` or ``unknown_type``.
        """
        found = _PATTERN.fullmatch(name)
        if found is None:
            raise FileRejectedError(
                "the name is not DE_<deanery>_<type>_<YYYYMMDD>_<sequence>.DAT", code="bad_name", subject=name
            )
        deanery, kind, day, sequence = found.groups()
        if deanery not in Deanery.__members__:
            raise FileRejectedError(f"there is no deanery '{deanery}'", code="unknown_deanery", subject=name)
        if kind not in FileType.__members__:
            raise FileRejectedError(f"there is no file type '{kind}'", code="unknown_type", subject=name)
        try:
            moment = datetime.strptime(day, "%Y%m%d").date()  # noqa: DTZ007 - a day has no time zone
        except ValueError:
            raise FileRejectedError(f"'{day}' is not a date", code="bad_name", subject=name) from None
        return cls(Deanery(deanery), FileType(kind), moment, int(sequence))


def ledger_name(name: str) -> str:
    """Return a file's name as the ledger has it: with 8 digits, or as it is when it cannot be read."""
    try:
        return str(FileName.parse(name))
    except FileRejectedError:
        return name
