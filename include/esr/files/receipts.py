"""Receipts: what ESR is to be told of a file it sent (RTC), prepared with the verdict it tells of."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Any

from include.errors import FatalError
from include.esr.documents import FileState

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from pymongo.client_session import ClientSession

    from include.esr.files.entry import Entry
    from include.storage.mongo import IntegrationStore

MAX_ERRORS = 10_000
"""Lines one receipt names; how many more there are is in ``more``."""
_ERROR_FIELDS = ("line", "record_type", "code", "text")


class Outcome(StrEnum):
    """What became of a file as a whole."""

    SUCCESS = "success"
    ERRORS = "errors"
    REJECTED = "rejected"


def prepare_receipt(
    store: IntegrationStore,
    session: ClientSession,
    entry: Entry,
    *,
    lines: Sequence[Mapping[str, Any]],
    counts: Mapping[str, int],
    at: datetime,
) -> None:
    """Prepare the receipt of a file, in the transaction that commits its verdict; another one replaces it.

    One that says the same is left as it is: what was sent is not sent again because a file was replayed.

    Args:
        store: The store.
        session: Of the caller's transaction, in which the ledger has the verdict already.
        entry: The file.
        lines: The lines set aside: ``line``, ``record_type``, ``code`` and ``text``, which says what is
            wrong and holds nothing of the line itself.
        counts: What was found in the file; ``quarantined`` counts all lines set aside, more than ``lines``
            may hold.
        at: Now.

    Raises:
        FatalError: The file is not on the ledger.
    """
    wanted = {"state": 1, "reason": 1, "tally.types": 1}
    found = store["esr_file"].find_one({"_id": entry.file_id}, wanted, session=session)
    if found is None:
        raise FatalError("no receipt for a file that is not on the ledger", subject=entry.file_id)
    rejected = found["state"] == FileState.REJECTED.value
    bad = max(len(lines), counts.get("quarantined", 0))
    outcome = Outcome.REJECTED if rejected else Outcome.ERRORS if bad else Outcome.SUCCESS
    errors = [{name: line[name] for name in _ERROR_FIELDS} for line in lines[:MAX_ERRORS]]
    verdict = {
        "deanery": entry.deanery.value if entry.deanery else None,
        "name": entry.name,
        "outcome": outcome.value,
        "reason": found["reason"] if rejected else None,
        "errors": errors,
        "more": bad - len(errors),
        "counts": dict(counts),
        "types": _types(found, accepted=not rejected),
    }
    before = store["esr_receipt"].find_one({"_id": entry.file_id}, session=session)
    if before is not None and verdict.items() <= before.items():
        return
    store["esr_receipt"].replace_one(
        {"_id": entry.file_id},
        {**verdict, "state": "prepared", "prepared_at": at},
        upsert=True,
        session=session,
    )


def _types(found: Mapping[str, Any], *, accepted: bool) -> dict[str, dict[str, int]]:
    """Return how many lines of each record type were accepted and rejected; of a rejected file all are."""
    types = (found.get("tally") or {}).get("types") or {}
    return {
        code: {
            "accepted": each["good"] if accepted else 0,
            "rejected": each["bad"] + (0 if accepted else each["good"]),
        }
        for code, each in sorted(types.items())
    }
