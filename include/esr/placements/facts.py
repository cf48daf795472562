"""What generation knows of a post: its positions in ESR, its placements in TCS now and as last seen."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from datetime import date
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Mapping

    from include.esr.tcs.answers import Placement

# Source: domain page, section 3 (F).
ELIGIBLE_TYPES = frozenset(
    {
        "in post",
        "in post - acting up",
        "in post - extension",
        "parental leave",
        "long-term sick",
        "suspended",
        "phased return",
    }
)
APPROVED = "APPROVED"


@dataclass(frozen=True, slots=True, repr=False)
class PlacementFacts:
    """One placement, as far as ESR is told of it. Its repr shows none of it: it names people.

    Attributes:
        start, end: Its days, both inclusive; ``None`` when TCS gives none or one that is no date.
        type: ``placementType`` as TCS writes it.
        approved: ``lifecycleState`` is ``APPROVED``.
        wte: Whole-time equivalent, 1.0 is full time.
    """

    id: int
    trainee_id: int | None = None
    start: date | None = None
    end: date | None = None
    type: str | None = None
    approved: bool = False
    site_code: str | None = None
    wte: float | None = None
    gmc: str | None = None
    surname: str | None = None
    forenames: str | None = None
    email: str | None = None
    grade: str | None = None

    @property
    def eligible(self) -> bool:
        """Tell whether ESR is told of it at all: an eligible type, approved."""
        return self.approved and (self.type or "").strip().lower() in ELIGIBLE_TYPES

    @classmethod
    def of(cls, placement: Placement) -> Self:
        """Return the facts of a placement as TCS answered with it in full."""
        return cls(
            id=placement.id,
            trainee_id=placement.trainee_id,
            start=_day(placement.first_day),
            end=_day(placement.last_day),
            type=placement.kind,
            approved=placement.lifecycle_state == APPROVED,
            site_code=placement.site_code,
            wte=placement.whole_time_equivalent,
            gmc=placement.gmc_number,
            surname=placement.legal_surname or placement.surname,
            forenames=placement.legal_forenames or placement.forenames,
            email=placement.email,
            grade=placement.grade,
        )

    def to_document(self) -> dict[str, Any]:
        """Return it as it is stored; days as ISO text."""
        days = {
            name: day.isoformat() if day else None for name, day in (("start", self.start), ("end", self.end))
        }
        return asdict(self) | days

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Self:
        """Return what ``to_document`` wrote."""
        stored = cls(**document)
        return replace(stored, start=_day(document["start"]), end=_day(document["end"]))


@dataclass(frozen=True, slots=True)
class PositionFacts:
    """A matched position of a post, not deleted.

    Attributes:
        number: ``positionNumber``; absent when ESR gave none.
        host_lead: ``Host Employer`` or ``Lead Employer``; absent when ESR gave none.
        vpd: ``employingOrgVPDCode`` as ESR gave it.
        is_new: ESR told of it for the first time in a file of changes (RMC): its post is new there.
    """

    id: int
    number: str | None = None
    host_lead: str | None = None
    vpd: str | None = None
    managing_office: str | None = None
    ods_code: str | None = None
    is_new: bool = False


@dataclass(frozen=True, slots=True, repr=False)
class PostView:
    """A post of one deanery at generation. Its repr shows none of it.

    Attributes:
        number: ``nationalPostNumber``.
        positions: Its matched positions that this deanery holds; none: the post is nobody's any more.
        placements: As TCS has them now, long past ones left out.
        before: As they were when the post was looked at last; ``None`` when it never was.
        seen_on: The latest day ESR was told anything for, or ``before`` was noted for; ``None`` with it.
        reconciled: Ids of the positions reconciled since then.
        swept: The last day every post of the deanery was looked at for; ``None``: it never was.
    """

    id: int
    number: str
    deanery: str
    positions: tuple[PositionFacts, ...]
    placements: tuple[PlacementFacts, ...]
    before: tuple[PlacementFacts, ...] | None = None
    reconciled: frozenset[int] = frozenset()
    swept: date | None = None
    seen_on: date | None = None

    def is_seen_for(self, day: date) -> bool:
        """Tell whether what ESR was told of it until a day is noted."""
        return self.seen_on is not None and self.seen_on >= day


def _day(text: str | None) -> date | None:
    """Return the day an ISO text begins with; TCS writes some dates with a time."""
    try:
        return date.fromisoformat(text[:10]) if text else None
    except ValueError:
        return None
