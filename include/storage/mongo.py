"""The integration store: one accessor for MongoDB, its collections, indexes and transactions."""

from __future__ import annotations

import gc
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import UTC
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

from include.errors import ConfigurationError, FatalError, IntegrationError, TransientError
from include.storage.indexes import INDEXES, RETIRED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pymongo import MongoClient
    from pymongo.client_session import ClientSession
    from pymongo.collection import Collection
    from pymongo.database import Database

    from include.settings import Settings

    Write = Callable[[ClientSession, int], None]

Document = dict[str, Any]
Outcome = TypeVar("Outcome")
MAX_PLANS = 20
_YOUNG = 1  # the generations that hold what was made since the last batch
_NEED_A_PERSON = frozenset({13, 18, 8000})  # Unauthorized, AuthenticationFailed, the same of Atlas


class FenceMovedError(IntegrationError):
    """Another run committed for the same owner since this one looked: look again and plan anew."""


class IntegrationStore:
    """MongoDB as the pipelines use it. Cheap to make: connects on first use.

    Collections:
        npo_raw: one document a partner record, payload as JSON text, with its place in the order of landing.
        npo_checkpoint: one document an (NPO, resource): how far the source has been read.
        npo_parent_cursor: the same for each parent of a nested resource.
        npo_budget: what an NPO may be asked by all workers together, and its circuit breaker.
        npo_offering, npo_assignment: the current canonical entity.
        npo_version: superseded versions of entities.
        quarantine: records set aside, with reasons and evidence.
        outbox: events committed with the entities they tell of, until SNS has them.
        enrolment, enrolment_inbox: what the platform asked to be enrolled, and the commands that did.
        enrolment_npo: who works at an NPO's enrolments, and whether they are stopped.
        erased, erasure: digests of records that must stay away, and requests with their receipts.
        npo_run: what each stage of each run did (counts only).
        fence: one counter an owner; every commit for it moves it. Beside it how far an NPO's stages got.
        esr_file: the file ledger, one document a version of a file.
        esr_sighting: what the last look at the SFTP server saw of a file that may still be on its way.
        esr_record: split records, one document a (file, chunk, record type).
        esr_position: the current position, POS and POR together, with its post in TCS.
        esr_person: what is known of a person, by record type, and what TCS was told of it.
        esr_call: calls to TCS that must happen exactly once, committed with what they tell of.
        esr_receipt: receipts (RTC) prepared for files that came in.
        esr_lease: who is telling TCS, one document a deanery.
        esr_todo: posts to be looked at by generation, because a position of theirs was reconciled.
        esr_post: the placements of a post as generation saw them last, one document a (deanery, post).
        esr_sweep: up to which day every post of a deanery was looked at.
        esr_app_record: AppRecords, one document a (placement, position), with their state.
        esr_notification: notifications, one document a content, with their state.
        esr_sequence: the last number given to a file of ours, one document a counter.
        esr_export: the ledger of our files.
        esr_answer: what ESR answered, one document a line of an APC or DCC.

    An owner is whose data it is: an ``npo_id``, or ``esr/<deanery>``.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    @cached_property
    def client(self) -> MongoClient[Document]:
        """Return the client, connected lazily by pymongo: majority-committed reads and writes.

        The concerns stand here because a transaction takes its client's, not its database's.
        """
        from pymongo import MongoClient

        return MongoClient(
            self._settings.mongo_uri.get_secret_value(),
            tz_aware=True,
            tzinfo=UTC,  # bson's own zone class answers in Python, which every hash and comparison pays for
            serverSelectionTimeoutMS=10_000,
            connectTimeoutMS=10_000,
            socketTimeoutMS=120_000,
            appname="spotlight-pipelines",
            w="majority",
            journal=True,
            readConcernLevel="majority",
        )

    @cached_property
    def database(self) -> Database[Document]:
        """Return the database, with the client's concerns."""
        return self.client.get_database(self._settings.mongo_database)

    def __getitem__(self, collection: str) -> Collection[Document]:
        """Return a collection by name."""
        return self.database[collection]

    @cached_property
    def erasure_keys(self) -> tuple[bytes, ...]:
        """Return the keys of the digests of what was erased, the newest first; none: they are plain."""
        told = self._settings.erasure_key
        parts = told.get_secret_value().split(",") if told else []
        return tuple(part.strip().encode() for part in parts if part.strip())

    def prepare(self) -> None:
        """Create collections and indexes; harmless when they are there.

        Raises:
            IntegrationError: As ``store_errors`` says.
        """
        from pymongo import ASCENDING, IndexModel
        from pymongo.errors import OperationFailure

        with store_errors():
            existing = set(self.database.list_collection_names())
            for name in existing & {"quarantine", "outbox"}:
                self._name_owners(name)
            for name, index in RETIRED:
                # It was never there, another process was first, ours lacks the right: nothing needs it gone.
                with suppress(OperationFailure):
                    self[name].drop_index(index)
            for name, keys, options in INDEXES:
                if name not in existing:
                    self._create_collection(name)
                    existing.add(name)
                if keys:
                    self[name].create_indexes([IndexModel([(key, ASCENDING) for key in keys], **options)])

    def _name_owners(self, name: str) -> None:
        """Bring a collection along from before ESR, when every owner was an NPO and called so."""
        old = [
            index for index, about in self[name].index_information().items() if about["key"][0][0] == "npo_id"
        ]
        if old:
            self[name].update_many({"npo_id": {"$exists": True}}, {"$rename": {"npo_id": "owner"}})
        for index in old:
            self[name].drop_index(index)

    def _create_collection(self, name: str) -> None:
        from pymongo.errors import CollectionInvalid

        with suppress(CollectionInvalid):  # another process was faster
            self.database.create_collection(name)

    def fence(self, owner: str) -> int:
        """Return the owner's commit counter; read it before planning a commit.

        Raises:
            IntegrationError: As ``store_errors`` says.
        """
        with store_errors(owner):
            found = self["fence"].find_one({"_id": owner})
        return int(found["value"]) if found else 0

    def commit(self, owner: str, seen: int, write: Write) -> int:
        """Run ``write(session, order)`` in one transaction if nobody committed since ``seen``.

        Whatever was read after ``fence`` gave ``seen`` is still true when the transaction commits, so
        two runs for one owner, or one run twice, cannot both apply the same plan.

        Returns:
            The new counter, which is also the ``order`` that ``write`` was given.

        Raises:
            FenceMovedError: Somebody else committed in between; nothing was written.
            IntegrationError: As ``store_errors`` says.
        """
        from pymongo.errors import DuplicateKeyError

        def body(session: ClientSession) -> int:
            try:
                moved = self["fence"].update_one(
                    {"_id": owner, "value": seen} if seen else {"_id": owner, "value": {"$exists": False}},
                    {"$set": {"value": seen + 1}},
                    upsert=not seen,
                    session=session,
                )
            except DuplicateKeyError:
                raise FenceMovedError("another run committed first", subject=owner) from None
            if not moved.matched_count and moved.upserted_id is None:
                raise FenceMovedError("another run committed first", subject=owner)
            write(session, seen + 1)
            return seen + 1

        with store_errors(owner), self.client.start_session() as session:
            return int(session.with_transaction(body))

    def commit_each(
        self, owner: str, plans: Callable[[], Iterator[tuple[Outcome, Write | None] | None]]
    ) -> Iterator[Outcome]:
        """Commit batch after batch, each planned while the one before is being written.

        A plan may be made before the commit of the one before is known: nobody else can have committed
        in between, else that commit fails, and ours touches other records. A generator that cannot
        promise that its next plan touches other records yields ``None`` first: the commit under way is
        then waited for.

        Args:
            owner: Whose fence guards the commits.
            plans: Starts a generator that reads the store and yields what it found out and the write to
                commit, ``None`` for no write. Started anew when somebody else committed in between.

        Yields:
            Each outcome, once its write is committed.

        Raises:
            TransientError: The store did not answer, or others kept committing.
            IntegrationError: As ``store_errors`` says.
        """
        tries = 0
        while tries < MAX_PLANS:
            tries += 1
            try:
                with store_errors(owner), _collecting_by_batch():
                    for outcome, committed in self._commit_in_turn(owner, self.fence(owner), plans()):
                        if committed:
                            tries = 0  # what was committed need not be done again: this gets on
                        yield outcome
            except FenceMovedError:
                continue
            return
        raise _overtaken(owner)

    def _commit_in_turn(
        self, owner: str, seen: int, plans: Iterator[tuple[Outcome, Write | None] | None]
    ) -> Iterator[tuple[Outcome, bool]]:
        """Yield each outcome and whether anything was written for it."""
        under_way: tuple[Outcome, Future[int]] | None = None
        with ThreadPoolExecutor(1, thread_name_prefix="commit") as writer:
            for plan in plans:
                gc.collect(_YOUNG)
                if under_way:
                    outcome, commit = under_way
                    commit.result()
                    under_way = None
                    yield outcome, True
                if plan is None:
                    continue
                outcome, write = plan
                if write is None:
                    yield outcome, False
                    continue
                under_way = outcome, writer.submit(self.commit, owner, seen, write)
                seen += 1
            if under_way:
                outcome, commit = under_way
                commit.result()
                yield outcome, True

    def commit_plan(self, owner: str, prepare: Callable[[], tuple[Outcome, Write | None]]) -> Outcome:
        """Look, plan and commit; if somebody committed in between, look and plan again.

        Args:
            owner: Whose fence guards the commit.
            prepare: Reads the store and returns what it found out and the write to commit, or ``None``
                when there is nothing to write. Called anew for every try.

        Raises:
            TransientError: The store did not answer, or others kept committing.
            IntegrationError: As ``store_errors`` says.
        """
        for _ in range(MAX_PLANS):
            seen = self.fence(owner)
            with store_errors(owner):
                outcome, write = prepare()
            if write is None:
                return outcome
            try:
                self.commit(owner, seen, write)
            except FenceMovedError:
                continue
            return outcome
        raise _overtaken(owner)

    def close(self) -> None:
        """Close the client if it was opened."""
        if "client" in self.__dict__:
            self.client.close()


@contextmanager
def _collecting_by_batch() -> Iterator[None]:
    """Keep the garbage collector from looking at a batch while it is made.

    It would walk over every record made so far again and again, a fifth of a stage's time, and find
    nothing: records hold no cycles. What does, such as a suite's results, is collected once a batch.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _overtaken(owner: str) -> TransientError:
    return TransientError(
        f"{MAX_PLANS} times another run for the same owner committed first; nothing of this batch was "
        "committed, it is tried again",
        subject=owner,
    )


@contextmanager
def store_errors(subject: str = "") -> Iterator[None]:
    """Translate errors of the driver raised inside.

    The driver's own error is left out, also as cause: its text holds the documents in hand, which are
    personal data, and task logs print causes.

    Args:
        subject: Whose work it is done for.

    Raises:
        TransientError: The store cannot be reached or refused for the moment.
        ConfigurationError: The address is wrong, or the user or one of his rights is missing.
        FatalError: A document cannot be stored at all.
    """
    from bson.errors import BSONError
    from pymongo.errors import PyMongoError

    try:
        yield
    except (PyMongoError, BSONError) as error:
        raise _failure(error, subject) from None


def _failure(error: Exception, subject: str) -> IntegrationError:
    from bson.errors import BSONError
    from pymongo import errors

    said = f"integration store: {_named(error)}"
    if isinstance(error, BSONError):
        return FatalError(
            f"{said}: a document cannot be stored as it is; nothing of its batch was committed",
            subject=subject,
        )
    if isinstance(error, errors.ConfigurationError) or getattr(error, "code", None) in _NEED_A_PERSON:
        return ConfigurationError(f"{said}; check SPOTLIGHT_MONGO_URI and its user's rights", subject=subject)
    kept = (
        "whether this batch was committed is not known, the next try finds out"
        if isinstance(error, errors.PyMongoError) and error.has_error_label("UnknownTransactionCommitResult")
        else "nothing of this batch was committed"
    )
    return TransientError(f"{said}; {kept}; it is tried again, look at MongoDB if it stays", subject=subject)


def _named(error: Exception) -> str:
    """Return an error's class with the server's codes, nothing of what it was about."""
    details = getattr(error, "details", None) or {}
    writes = [failed.get("code") for failed in details.get("writeErrors", [])]
    codes = sorted(
        {str(code) for code in [*writes, *(() if writes else [getattr(error, "code", None)])] if code}
    )
    return " ".join([type(error).__name__, *codes, *filter(None, [details.get("codeName")])])
