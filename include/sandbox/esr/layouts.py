"""Our files as ESR knows them: columns in the order of the domain page, under the page's own names.

Written from the page and not from the product's layouts: an independent witness.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class Layout:
    """One kind of line: everything that is neither an id nor a day is text.

    Attributes:
        columns: Names from the second column on.
        allowed: The only values a column may have, when it has one.
    """

    columns: tuple[str, ...]
    mandatory: frozenset[str]
    ids: frozenset[str] = frozenset()
    days: frozenset[str] = frozenset()
    allowed: Mapping[str, frozenset[str]] = field(default_factory=dict)


APPLICANT = Layout(
    columns=(
        "effectiveDate", "applicantEmailAddress", "lastName", "firstName", "middleNames", "title", "dob",
        "gender", "address1", "address2", "address3", "town", "county", "postcode", "country", "homeTel",
        "mobileTel", "ethnicOriginCode", "professionalBody", "regNumber", "regExpiryDate",
        "sexualOrientation", "religiousBelief", "nationality", "nationalTrainingNumber", "ukNino",
        "positionId", "positionNumber", "disability", "projectedHireDate", "projectedEndDate",
        "maritalStatus", "previousLastName", "countryOfBirth", "deaneryNumber",
    ),
    mandatory=frozenset({"effectiveDate", "lastName", "firstName", "dob", "positionId", "positionNumber"}),
    ids=frozenset({"positionId"}),
    days=frozenset({"effectiveDate", "dob", "regExpiryDate", "projectedHireDate", "projectedEndDate"}),
    allowed={"professionalBody": frozenset({"GMC", "GDC"})},
)  # fmt: skip

NOTIFICATION = Layout(
    columns=(
        "notificationTitleCode", "deaneryBody", "deaneryPostNumber", "managingDeaneryBodyCode",
        "occupationCode", "hostLeadEmployerStatus", "newTrainingPositionLocation", "currentTraineeLastName",
        "currentTraineeFirstName", "currentTraineeGmcNumber", "currentTraineeProjectedEndDate",
        "currentTraineeVpdForNextPlacement", "currentTraineeWorkingHoursIndicator",
        "nextAppointmentTraineeLastName", "nextAppointmentTraineeFirstName",
        "nextAppointmentTraineeGmcNumber", "nextAppointmentCurrentPlacementVpd",
        "nextAppointmentProjectedStartDate", "nextAppointmentTraineeEmailAddress",
        "nextAppointmentTraineeGrade", "withdrawnTraineeLastName", "withdrawnTraineeFirstName",
        "withdrawnTraineeGmcNumber", "withdrawalReason", "replacementTraineeLastName",
        "replacementTraineeFirstName", "replacementTraineeGmcNumber",
        "replacementTraineeCurrentPlacementVpd", "replacementTraineeProjectedHireDate",
        "changeOfProjectedHireDate", "changeOfProjectedEndDate", "postSpeciality", "workingHourIndicator",
        "postVacantAtNextRotation", "medicalRotationPostDeleteIndicator",
    ),
    mandatory=frozenset({"notificationTitleCode", "deaneryPostNumber"}),
    days=frozenset(
        {
            "currentTraineeProjectedEndDate", "nextAppointmentProjectedStartDate",
            "replacementTraineeProjectedHireDate", "changeOfProjectedHireDate", "changeOfProjectedEndDate",
        }
    ),
    allowed={
        "notificationTitleCode": frozenset("12345"),
        "postVacantAtNextRotation": frozenset({"true", "false"}),
    },
)  # fmt: skip

VPDS = (
    "currentTraineeVpdForNextPlacement",
    "nextAppointmentCurrentPlacementVpd",
    "replacementTraineeCurrentPlacementVpd",
)
"""Columns of a notification that hold a VPD: three digits, else ESR refuses the file."""

RECEIPT_FILE = Layout(
    columns=("fileName", "outcome", "code", "text"),
    mandatory=frozenset({"fileName", "outcome"}),
    allowed={"outcome": frozenset({"success", "errors", "rejected"})},
)
RECEIPT_COUNT = Layout(
    columns=("recordType", "accepted", "rejected"),
    mandatory=frozenset({"recordType", "accepted", "rejected"}),
    ids=frozenset({"accepted", "rejected"}),
)
RECEIPT_ERROR = Layout(
    columns=("sourceLine", "recordType", "code", "text"),
    mandatory=frozenset({"sourceLine", "code"}),
    ids=frozenset({"sourceLine"}),
)

FILES: Mapping[str, Mapping[str, Layout]] = {
    "APP": {"APP": APPLICANT},
    "DNC": {"NOT": NOTIFICATION},
    "DNF": {"NOT": NOTIFICATION},
    "RTC": {"FIL": RECEIPT_FILE, "CNT": RECEIPT_COUNT, "ERR": RECEIPT_ERROR},
}
"""By type of a file: its lines by record code."""
