"""Which of two files counts for one position or person, also when they are of two deaneries. Pure.

Source: the domain page "ESR exchange", section 3: file date and sequence are compared per deanery. Each
deanery counts its own files, so that of two deaneries' files only the days can be compared.
"""

from __future__ import annotations

from typing import NamedTuple

_DAY = 8
"""Characters at the start of ``Source.order`` that are the file's day."""


class Age(NamedTuple):
    """What decides whether one saying counts beside another.

    Attributes:
        order: ``Source.order`` of the file; more may follow, as long as it sorts.
        deanery: Whose file.
        updated: The record's own last update date, ISO text, empty when it has none.
        deleted: Whether it says ``D``.
    """

    order: str
    deanery: str
    updated: str = ""
    deleted: bool = False

    @property
    def day(self) -> str:
        """Return the file's day."""
        return self.order[:_DAY]


def counts_beside(coming: Age, held: Age) -> bool:
    """Tell whether what comes takes the place of what is held.

    Of one deanery, the later file counts, and the same file counts again: its layout may have been
    corrected. Of two deaneries, the later day counts, then the later update of the record; on a tie who
    holds it keeps it. A ``D`` speaks for its own deanery alone: it takes nothing from another one, and
    keeps nothing from one that has the record on the same day. So a record that moves from one to the
    other on one day stays, whichever file comes first.
    """
    if coming.deanery == held.deanery:
        return coming.order >= held.order
    if coming.deleted:
        return False
    if held.deleted:
        return coming.day >= held.day
    return (coming.day, coming.updated) > (held.day, held.updated)


def leads(one: Age, other: Age, *, holder: str) -> bool:
    """Tell whether ``one`` is the newer of two that stand side by side; on a tie the holder's is."""
    if one.deanery == other.deanery:
        return one.order > other.order
    mine, theirs = (one.day, one.updated), (other.day, other.updated)
    return mine > theirs or (mine == theirs and one.deanery == holder)
