"""Erasure that meets something: records without an entity, a broken row, an enrolment, a run at work."""

from __future__ import annotations

import orjson
import pytest
from pydantic import SecretStr

from include.errors import ConfigurationError
from include.npo.context import utc_now
from include.npo.enrolment.record import EnrolmentRecord, State
from include.npo.enrolment.records import to_document
from include.npo.identity import entity_id
from include.privacy import erase
from include.privacy.erase import ErasureContext, carry_out, open_requests, request_erasure
from include.privacy.erased import erased_among, remember
from include.privacy.raw_objects import event_objects
from include.privacy.store_erasure import erase_enrolments
from include.privacy.subject import Candidate, Held
from include.storage.documents import raw_key
from include.storage.mongo import IntegrationStore
from tests.integration.npo.test_erasure import context, ids_in, pages, somebody


def enrolled(mine, candidate_id: str, held: Held, *, state: State = State.ACCEPTED) -> str:
    """Keep an enrolment the candidate's assignment answers; return its reference."""
    now = utc_now()
    record = EnrolmentRecord(
        reference=f"ref {held.assignment_id}",
        npo_id=held.npo_id,
        assignment_id=held.assignment_id,
        candidate_id=candidate_id,
        state=state,
        received_at=now,
        requested_at=now,
        event_id="e-1",
        correlation_id="c-1",
        external_id=held.external_id or None,
    )
    mine.store["enrolment"].replace_one({"_id": record.reference}, to_document(record), upsert=True)
    return record.reference


def test_records_that_never_became_an_entity_are_erased_too(sync):
    mine = sync("hopeworks", npo_id="erasure_unmapped")
    mine.run()
    reference, ids = somebody(mine)
    raw, npo_id = mine.store["npo_raw"], mine.npo.npo_id
    keys = [raw_key(npo_id, "assignments", one) for one in ids]
    payload = raw.find_one({"_id": keys[0]})["payload"]
    raw.update_one({"_id": keys[0]}, {"$set": {"state": "quarantined"}})
    for one in ids:
        mine.store["npo_assignment"].delete_one({"_id": entity_id(npo_id, "assignments", one)})
    mine.store["fence"].update_one({"_id": npo_id}, {"$unset": {"left": ""}})  # the others wait in line
    aside = {"owner": npo_id, "resource": "assignments", "external_id": None, "state": "open"}
    mine.store["quarantine"].insert_one(aside | {"_id": "no id", "payload": payload, "raw_ref": "x#1"})
    kept = mine.store["quarantine"].count_documents({"_id": {"$ne": "no id"}})

    key = request_erasure(context(mine), Candidate(reference, npo_id), by="dpo", why="case 6")
    assert key is not None
    receipt = carry_out(context(mine), key)
    assert receipt["assignments"] == len(ids)
    assert reference not in orjson.dumps(mine.state(), default=str).decode()
    assert mine.store["quarantine"].count_documents({}) == kept
    assert not set(ids) & set(ids_in(mine, pages(mine)))


def test_one_npo_that_cannot_be_read_holds_up_no_other_and_one_without_pages_need_not_be_read(sync):
    broken, well = (sync("hopeworks", npo_id=f"erasure_{name}") for name in ("broken", "well"))
    broken.run()
    well.run()
    for mine in (broken, well):
        one = mine.store["npo_assignment"].find_one({"npo_id": mine.npo.npo_id})
        enrolled(mine, "candidate-7", Held(mine.npo.npo_id, one["external_id"], one["_id"]))
    enrolled(well, "candidate-7", Held("never_pulled", "", "assignment-1"))
    opened: list[str] = []

    def connector_of(npo_id):
        opened.append(npo_id)
        if npo_id == "erasure_well":
            return well.context().connector
        raise ConfigurationError("its row cannot be used")

    ctx = ErasureContext(well.store, well.landing, connector_of)
    key = request_erasure(ctx, Candidate("candidate-7"), by="dpo", why="case 8")
    assert key is not None
    with pytest.raises(ConfigurationError, match="cannot be used"):
        carry_out(ctx, key)
    request = well.store[erase.COLLECTION].find_one({"_id": key})
    assert request["open"] is True
    assert {npo_id for npo_id, *_ in request["held"]} == {"erasure_broken"}
    assert sorted(request["npos"]) == ["erasure_well", "never_pulled"]
    assert "never_pulled" not in opened
    assert well.store["enrolment"].count_documents({}) == 0

    ctx = ErasureContext(well.store, well.landing, lambda _npo: broken.context().connector)
    receipt = carry_out(ctx, key)
    assert receipt["open"] is False
    assert sorted(receipt["npos"]) == ["erasure_broken", "erasure_well", "never_pulled"]


def test_an_enrolment_that_begins_after_the_request_is_kept_and_keeps_the_request_open(sync):
    mine = sync("hopeworks", npo_id="erasure_enrolling")
    held = Held("erasure_enrolling", "", "assignment-9")
    reference = enrolled(mine, "candidate-9", held)
    key = request_erasure(context(mine), Candidate("candidate-9"), by="dpo", why="case 9")
    assert key is not None
    mine.store["enrolment"].update_one({"_id": reference}, {"$set": {"state": "withdrawing"}})
    with pytest.raises(ConfigurationError, match="has begun at erasure_enrolling"):
        carry_out(context(mine), key)
    assert erase_enrolments(mine.store, "erasure_enrolling", [held], at=utc_now()) == 0
    assert mine.store["enrolment"].count_documents({"_id": reference}) == 1
    assert open_requests(mine.store) == [key]
    mine.store["enrolment"].update_one({"_id": reference}, {"$set": {"state": "withdrawn"}})
    assert carry_out(context(mine), key)["open"] is False
    assert mine.store["enrolment"].count_documents({}) == 0


def test_data_of_an_event_that_a_run_commits_meanwhile_are_deleted(sync, monkeypatch):
    mine = sync("hopeworks", npo_id="erasure_event")
    mine.run()
    reference, ids = somebody(mine)
    key = request_erasure(context(mine), Candidate(reference, mine.npo.npo_id), by="dpo", why="case 10")
    [stored] = event_objects(mine.npo.npo_id, ["late"])
    plan = IntegrationStore.commit_plan
    late: list[str] = []

    def meanwhile(store, owner, prepare):
        if not late:
            late.append(stored)
            mine.landing.put(stored, b"{}", compress=True)
            told = entity_id(mine.npo.npo_id, "assignments", ids[0])
            event = {"_id": "late", "owner": owner, "partition_key": told, "body": "{}", "pending": True}
            store["outbox"].insert_one(event)
        return plan(store, owner, prepare)

    monkeypatch.setattr(IntegrationStore, "commit_plan", meanwhile)
    assert carry_out(context(mine), key or "")["counts"]["event_objects"] == 1
    assert mine.landing.keys(f"events/{mine.npo.npo_id}/") == []


def test_what_was_erased_is_known_again_by_an_older_key_and_without_one(sync):
    mine = sync("hopeworks")
    stores = {
        keys: IntegrationStore(mine.settings.model_copy(update={"erasure_key": keys and SecretStr(keys)}))
        for keys in (None, "old", "new,old", "new")
    }
    for keys, external_id in ((None, "a"), ("old", "b"), ("new,old", "c")):
        store = stores[keys]
        with store.client.start_session() as session:
            remember(store, session, "hopeworks", "assignments", [external_id], at=utc_now())
    known = {
        keys: erased_among(store, "hopeworks", "assignments", ["a", "b", "c", "d"])
        for keys, store in stores.items()
    }
    for store in stores.values():
        store.close()
    assert known == {None: {"a"}, "old": {"a", "b"}, "new,old": {"a", "b", "c"}, "new": {"a", "c"}}


def test_a_record_that_a_run_lands_while_the_candidate_is_erased_goes_too(sync, monkeypatch):
    mine = sync("hopeworks", npo_id="erasure_landing_now")
    mine.run()
    reference, ids = somebody(mine)
    raw, npo_id = mine.store["npo_raw"], mine.npo.npo_id
    key = request_erasure(context(mine), Candidate(reference, npo_id), by="dpo", why="case 11")
    known = raw.find_one({"_id": raw_key(npo_id, "assignments", ids[0])})
    new = known | {"_id": raw_key(npo_id, "assignments", "new one"), "external_id": "new one"}
    commit = IntegrationStore.commit
    landed: list[int] = []

    def meanwhile(store, owner, seen, write):
        if not landed:
            landed.append(commit(store, owner, seen, lambda _session, _order: None))
            raw.insert_one(new | {"order": landed[0]})
        return commit(store, owner, seen, write)

    with monkeypatch.context() as patch:
        patch.setattr(IntegrationStore, "commit", meanwhile)
        receipt = carry_out(context(mine), key or "")
    assert receipt["assignments"] == len(ids) + 1
    assert raw.count_documents({"_id": new["_id"]}) == 0
    assert erased_among(mine.store, npo_id, "assignments", ["new one"]) == {"new one"}
