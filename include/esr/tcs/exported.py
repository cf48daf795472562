"""The call that tells TCS what became of an applicant: it went to ESR, or ESR has answered it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from include.esr.tcs.answers import written
from include.esr.tcs.calls import Call

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

EXPORTED = "EXPORTED"
PROCESSED = "EXPORTED_AND_PROCESSED"
PROCESSED_WITH_ERRORS = "EXPORTED_PROCESSED_WITH_ERRORS"


def exported_call(record: Mapping[str, Any], *, status: str, at: datetime, file: str) -> Call:
    """Return the ``esr-exported`` call of an AppRecord, to be queued with the change it tells of.

    Args:
        record: Document of ``esr_app_record``: ``_id``, ``placement_id``, ``position_id``,
            ``position_number`` and ``resends`` are read.
        status: ``EXPORTED``, ``PROCESSED`` or ``PROCESSED_WITH_ERRORS``.
        at: Now, UTC; TCS is told this time however late the call goes out. Two calls of one record and
            status must have different times: TCS is read back by it, in milliseconds.
        file: Name of the file the record was sent in.
    """
    return Call(
        id=f"{record['_id']}|{file}|{status}|{record.get('resends', 0)}",
        placement_id=record["placement_id"],
        position_id=record["position_id"],
        body={
            "exportedAt": written(at),
            "filename": file,
            "placementId": record["placement_id"],
            "positionNumber": record.get("position_number"),
            "positionId": record["position_id"],
            "status": status,
        },
        kind="esr-exported",
    )
