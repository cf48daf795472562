"""Which applicants ESR must be sent, by the domain page's rules and what TCS knows: a count of its own."""

from __future__ import annotations

from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

from include.sandbox.esr.answering import Applicant
from include.sandbox.esr.records import day_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from include.sandbox.tcs.state import TcsState

TYPES = frozenset(
    {
        "In post", "In Post - Acting Up", "In post - Extension", "Parental Leave", "Long-term sick",
        "Suspended", "Phased Return",
    }
)  # fmt: skip
FIRST_DAY, AFTER_LAST = timedelta(days=2), timedelta(weeks=13)


def expected_applicants(
    tcs: TcsState, matched: Mapping[int, int], today: date
) -> dict[tuple[int, int], Applicant]:
    """Return the applicants due on a day, by placement and position id; who was sent before is among them.

    Args:
        tcs: What TCS knows on that day.
        matched: Post id by position id, deleted positions left out.
        today: The day of the files.
    """
    due: dict[tuple[int, int], Applicant] = {}
    for position, post in matched.items():
        for placement in due_placements(tcs, post, today):
            trainee = placement["traineeId"]
            gmc, gdc = tcs.registration(trainee)
            dob = (tcs.detail("personal", trainee) or {}).get("dateOfBirth")
            start = day_text(placement["dateFrom"])
            due[placement["id"], position] = Applicant(position, start, gmc or gdc or "", day_text(dob))
    return due


def due_placements(tcs: TcsState, post: int, today: date) -> Iterator[dict[str, Any]]:
    """Yield the placements of a post ESR is told of whose start lies in the window of a day."""
    for placement in tcs.placements_of("post", post):
        start = date.fromisoformat(placement["dateFrom"])
        eligible = placement["placementType"] in TYPES and placement["lifecycleState"] == "APPROVED"
        if eligible and today + FIRST_DAY <= start < today + AFTER_LAST:
            yield placement
