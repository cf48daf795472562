"""Numbers of our files: given in the transaction that puts the file on the ledger, so none is lost or twice.

Source: domain page, section 1: APP has one counter across all deaneries, one number for each deanery in a
run; DNC and DNF share one alike, because ESR's answer to either names it by the number (D). Receipts have
their own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from include.errors import FatalError
from include.esr.names import FileType
from include.storage.mongo import store_errors

if TYPE_CHECKING:
    from pymongo.client_session import ClientSession

    from include.storage.mongo import IntegrationStore

SEQUENCES = "esr_sequence"
MOST = 99_999_999
_COUNTERS = {
    FileType.APP: "APP",
    FileType.DNC: "DNC",
    FileType.DNF: "DNC",
    FileType.RTC: "RTC",
}


def next_number(store: IntegrationStore, session: ClientSession, file_type: FileType) -> int:
    """Return the next number of a type's counter and move it on, in the caller's transaction.

    Deaneries that ask at the same time wait for each other: the store lets one of them try again.

    Raises:
        FatalError: All numbers of 8 digits were given.
    """
    from pymongo import ReturnDocument

    found: Any = store[SEQUENCES].find_one_and_update(
        {"_id": _COUNTERS[file_type]},
        {"$inc": {"value": 1}},
        upsert=True,
        return_document=ReturnDocument.AFTER,
        session=session,
    )
    number = int(found["value"])
    if number > MOST:
        raise FatalError(f"all numbers of {file_type} files have been given", subject=file_type)
    return number


def coming_number(store: IntegrationStore, file_type: FileType) -> int:
    """Return the number the next file would have if it were made now; nothing is given."""
    with store_errors(file_type):
        found = store[SEQUENCES].find_one({"_id": _COUNTERS[file_type]})
    return int(found["value"]) + 1 if found else 1
