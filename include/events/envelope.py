"""The event envelope: CloudEvents 1.0 in JSON, with the extensions of the domain page, section 5."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from datetime import datetime

MAX_EVENT_BYTES = 64 * 1024

OFFERING_CREATED = "org.spotlight.offering.created.v1"
OFFERING_UPDATED = "org.spotlight.offering.updated.v1"
OFFERING_WITHDRAWN = "org.spotlight.offering.withdrawn.v1"
ASSIGNMENT_UPDATED = "org.spotlight.candidateassignment.updated.v1"
ASSIGNMENT_CREATED = "org.spotlight.candidateassignment.created.v1"
ASSIGNMENT_WITHDRAWN = "org.spotlight.candidateassignment.withdrawn.v1"
ENROLMENT_REQUESTED = "org.spotlight.candidateassignment.enrolment.requested.v1"
ENROLMENT_ACCEPTED = "org.spotlight.candidateassignment.enrolment.accepted.v1"
ENROLMENT_REJECTED = "org.spotlight.candidateassignment.enrolment.rejected.v1"
ENROLMENT_FAILED = "org.spotlight.candidateassignment.enrolment.failed.v1"
ENROLMENT_WITHDRAWN = "org.spotlight.candidateassignment.enrolment.withdrawn.v1"
POSITION_RECONCILED = "org.spotlight.esr.position.reconciled.v1"
FILE_EXPORTED = "org.spotlight.esr.file.exported.v1"
FILE_ANSWERED = "org.spotlight.esr.file.answered.v1"


_ESR = "esr/"


@dataclass(frozen=True, slots=True)
class Event:
    """One event before it is written. Attributes hold ids and times only, never personal data.

    Attributes:
        owner: Whose data it tells of: an ``npo_id``, or ``esr/<deanery>``.
        time: When it happened at the partner, as far as known.
        recorded_at: When we committed it.
        sequence: Version of the entity; rises by one with every event of that entity.
        data_ref: Where the data is (``s3://bucket/key``) when it is too large to travel.
    """

    id: str
    type: str
    owner: str
    subject: str
    time: datetime
    recorded_at: datetime
    partition_key: str
    sequence: int
    correlation_id: str
    causation_id: str
    data: dict[str, Any]
    trace_parent: str | None = None
    data_ref: str | None = None

    def to_json(self) -> bytes:
        """Return the event in the JSON event format (structured mode)."""
        body: dict[str, Any] = {
            "specversion": "1.0",
            "id": self.id,
            "source": _source(self.owner),
            "type": self.type,
            "subject": self.subject,
            "time": self.time,
            "datacontenttype": "application/json",
            "dataschema": f"/schemas/{self.type}.json",
            "partitionkey": self.partition_key,
            # Text of fixed width, as the CloudEvents sequence extension asks: it sorts as text.
            "sequence": f"{self.sequence:010d}",
            "correlationid": self.correlation_id,
            "causationid": self.causation_id,
            "recordedtime": self.recorded_at,
        } | _whose(self.owner)
        if self.trace_parent:
            body["traceparent"] = self.trace_parent
        if self.data_ref:
            body["dataref"] = self.data_ref
        else:
            body["data"] = self.data
        return orjson.dumps(body, option=orjson.OPT_UTC_Z)


def _source(owner: str) -> str:
    if owner.startswith(_ESR):
        return f"/esr-exchange/{owner.removeprefix(_ESR)}"
    return f"/npo-integration/{owner}"


def _whose(owner: str) -> dict[str, str]:
    """Return the extension attribute that names the NPO or the deanery."""
    if owner.startswith(_ESR):
        return {"deanery": owner.removeprefix(_ESR)}
    return {"npoid": owner}
