"""What a person may do with the records of an NPO that were set aside: look, release, discard."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from include.storage.documents import QuarantineState, RawState, raw_key
from include.storage.mongo import store_errors

if TYPE_CHECKING:
    from datetime import datetime

    from include.storage.mongo import IntegrationStore

LANDING = "land_raw"
KEYS_AT_ONCE = 1_000


@dataclass(frozen=True, slots=True)
class Waiting:
    """One record set aside, without its content."""

    resource: str
    external_id: str | None
    stage: str
    codes: tuple[str, ...]
    last_seen: str
    raw_ref: str

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON-able form."""
        return asdict(self) | {"codes": list(self.codes)}


def waiting(
    store: IntegrationStore, npo_id: str, *, resource: str | None, code: str | None, limit: int
) -> list[Waiting]:
    """Return the open entries of an NPO, newest first, at most ``limit``.

    Raises:
        TransientError: The store did not answer.
    """
    with store_errors(npo_id):
        found = store["quarantine"].find(_open(npo_id, resource, code, None), {"payload": 0})
        return [
            Waiting(
                entry["resource"],
                entry["external_id"],
                entry["stage"],
                tuple(reason["code"] for reason in entry["reasons"]),
                entry["last_seen"].isoformat(timespec="seconds"),
                entry["raw_ref"],
            )
            for entry in found.sort("last_seen", -1).limit(limit)
        ]


def release(
    store: IntegrationStore,
    npo_id: str,
    *,
    resource: str | None = None,
    code: str | None = None,
    external_id: str | None = None,
) -> tuple[int, int]:
    """Put quarantined records back to landed; the next run looks at them again.

    Their entries stay open until the records went through. What landing refused never became a record.

    Returns:
        How many records wait again, and how many entries only a replay can help.

    Raises:
        TransientError: The store did not answer.
    """
    released = unlanded = 0
    keys: list[str] = []
    wanted = _open(npo_id, resource, code, external_id)
    with store_errors(npo_id):
        for entry in store["quarantine"].find(wanted, {"resource": 1, "external_id": 1, "stage": 1}):
            if entry["stage"] == LANDING or entry["external_id"] is None:
                unlanded += 1
                continue
            keys.append(raw_key(npo_id, entry["resource"], entry["external_id"]))
            if len(keys) == KEYS_AT_ONCE:
                released += _reopen(store, keys)
                keys = []
        released += _reopen(store, keys)
    return released, unlanded


def _reopen(store: IntegrationStore, keys: list[str]) -> int:
    if not keys:
        return 0
    return (
        store["npo_raw"]
        .update_many(
            {"_id": {"$in": keys}, "state": RawState.QUARANTINED.value},
            {"$set": {"state": RawState.LANDED.value, "pending": True}},
        )
        .modified_count
    )


def discard(  # noqa: PLR0913 - which, and who and why
    store: IntegrationStore,
    npo_id: str,
    *,
    resource: str | None = None,
    code: str | None = None,
    external_id: str | None = None,
    why: str,
    by: str,
    at: datetime,
) -> int:
    """Close open entries for good and return how many; the same content does not open them again.

    Raises:
        TransientError: The store did not answer.
    """
    change = {
        "state": QuarantineState.DISCARDED.value,
        "discarded_at": at,
        "discarded_by": by,
        "discarded_why": why,
    }
    with store_errors(npo_id):
        wanted = _open(npo_id, resource, code, external_id)
        return store["quarantine"].update_many(wanted, {"$set": change}).modified_count


def _open(npo_id: str, resource: str | None, code: str | None, external_id: str | None) -> dict[str, Any]:
    query: dict[str, Any] = {"owner": npo_id, "state": QuarantineState.OPEN.value}
    given = {"resource": resource, "reasons.code": code, "external_id": external_id}
    return query | {key: value for key, value in given.items() if value is not None}
