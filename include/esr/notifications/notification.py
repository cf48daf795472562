"""One notification: whom it names, the columns of DNC it fills, and the key it is known by."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import TYPE_CHECKING

from include.esr.notifications.vpd import padded_vpd
from include.storage.documents import content_hash

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import date

    from include.esr.placements.facts import PlacementFacts, PositionFacts, PostView

    Fields = Mapping[str, str | date]

RECORD_CODE = "NOT"
UNKNOWN_REASON = "3"
"""``withdrawalReason`` "other": TCS does not say why a placement is withdrawn."""
_SPECIALTY = 2
_POST_NUMBER_PARTS = 5


class NotificationType(StrEnum):
    """``notificationTitleCode``: what ESR is told of a post (domain page, section 3)."""

    INCUMBENTS = "1"
    WITHDRAWAL = "2"
    REPLACEMENT = "3"
    NEW_DATES = "4"
    NEW_POST = "5"


@dataclass(frozen=True, repr=False)
class Notification:
    """What ESR is told of one position. Its repr shows none of it: it names people.

    Attributes:
        vacant: ``postVacantAtNextRotation``: nobody is next; of incumbents: nobody comes after these.
        current, next: Who is in the post, and who comes after that; of new dates only whose they are.
        withdrawn, replacement: Who does not come, and who comes instead.
        changed_start, changed_end: The new first and last day, where they changed.
    """

    type: NotificationType
    deanery: str
    post_id: int
    post_number: str
    position: PositionFacts
    vacant: bool
    current: PlacementFacts | None = None
    next: PlacementFacts | None = None
    withdrawn: PlacementFacts | None = None
    replacement: PlacementFacts | None = None
    changed_start: date | None = None
    changed_end: date | None = None

    @classmethod
    def about(
        cls,
        kind: NotificationType,
        view: PostView,
        position: PositionFacts,
        *,
        vacant: bool,
        changed: tuple[date | None, date | None] = (None, None),
        **named: PlacementFacts | None,
    ) -> Notification:
        """Return a notification of one position of a post.

        Args:
            kind: What is told.
            view: The post.
            position: The position.
            vacant: Whether nobody is next.
            changed: New first and last day, where they changed.
            named: Placements by their role (``current``, ``next``, ``withdrawn``, ``replacement``).
        """
        return cls(
            kind,
            view.deanery,
            view.id,
            view.number,
            position,
            vacant,
            current=named.get("current"),
            next=named.get("next"),
            withdrawn=named.get("withdrawn"),
            replacement=named.get("replacement"),
            changed_start=changed[0],
            changed_end=changed[1],
        )

    @property
    def main(self) -> PlacementFacts | None:
        """Return the placement it is mainly about: who does not come, else who comes, else who is there."""
        return self.withdrawn or self.next or self.current or self.replacement

    @property
    def placements(self) -> tuple[int, ...]:
        """Return the ids of the placements it names."""
        named = (self.current, self.next, self.withdrawn, self.replacement)
        return tuple(sorted({placement.id for placement in named if placement}))

    @cached_property
    def key(self) -> str:
        """Return the content key: two with the same key tell ESR the same.

        Over type, post, position and VPD, the placements with their roles, people, days and whole-time
        equivalents, vacancy and changed days; not over names and other details of people.
        A new post is one whatever else is said of it.
        """
        content: list[object] = [self.type.value, self.post_id, self.position.id]
        if self.type is not NotificationType.NEW_POST:
            content += [padded_vpd(self.position.vpd), self.vacant]
            content += [_day(self.changed_start), _day(self.changed_end)]
            content += [_identity(each) for each in (self.current, self.next, self.replacement)]
            content += [[self.withdrawn.id, self.withdrawn.trainee_id] if self.withdrawn else None]
        return content_hash(content)

    @property
    def fields(self) -> Fields:
        """Return the columns of DNC that are not empty, by name; a day is a ``date``.

        What nothing public settles is our decision (D):

        - ``deanery_body``: the deanery; ``deanery_post_number``: ``nationalPostNumber``;
        - ``managing_deanery_body_code``, ``host_lead_employer_status``, ``new_training_position_location``:
          managing office, host or lead indicator and ODS code of the position, as ESR gave them; without a
          managing office the deanery (D);
        - ``occupation_code``: nothing. ESR's documents and its one public line disagree on where it stands;
        - ``current_trainee_*``: who is in the post: names, GMC number, last day, whole-time equivalent as
          text (``working_hours_indicator``) and the position's VPD (``vpd_for_next_placement``);
        - ``next_appointment_*``: who comes next: names, GMC number, the position's VPD
          (``current_placement_vpd``), first day, e-mail address and grade;
        - ``withdrawn_trainee_*``: who does not come; ``withdrawal_reason``: "3", none is ever known;
        - ``replacement_trainee_*``: who comes instead, with the position's VPD and the first day;
        - ``change_of_projected_hire_date``, ``change_of_projected_end_date``: the new days, where changed;
        - ``post_speciality``: the specialty code in the post number, its third part (D);
        - ``working_hour_indicator``: whole-time equivalent of who comes next, or instead (D);
        - ``post_vacant_at_next_rotation``: ``true`` when nobody is next, else ``false``;
        - ``medical_rotation_post_delete_indicator``: ``false``: a deleted position gives no notification.
        """
        comes = self.next or self.replacement
        filled: dict[str, str | date | None] = {
            "notification_title_code": self.type.value,
            **self._of_post(),
            **self._of_current(),
            **self._of_next(),
            **_who("withdrawn_trainee", self.withdrawn),
            "withdrawal_reason": UNKNOWN_REASON if self.withdrawn else None,
            **self._of_replacement(),
            "change_of_projected_hire_date": self.changed_start,
            "change_of_projected_end_date": self.changed_end,
            "working_hour_indicator": _hours(comes.wte) if comes else None,
            "post_vacant_at_next_rotation": "true" if self.vacant else "false",
            "medical_rotation_post_delete_indicator": "false",
        }
        # What stands around a text, spaces and newlines that people paste in, says nothing.
        told = {name: value.strip() if isinstance(value, str) else value for name, value in filled.items()}
        return {name: value for name, value in told.items() if value}

    def _of_post(self) -> dict[str, str | None]:
        position = self.position
        return {
            "deanery_body": self.deanery,
            "deanery_post_number": self.post_number,
            "managing_deanery_body_code": position.managing_office or self.deanery,
            "host_lead_employer_status": position.host_lead,
            "new_training_position_location": position.ods_code,
            "post_speciality": _specialty(self.post_number),
        }

    def _of_current(self) -> dict[str, str | date | None]:
        if (there := self.current) is None:
            return {}
        return _who("current_trainee", there) | {
            "current_trainee_projected_end_date": there.end,
            "current_trainee_vpd_for_next_placement": padded_vpd(self.position.vpd),
            "current_trainee_working_hours_indicator": _hours(there.wte),
        }

    def _of_next(self) -> dict[str, str | date | None]:
        if (comes := self.next) is None:
            return {}
        return _who("next_appointment_trainee", comes) | {
            "next_appointment_current_placement_vpd": padded_vpd(self.position.vpd),
            "next_appointment_projected_start_date": comes.start,
            "next_appointment_trainee_email_address": comes.email,
            "next_appointment_trainee_grade": comes.grade,
        }

    def _of_replacement(self) -> dict[str, str | date | None]:
        if (comes := self.replacement) is None:
            return {}
        return _who("replacement_trainee", comes) | {
            "replacement_trainee_current_placement_vpd": padded_vpd(self.position.vpd),
            "replacement_trainee_projected_hire_date": comes.start,
        }


def _who(role: str, placement: PlacementFacts | None) -> dict[str, str | date | None]:
    if placement is None:
        return {}
    return {
        f"{role}_last_name": placement.surname,
        f"{role}_first_name": placement.forenames,
        f"{role}_gmc_number": placement.gmc,
    }


def _hours(wte: float | None) -> str | None:
    """Return a whole-time equivalent as text, such as ``0.8`` or ``1.0``."""
    return str(round(float(wte), 4)) if wte is not None and math.isfinite(wte) else None


def _specialty(post_number: str) -> str | None:
    """Return the specialty code in a post number, such as ``800`` in ``WES/J82150/800/GPST/003``."""
    parts = post_number.split("/")
    return parts[_SPECIALTY] if len(parts) >= _POST_NUMBER_PARTS else None


def _identity(placement: PlacementFacts | None) -> list[object] | None:
    if placement is None:
        return None
    days = [_day(placement.start), _day(placement.end)]
    return [placement.id, placement.trainee_id, *days, _hours(placement.wte)]


def _day(day: date | None) -> str | None:
    return day.isoformat() if day else None
