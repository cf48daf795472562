"""The integration store tells what failed without telling of whom."""

from __future__ import annotations

import traceback
from functools import partial
from typing import Any

import pymongo
import pytest
from pymongo import monitoring
from pymongo.errors import AutoReconnect

from include.errors import ConfigurationError, FatalError, IntegrationError, TransientError
from include.storage.mongo import IntegrationStore, store_errors

PERSON = "Grace Hopper"


@pytest.fixture
def store(settings):
    store = IntegrationStore(settings)
    store.prepare()
    yield store
    store.close()


def in_a_log(raised: Any) -> str:
    """Return what a task log prints of an error: the error and its causes."""
    return "".join(traceback.format_exception(raised.value))


def insert_twice(store: Any) -> Any:
    def write(session, order):
        documents = [{"_id": "one", "learner": PERSON}, {"_id": "one", "learner": PERSON}]
        store["npo_raw"].insert_many(documents, session=session)

    return write


def commit(store, write):
    store.commit("x", 0, write)


def commit_plan(store, write):
    store.commit_plan("x", lambda: (None, write))


def commit_each(store, write):
    list(store.commit_each("x", lambda: iter([(None, write)])))


@pytest.mark.parametrize("way", [commit, commit_plan, commit_each])
def test_a_batch_that_is_refused_says_the_code_and_nothing_of_its_documents(store, way):
    with pytest.raises(TransientError, match=r"BulkWriteError 11000; nothing of this batch") as raised:
        way(store, insert_twice(store))
    assert PERSON not in in_a_log(raised)
    assert raised.value.subject == "x"
    assert store["npo_raw"].count_documents({}) == 0


def test_a_document_that_cannot_be_stored_is_a_defect_and_is_not_told(store):
    def write(session, order):
        store["npo_raw"].insert_one({"_id": "one", "learner": {PERSON}}, session=session)

    with pytest.raises(FatalError, match="InvalidDocument") as raised:
        store.commit("x", 0, write)
    assert PERSON not in in_a_log(raised)


def read_in_plan(store):
    store.commit_plan("x", lambda: (store["npo_raw"].find_one({"name": {"$wrong": PERSON}}), None))


def read_in_plans(store):
    def plans():
        yield store["npo_raw"].find_one({"name": {"$wrong": PERSON}}), None

    list(store.commit_each("x", plans))


def read_alone(store):
    with store_errors("x"):
        store["npo_raw"].find_one({"name": {"$wrong": PERSON}})


@pytest.mark.parametrize("read", [read_in_plan, read_in_plans, read_alone])
def test_a_read_that_is_refused_is_an_error_of_the_taxonomy(store, read):
    with pytest.raises(TransientError, match="x: integration store: OperationFailure 2 BadValue") as raised:
        read(store)
    assert PERSON not in in_a_log(raised)


@pytest.mark.parametrize("call", [IntegrationStore.prepare, partial(IntegrationStore.fence, owner="x")])
def test_a_store_that_cannot_be_reached_is_transient(settings, monkeypatch, call):
    monkeypatch.setattr(pymongo, "MongoClient", quick_to_give_up(pymongo.MongoClient))
    nowhere = settings.model_copy(update={"mongo_uri": type(settings.mongo_uri)("mongodb://127.0.0.1:9/")})
    store = IntegrationStore(nowhere)
    with pytest.raises(TransientError, match="ServerSelectionTimeoutError"):
        call(store)
    store.close()


def quick_to_give_up(client: Any) -> Any:
    def make(uri, **options):
        return client(uri, **options | {"serverSelectionTimeoutMS": 200})

    return make


@pytest.mark.parametrize("uri", ["mongodb://", "http://user:hidden@127.0.0.1/"])
def test_a_wrong_address_is_for_a_person_and_is_not_told(settings, uri):
    store = IntegrationStore(settings.model_copy(update={"mongo_uri": type(settings.mongo_uri)(uri)}))
    with pytest.raises(ConfigurationError, match="SPOTLIGHT_MONGO_URI") as raised:
        store.fence("x")
    assert "hidden" not in in_a_log(raised)


def test_a_user_that_does_not_exist_is_for_a_person(settings):
    uri = settings.mongo_uri.get_secret_value().replace("mongodb://", "mongodb://nobody:hidden@")
    store = IntegrationStore(settings.model_copy(update={"mongo_uri": type(settings.mongo_uri)(uri)}))
    with pytest.raises(ConfigurationError, match="18 AuthenticationFailed") as raised:
        store.fence("x")
    assert "hidden" not in in_a_log(raised)
    store.close()


def test_a_commit_that_may_have_happened_is_not_said_to_have_failed():
    lost = AutoReconnect("connection closed", None)
    lost._add_error_label("UnknownTransactionCommitResult")
    with pytest.raises(TransientError, match="not known") as raised, store_errors("x"):
        raise lost
    assert "nothing of this batch" not in str(raised.value)


def test_an_error_of_the_taxonomy_passes_unchanged():
    mine = IntegrationError("mine")
    with pytest.raises(IntegrationError) as raised, store_errors("x"):
        raise mine
    assert raised.value is mine


class Commands(monitoring.CommandListener):
    """Keeps what was sent to the server."""

    def __init__(self) -> None:
        self.sent: list[Any] = []

    def started(self, event):
        self.sent.append(event.command)

    def succeeded(self, event):
        pass

    def failed(self, event):
        pass


def test_a_transaction_is_committed_by_a_majority_and_on_disk(settings, monkeypatch):
    commands = Commands()
    monkeypatch.setattr(pymongo, "MongoClient", partial(pymongo.MongoClient, event_listeners=[commands]))
    store = IntegrationStore(settings)
    store.prepare()
    store.commit("x", 0, lambda *_: None)
    store["npo_run"].insert_one({"_id": "outside"})
    store.close()

    first = next(sent for sent in commands.sent if sent.get("startTransaction"))
    assert first["readConcern"]["level"] == "majority"
    commit = next(sent for sent in commands.sent if "commitTransaction" in sent)
    assert {name: commit["writeConcern"][name] for name in ("w", "j")} == {"w": "majority", "j": True}
    outside = next(sent for sent in commands.sent if sent.get("insert") == "npo_run")
    assert {name: outside["writeConcern"][name] for name in ("w", "j")} == {"w": "majority", "j": True}


def test_events_and_quarantine_from_before_owners_are_brought_along(store):
    from include.storage import outbox

    store["outbox"].drop_indexes()
    options = {"name": "pending", "partialFilterExpression": {"pending": True}}
    store["outbox"].create_index([("npo_id", 1), ("order", 1), ("_id", 1)], **options)
    old = {"type": "t", "partition_key": "p", "sequence": 1, "body": "{}", "order": 1, "pending": True}
    store["outbox"].insert_one(old | {"_id": "one", "npo_id": "hopeworks"})
    store.prepare()
    assert [entry.id for entry in outbox.next_events(store, "hopeworks", limit=5)] == ["one"]
    assert store["outbox"].index_information()["pending"]["key"][0] == ("owner", 1)


def test_an_index_of_an_earlier_version_that_nothing_reads_is_dropped_and_what_is_read_stays(store):
    options = {"name": "pending", "partialFilterExpression": {"pending": True}}
    store["enrolment_inbox"].create_index([("owner", 1)], **options)
    store.prepare()
    assert set(store["enrolment_inbox"].index_information()) == {"_id_", "by_npo"}
    assert "pending" in store["outbox"].index_information()
