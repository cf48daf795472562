"""The quality gate of a whole file: its frame, each record type, and the deanery's history.

What is judged is a frame of one row of facts about the file. The suites are plain Great Expectations
JSON in ``include/quality/suites``: ``esr_frame``, ``esr_<record type>`` and ``esr_history``.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

from include.esr.errors import FileRejectedError
from include.esr.formats.frame import is_named
from include.esr.names import FileType
from include.quality.gate import run_suite

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from include.esr.names import FileName
    from include.esr.tally import Tally, TypeTally
    from include.quality.gate import Reason

ENOUGH_LINES = 20
"""A share of fewer lines says nothing."""
ENOUGH_FOR_HISTORY = 200
"""A day's few changes are like no other day's."""
ENOUGH_FILES = 3
"""A history of fewer files says nothing."""

# The columns ESR always fills: when most are empty, the columns have moved.
_ALWAYS_FILLED = {
    "POS": ("position_number", "deanery_number"),
    "POR": ("position_number", "deanery_number"),
    "ASG": ("person_id", "deanery_number"),
    "PER": ("last_name", "first_name"),
    "ADD": ("address1",),
    "ABS": ("absence_start",),
    "PBD": ("reg_number",),
}


@dataclass(frozen=True, slots=True)
class PastFile:
    """An earlier file of the same deanery and type, as far as the next is judged by it."""

    data_lines: int
    deleted_share: float
    unmatched_share: float | None


def frame_facts(name: FileName, tally: Tally) -> dict[str, bool]:
    """Return what is so of a file's frame; what cannot be said of a missing line counts as so."""
    header, footer, lines = tally.header, tally.footer, tally.data_lines
    return {
        "has_lines": bool(header or lines or footer is not None),
        "has_header": header is not None,
        "header_is_name": header is None
        or (
            is_named(name, header["stem"])
            and header["deanery"] == name.deanery
            and header["sequence"] == name.sequence
        ),
        "has_footer": footer is not None,
        "footer_counts": footer is None or lines - tally.uncounted <= footer <= lines,
        "has_records": lines > 0 or name.type is FileType.RMC,  # a day may have no changes
        "mostly_readable": lines < ENOUGH_LINES or 2 * tally.bad <= lines,
    }


def type_facts(code: str, tally: TypeTally) -> dict[str, float | None]:
    """Return shares of one record type; ``None`` where there are too few lines for a share."""

    def share(part: int, whole: int) -> float | None:
        return part / whole if whole >= ENOUGH_LINES else None

    return {
        "bad_share": share(tally.bad, tally.lines),
        **{
            f"filled_{column}": share(tally.filled.get(column, 0), tally.good)
            for column in _ALWAYS_FILLED[code]
        },
    }


def history_facts(
    name: FileName, tally: Tally, unmatched_share: float | None, past: Sequence[PastFile]
) -> dict[str, float | None]:
    """Return how a file compares with the deanery's earlier ones of its type (their medians).

    Only a full file (RMF) is judged by its volume: how much changes in a day is anybody's guess.
    """
    usual = median(file.data_lines for file in past) if len(past) >= ENOUGH_FILES else 0
    enough = usual > 0 and tally.data_lines >= ENOUGH_FOR_HISTORY
    known = [file.unmatched_share for file in past if file.unmatched_share is not None]
    return {
        # By the usual number, not by this file's: a collapse to a few lines is what it must see.
        "volume_ratio": tally.data_lines / usual
        if usual >= ENOUGH_FOR_HISTORY and name.type is FileType.RMF
        else None,
        "deleted_excess": tally.deleted / max(1, tally.good) - median(file.deleted_share for file in past)
        if enough
        else None,
        "unmatched_excess": unmatched_share - median(known)
        if enough and known and unmatched_share is not None
        else None,
    }


def require_frame(name: FileName, tally: Tally) -> None:
    """Raise unless the file is whole: header as the name says, footer with the right count.

    Raises:
        FileRejectedError: With the first reason's code.
    """
    _require("esr_frame", frame_facts(name, tally), name)


def require_types(name: FileName, tally: Tally) -> None:
    """Raise when the lines of a record type cannot be trusted as a whole.

    Raises:
        FileRejectedError: With the first reason's code.
    """
    for code, each in sorted(tally.types.items()):
        if code in _ALWAYS_FILLED:
            _require(f"esr_{code.lower()}", type_facts(code, each), name)


def require_history(
    name: FileName, tally: Tally, unmatched_share: float | None, past: Sequence[PastFile]
) -> None:
    """Raise when a file is too unlike the deanery's earlier ones to be believed.

    Raises:
        FileRejectedError: With the first reason's code.
    """
    _require("esr_history", history_facts(name, tally, unmatched_share, past), name)


def _require(suite: str, facts: Mapping[str, bool | float | None], name: FileName) -> None:
    import pandas as pd

    if all(value is None for value in facts.values()):
        return  # nothing can be said of so few lines, and a suite takes a tenth of a second to say it
    frame = pd.DataFrame(
        {
            column: [value] if isinstance(value, bool) else pd.Series([value], dtype="float64")
            for column, value in facts.items()
        }
    )
    failures = run_suite(suite, frame).batch_failures
    if failures:
        raise FileRejectedError(
            f"{_told(failures)}; the file is kept as it came and nothing of it was applied",
            code=failures[0].code,
            subject=str(name),
        )


def _told(failures: Sequence[Reason]) -> str:
    return "; ".join(f"{reason.code}: {reason.message}" for reason in failures)
