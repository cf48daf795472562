"""AppRecords in the real store: one write a batch, nothing written twice, nothing of others touched."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from include.esr.applicants.plan import plan_applicants, sent_ids
from include.esr.applicants.rules import trainees_wanted
from include.esr.documents import owner
from include.esr.outbound import MAX_HISTORY, UNSENT, RecordState
from include.storage.documents import content_hash
from include.storage.mongo import FenceMovedError
from tests.unit.esr.applicant_views import POST, START, TODAY, person, placement, position, view

AT = datetime(2026, 7, 6, 12, 0, 0, 250_000, tzinfo=UTC)
KSS = owner("KSS")


class Generation:
    """Generation of one store, as its stage runs it."""

    def __init__(self, ctx):
        self.ctx = ctx
        self.store = ctx.store
        self.people = {key: person(key) for key in range(100, 200)}

    def plan(self, *views, today=TODAY, at=AT):
        sent = sent_ids(self.store, views)
        wanted = trainees_wanted(views, sent, today=today, settings=self.ctx.settings)
        people = {key: self.people[key] for key in wanted if key in self.people}
        return plan_applicants(self.store, views, people, today=today, settings=self.ctx.settings, at=at)

    def run(self, *views, deanery="KSS", **said):
        def prepare():
            plan = self.plan(*views, **said)
            return plan, plan.write

        return self.store.commit_plan(owner(deanery), prepare)

    def record(self, key="1-7"):
        return self.store["esr_app_record"].find_one({"_id": key})

    def set(self, key="1-7", **said):
        self.store["esr_app_record"].update_one({"_id": key}, {"$set": said})

    def states(self):
        found = self.store["esr_app_record"].find({}, {"state": 1})
        return {doc["_id"]: doc["state"] for doc in found}


@pytest.fixture
def generation(esr_ctx):
    return Generation(esr_ctx)


def test_a_new_record_holds_what_export_and_confirmations_need(generation):
    plan = generation.run(view())
    record = generation.record()
    assert plan.counts == {"new": 1, "changed": 0, "unchanged": 0, "left_alone": 0, "to_export": 1}
    fields = record.pop("fields")
    assert (fields["effective_date"], fields["position_id"]) == ("2026-08-05", 7)
    assert record == {
        "_id": "1-7",
        "deanery": "KSS",
        "kind": "APP",
        "post_id": 5,
        "post_number": POST,
        "position_id": 7,
        "position_number": "07",
        "placement_id": 1,
        "trainee_id": 100,
        "state": "TO_EXPORT",
        "reason": None,
        "start": "2026-08-05",
        "made_on": "2026-07-06",
        "hash": content_hash(fields),
        "revision": 1,
        "generated_at": AT,
        "changed_at": AT,
        "file": None,
        "ordinal": None,
        "exported_at": None,
        "resends": 0,
        "answer": None,
        "history": [{"state": "TO_EXPORT", "at": AT, "why": "generated"}],
    }


def test_incident_a_run_done_again_makes_no_second_record_and_writes_nothing(generation):
    generation.run(view())
    before = generation.record()
    plan = generation.run(view(), today=TODAY + timedelta(days=1), at=AT + timedelta(days=1))
    assert plan.write is None
    assert plan.counts["unchanged"] == 1
    assert generation.store.fence(KSS) == 1
    assert generation.record() == before


def test_a_change_is_written_with_its_history(generation):
    generation.run(view())
    generation.run(view([placement(start=START + timedelta(days=7))]), at=AT + timedelta(hours=1))
    record = generation.record()
    assert (record["start"], record["revision"], record["hash"]) == (
        "2026-08-12",
        2,
        content_hash(record["fields"]),
    )
    assert (record["generated_at"], record["changed_at"]) == (AT, AT + timedelta(hours=1))
    assert [each["why"] for each in record["history"]] == ["generated", "changed"]


def test_every_state_tells_its_reason_and_how_it_came_to_be(generation):
    generation.people.pop(100)
    generation.run(view())
    generation.people[100] = person()
    generation.run(view())
    generation.run(view([]))
    generation.run(view())
    generation.run(view(), today=START)
    record = generation.record()
    assert record["reason"]["code"] == "started_unsent"
    assert [(each["state"], each["why"]) for each in record["history"]] == [
        ("INVALID_DATA", "person_unknown"),
        ("TO_EXPORT", "regenerated"),
        ("DELETED_BEFORE_EXPORT", "placement_gone"),
        ("TO_EXPORT", "regenerated"),
        ("EXPIRED_UNSENT", "started_unsent"),
    ]


def test_the_history_of_a_record_that_changes_for_ever_is_bounded(generation):
    for days in range(MAX_HISTORY + 3):
        generation.run(view([placement(start=START + timedelta(days=days))]))
    assert len(generation.record()["history"]) == MAX_HISTORY


@pytest.mark.parametrize("state", sorted(set(RecordState) - UNSENT))
def test_what_is_sent_or_taken_out_is_left_alone(generation, state):
    generation.run(view())
    generation.set(state=state.value)
    moved = view([placement(start=START + timedelta(days=7))])
    assert sent_ids(generation.store, [moved]) == {"1-7"}
    for change in (moved, view([]), view(positions=[])):
        plan = generation.run(change)
        assert (plan.write, plan.counts["left_alone"]) == (None, 1)


def test_what_expires_is_named_once_and_counted(generation):
    posts = view([placement(1), placement(2, start=TODAY)])
    first = generation.run(posts)
    assert (first.expired, first.counts["expired"]) == (("2-7",), 1)
    assert generation.run(posts).expired == ()
    assert generation.run(posts, today=START).expired == ("1-7",)


def test_records_of_the_same_post_in_another_deanery_are_none_of_ours(generation):
    generation.run(view(positions=[position(8)], deanery="LDN"), deanery="LDN")
    generation.run(view())
    generation.run(view([]))
    assert generation.states() == {"1-7": "DELETED_BEFORE_EXPORT", "1-8": "TO_EXPORT"}


def test_the_record_of_a_position_that_came_from_another_deanery_comes_along(generation):
    generation.run(view(deanery="LDN"), deanery="LDN")
    generation.run(view())
    generation.run(view(positions=[], deanery="LDN"), deanery="LDN")
    record = generation.record()
    assert (record["deanery"], record["state"], record["revision"]) == ("KSS", "TO_EXPORT", 1)


def test_a_record_follows_its_position_to_another_post_whichever_is_looked_at_first(generation):
    old, new = view([], []), view(key=6, number="KSS/OTHER/1")
    generation.run(view())
    generation.run(new)
    generation.run(old)
    assert (generation.record()["post_id"], generation.record()["state"]) == (6, "TO_EXPORT")
    generation.run(view([], [], key=6))
    generation.run(view())
    record = generation.record()
    assert (record["post_id"], record["fields"]["deanery_number"], record["state"]) == (5, POST, "TO_EXPORT")


def test_a_plan_made_before_another_deanery_took_the_record_is_not_applied(generation):
    generation.run(view())
    plan = generation.plan(view([]))
    generation.run(view(deanery="LDN"), deanery="LDN")
    with pytest.raises(FenceMovedError):
        generation.store.commit(KSS, generation.store.fence(KSS), plan.write)
    assert generation.states() == {"1-7": "TO_EXPORT"}


def test_a_plan_made_before_the_record_got_its_place_in_a_file_is_not_applied(generation):
    generation.run(view())
    plan = generation.plan(view([]))
    generation.set(state="IN_FILE")
    with pytest.raises(FenceMovedError):
        generation.store.commit(KSS, generation.store.fence(KSS), plan.write)
    assert generation.states() == {"1-7": "IN_FILE"}


def test_two_deaneries_that_make_the_same_record_at_once_make_one(generation):
    plan = generation.plan(view())
    generation.run(view(deanery="LDN"), deanery="LDN")
    with pytest.raises(FenceMovedError):
        generation.store.commit(KSS, generation.store.fence(KSS), plan.write)
    assert generation.run(view()).counts["changed"] == 1
    assert generation.record()["deanery"] == "KSS"


@pytest.mark.parametrize(
    "contact",
    [
        {"legalSurname": "A\x00B"},
        {"legalSurname": "A\ud800"},
        {"address1": "x" * 20_000_000},
        {"title": {"deep": "\ud800"}},
    ],
)
def test_one_persons_strange_data_does_not_stop_the_others(generation, contact):
    generation.people[101] = person(101, contact)
    generation.run(view([placement(1), placement(2, trainee_id=101)]))
    assert generation.states() == {"1-7": "TO_EXPORT", "2-7": "INVALID_DATA"}


def test_nothing_of_a_person_stands_outside_the_fields(generation):
    generation.people[100] = replace(person(), contact={"legalSurname": "Secretname", "title": "T" * 2000})
    generation.run(view())
    record = generation.record()
    assert record["fields"]["last_name"] == "Secretname"
    assert "Secret" not in str({name: value for name, value in record.items() if name != "fields"})


def test_a_batch_of_500_posts_costs_two_reads_and_one_write(generation):
    views = [
        view([placement(post)], [position(1000 + post), position(2000 + post)], key=post, number=f"P/{post}")
        for post in range(1, 501)
    ]
    database = generation.store.database
    database.command("profile", 2)
    try:
        plan = generation.run(*views)
    finally:
        database.command("profile", 0)
    on_records = {"ns": f"{database.name}.esr_app_record"}
    profile = database["system.profile"]
    assert plan.counts["new"] == 1000
    assert profile.count_documents(on_records | {"op": "query"}) == 2
    assert profile.count_documents(on_records | {"op": {"$in": ["insert", "update"]}}) == 1
    assert generation.run(*views).write is None
    database.drop_collection("system.profile")
