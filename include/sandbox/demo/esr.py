"""ESR's part of the demo: three deaneries' files of three days, and what must come of them."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING

from include.esr.documents import FileState
from include.events.consumer import Consumer
from include.events.topics import POSITION_RECONCILED
from include.sandbox.esr.dirt import Dirt
from include.sandbox.esr.files import rmc, rmf
from include.sandbox.esr.upload import sftp_folder
from include.sandbox.esr.world import World
from include.sandbox.stack.tcs import PEOPLE
from include.sandbox.tcs.process import TcsSandbox

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from include.sandbox.demo.outbound import OutSummary
    from include.sandbox.demo.session import Session
    from include.sandbox.esr.files import MadeFile
    from include.sandbox.esr.upload import SftpFolder
    from include.settings import Settings
    from include.storage.mongo import IntegrationStore

DAG_ID = "esr_inbound"
DEANERIES = ("KSS", "LDN", "NTH")
WORLD = World(people=PEOPLE)
DAY = date(2026, 7, 6)
"""The first day of files: a month before the world's turnover, so that applicants are due."""
DAYS_OF_FILES = 3
"""Days whose files lie there before the first files go out; one more day follows."""
FIRST_SEQUENCE = 100
DIRT = (Dirt.BAD_ID, Dirt.TOO_FEW, Dirt.EMBEDDED_NEWLINE, Dirt.DUPLICATE_POSITION, Dirt.BAD_INDICATOR)
DONE = (FileState.PUBLISHED.value, FileState.REJECTED.value)
SUBSCRIBER = "demo"
_RMT = {"type": {"$in": ["RMF", "RMC"]}}
"""Of the ledger's files: those that are no answers."""


@dataclass(frozen=True, slots=True)
class EsrSummary:
    """What ESR's files came to, and ours; the counts are those of the store at the end."""

    files: int
    records: int
    matched: int
    unmatched: int
    tcs_updates: int
    out: OutSummary | None = None


@dataclass(frozen=True, slots=True)
class EsrTruth:
    """What the files of all days must come to, told by who made them.

    Attributes:
        records: Good records of all files.
        bad: Lines to be set aside.
        matched: TCS post by position, as the last file leaves it.
        unmatched: Positions without a post.
    """

    files: int
    records: int
    bad: int
    matched: Mapping[int, int]
    unmatched: frozenset[int]


def make_files(deaneries: Sequence[str] = DEANERIES) -> tuple[list[MadeFile], EsrTruth]:
    """Return one RMF and two days of RMC for each deanery, and what they must come to."""
    files = [file for number in range(DAYS_OF_FILES) for file in files_of(number, deaneries)]
    return files, truth_of(files)


def files_of(number: int, deaneries: Sequence[str] = DEANERIES) -> list[MadeFile]:
    """Return the files of a day, counted from 0: the RMF of each deanery first, then its RMCs."""
    day, sequence = DAY + timedelta(days=number), FIRST_SEQUENCE + number
    if number == 0:
        return [rmf(deanery, day, sequence, world=WORLD, dirt=DIRT) for deanery in deaneries]
    return [rmc(deanery, day, sequence, world=WORLD) for deanery in deaneries]


def truth_of(files: Sequence[MadeFile]) -> EsrTruth:
    """Return what files come to, one after the other."""
    matched: dict[int, int] = {}
    unmatched: set[int] = set()
    for file in files:
        told = {*file.truth.matched, *file.truth.unmatched, *file.truth.deleted}
        matched = {key: post for key, post in matched.items() if key not in told} | file.truth.matched
        unmatched = (unmatched - told) | file.truth.unmatched
    return EsrTruth(
        len(files),
        sum(sum(file.truth.records.values()) for file in files),
        sum(len(file.truth.bad) for file in files),
        matched,
        frozenset(unmatched),
    )


def upload(session: Session, files: Sequence[MadeFile]) -> None:
    """Put the files on the SFTP server, as ESR does."""
    with folder_of(session.settings, session.settings.esr_inbound_folder) as folder:
        for file in files:
            folder.put(file.name, file.body)


@contextmanager
def folder_of(settings: Settings, folder: str) -> Iterator[SftpFolder]:
    """Open a folder of the SFTP server, as ESR does."""
    password = settings.sftp_password.get_secret_value() if settings.sftp_password else ""
    with sftp_folder(settings.sftp_host, settings.sftp_port, settings.sftp_user, password, folder) as opened:
        yield opened


@contextmanager
def tcs_of(session: Session) -> Iterator[TcsSandbox]:
    """Open the session's stand-in for TCS."""
    stack = session.stack
    tcs = TcsSandbox(
        stack["SPOTLIGHT_TCS_URL"],
        stack["SPOTLIGHT_SANDBOX_ADMIN_TOKEN"],
        stack["SPOTLIGHT_TCS_CLIENT_SECRET"],
    )
    try:
        yield tcs
    finally:
        tcs.close()


def subscriber(session: Session) -> Consumer:
    """Return a subscriber of our own to reconciled positions; it keeps what comes from now on."""
    return Consumer(session.settings, SUBSCRIBER, (POSITION_RECONCILED,))


def is_done(store: IntegrationStore, truth: EsrTruth) -> bool:
    """Tell whether every file has come to its end."""
    done = {"state": {"$in": list(DONE)}, **_RMT}
    return store["esr_file"].count_documents(done) >= truth.files


def summarise(store: IntegrationStore, out: OutSummary | None = None) -> EsrSummary:
    """Return the counts of the store, and beside them what the way out came to."""
    entries = list(store["esr_file"].find(_RMT, {"counts": 1}))
    return EsrSummary(
        files=len(entries),
        records=sum(entry["counts"].get("records", 0) for entry in entries),
        matched=store["esr_position"].count_documents({"match.status": "MATCHED", "deleted": False}),
        unmatched=store["esr_position"].count_documents({"unmatched": True}),
        tcs_updates=sum(entry["counts"].get("tcs_updates", 0) for entry in entries),
        out=out,
    )


def as_line(store: IntegrationStore) -> str:
    """Return where the files are, for the progress display."""
    found = store["esr_file"].aggregate([{"$group": {"_id": "$state", "n": {"$sum": 1}}}])
    states = {entry["_id"]: entry["n"] for entry in found}
    told = ", ".join(f"{states[state]} {state}" for state in FileState if state.value in states)
    return f"{DAG_ID}: {told or 'no file yet'}"


def problems(session: Session, truth: EsrTruth, told_positions: set[int]) -> list[str]:
    """Return why ESR's part is not a success, one line each; nothing when it is one.

    Args:
        session: Everything up.
        truth: What must be.
        told_positions: Of which positions the subscriber was told.
    """
    store = session.store
    found = []
    summary = summarise(store)
    wanted = EsrSummary(
        truth.files, truth.records, len(truth.matched), len(truth.unmatched), summary.tcs_updates
    )
    if summary != wanted:
        found.append(f"ESR came to {summary}, not to {wanted}")
    aside = store["quarantine"].count_documents({"owner": {"$regex": "^esr/"}, "stage": "split"})
    if aside != truth.bad:
        found.append(f"{aside} lines were set aside, not {truth.bad}")
    if missing := set(truth.matched) - told_positions:
        found.append(f"no event for {len(missing)} reconciled positions, such as {min(missing)}")
    return found + _told_wrongly(session, truth)


def _told_wrongly(session: Session, truth: EsrTruth) -> list[str]:
    """Compare with what TCS itself says it was told: the last word on a position, and nothing twice."""
    with tcs_of(session) as tcs:
        events = [(post, body) for post, bodies in tcs.post_events().items() for body in bodies]
    keys = [(post, body["positionId"], body["eventDateTime"]) for post, body in events]
    found = [f"{len(keys) - len(set(keys))} changes were told twice"] if len(keys) > len(set(keys)) else []
    last: dict[int, tuple[str, int, str]] = {}
    for post, body in events:
        said = (body["eventDateTime"], post, body["status"])
        last[body["positionId"]] = max(last.get(body["positionId"], said), said)
    now = {position: post for position, (_, post, status) in last.items() if status == "RECONCILED"}
    if now != truth.matched:
        found.append(f"TCS knows {len(now)} reconciled positions, not the {len(truth.matched)} it should")
    return found
