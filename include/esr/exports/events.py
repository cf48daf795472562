"""The events of a file of ours: it was sent, it was answered. Ids and counts only."""

from __future__ import annotations

from typing import TYPE_CHECKING

from include.esr.documents import owner
from include.events.envelope import FILE_ANSWERED, FILE_EXPORTED, Event
from include.npo.entity_plan import trace_parent
from include.npo.identity import uuid5_text
from include.storage.outbox import OutboxEntry

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from typing import Any

    from include.esr.exports.ledger import Export


def exported_event(export: Export, *, run_id: str, at: datetime) -> OutboxEntry:
    """Return the event that a file was sent; there is one a file."""
    data = {
        **_file(export),
        "carried_over": export.carried_over,
        "sha256": export.sha256,
        "bytes": export.size,
        "taken": export.taken,
    }
    return _event(export, FILE_EXPORTED, "exported", data, sequence=1, run_id=run_id, at=at)


def answered_event(
    export: Export, *, answer: str, answers: Mapping[str, int], sequence: int = 2, run_id: str, at: datetime
) -> OutboxEntry:
    """Return the event that ESR answered a file.

    Args:
        export: The file.
        answer: Ledger's key of the answer file.
        answers: How many records were ``confirmed``, ``warnings`` and ``rejected``.
        sequence: 2 for the first answer; rises with each further one.
        run_id: Id of the run.
        at: Now, UTC.
    """
    data = {
        **_file(export),
        "answer": answer,
        **{name: answers.get(name, 0) for name in ("confirmed", "warnings", "rejected")},
    }
    return _event(export, FILE_ANSWERED, answer, data, sequence=sequence, run_id=run_id, at=at)


def _file(export: Export) -> dict[str, Any]:
    return {
        "file": export.id,
        "type": export.type.value,
        "deanery": export.deanery,
        "day": export.day.isoformat(),
        "sequence": export.name.sequence,
        "records": export.records,
    }


def _event(
    export: Export,
    event_type: str,
    what: str,
    data: dict[str, Any],
    *,
    sequence: int,
    run_id: str,
    at: datetime,
) -> OutboxEntry:
    key = f"file/{export.id}"
    event = Event(
        id=uuid5_text(f"esr\n{key}\n{what}\n{sequence}"),
        type=event_type,
        owner=owner(export.deanery),
        subject=key,
        time=at,
        recorded_at=at,
        partition_key=key,
        sequence=sequence,
        correlation_id=f"{owner(export.deanery)}/{run_id}",
        causation_id=export.sha256 or "",
        data=data,
        trace_parent=trace_parent(),
    )
    return OutboxEntry(event.id, event.type, event.partition_key, event.sequence, event.to_json())
