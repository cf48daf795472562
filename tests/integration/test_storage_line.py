"""The line of landed records: a stage moves a batch on by moving its position."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial

import pytest
from pymongo.collection import Collection

from include.errors import TransientError
from include.npo.landing_plan import Incoming, LandingPlan
from include.quality.gate import Reason
from include.storage.documents import RawState, raw_key
from include.storage.landing import ResourceManifest
from include.storage.mongo import FenceMovedError, IntegrationStore
from include.storage.pending import has_pending, in_line
from include.storage.raw import (
    move_state,
    next_in_line,
    pending_batches,
    quarantine_raw,
    reopen,
    state_of,
    withdraw,
    write_landed,
)
from include.storage.stage_position import START

NPO, RESOURCE = "line", "assignments"
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
LANDED, VALID, TRANSFORMED = RawState.LANDED, RawState.VALID, RawState.TRANSFORMED
MANIFEST = ResourceManifest(
    NPO, RESOURCE, "run", "1", "npo/line", NOON.isoformat(), None, None, True, "digest", 0, ()
)


@pytest.fixture
def store(empty_database, settings):
    store = IntegrationStore(settings)
    store.prepare()
    yield store
    store.close()


def key_of(name):
    return raw_key(NPO, RESOURCE, name)


def incoming(name, content="1"):
    return Incoming(key_of(name), name, "{}", content, NOON, NOON, False, "page#0")


def land(store, *names, changed=()):
    plan = LandingPlan(
        tuple(map(incoming, names)), tuple(incoming(name, "2") for name in changed), (), (), ()
    )
    store.commit(
        NPO,
        store.fence(NPO),
        lambda session, _order: write_landed(store, session, MANIFEST, plan, at=NOON),
    )


def waiting(store, state, size=100):
    return [[each.external_id for each in batch] for batch in batches(store, state, size)]


def batches(store, state, size=100):
    return list(pending_batches(store, NPO, RESOURCE, state, size=size))


def take(store, now, to, *, size=100, refused=()):
    """Move everything that waits in a state on, one transaction a batch."""
    reasons = {key_of(name): [Reason("bad", "bad")] for name in refused}

    def write(batch, session, _order):
        quarantine_raw(store, session, reasons)
        move_state(store, session, batch, now=now, to=to)

    for batch in batches(store, now, size):
        store.commit(NPO, store.fence(NPO), partial(write, batch))


def states(store, *names):
    return [state_of(store, key_of(name)) for name in names]


def test_a_batch_moves_on_without_a_write_to_its_records(store):
    land(store, "a", "b")
    before = list(store["npo_raw"].find())
    assert states(store, "a", "b") == [LANDED, LANDED]
    take(store, LANDED, VALID)
    assert states(store, "a", "b") == [VALID, VALID]
    take(store, VALID, TRANSFORMED)
    assert states(store, "a", "b") == [TRANSFORMED, TRANSFORMED]
    assert list(store["npo_raw"].find()) == before
    assert not has_pending(store, NPO)


def test_a_stage_that_stops_between_two_batches_goes_on_behind_the_first(store):
    land(store, "a", "b", "c")
    first = batches(store, LANDED, size=2)[0]
    store.commit(
        NPO,
        store.fence(NPO),
        lambda session, _order: move_state(store, session, first, now=LANDED, to=VALID),
    )
    assert waiting(store, LANDED) == [["c"]]
    assert waiting(store, VALID) == [["a", "b"]]  # transform takes no more than was validated


def test_what_lands_later_under_an_earlier_key_is_not_passed_over(store):
    land(store, "m", "n")
    take(store, LANDED, VALID)
    take(store, VALID, TRANSFORMED)
    land(store, "a")
    assert has_pending(store, NPO)
    assert waiting(store, LANDED) == [["a"]]


def test_changed_and_withdrawn_records_go_to_the_end_of_the_line(store):
    land(store, "a", "b", "c")
    take(store, LANDED, VALID)
    take(store, VALID, TRANSFORMED)
    land(store, changed=["b"])
    store.commit(
        NPO,
        store.fence(NPO),
        lambda session, _order: withdraw(store, session, MANIFEST, [key_of("a")], at=NOON),
    )
    assert waiting(store, LANDED) == [["b", "a"]]
    assert states(store, "a", "b", "c") == [LANDED, LANDED, TRANSFORMED]


def test_a_quarantined_record_waits_for_no_stage_until_it_is_landed_anew(store):
    land(store, "a", "b")
    take(store, LANDED, VALID, refused=["b"])
    assert waiting(store, VALID) == [["a"]]
    take(store, VALID, TRANSFORMED)
    assert states(store, "a", "b") == [TRANSFORMED, RawState.QUARANTINED]
    assert not has_pending(store, NPO)
    land(store, changed=["b"])
    assert waiting(store, LANDED) == [["b"]]


def test_a_resource_that_is_reopened_waits_as_a_whole_quarantined_ones_too(store):
    land(store, "a", "b")
    take(store, LANDED, VALID, refused=["b"])
    take(store, VALID, TRANSFORMED)
    assert reopen(store, NPO, RESOURCE) == 2
    assert waiting(store, LANDED) == [["a", "b"]]
    assert waiting(store, VALID) == []


def test_a_batch_planned_before_a_reopening_is_not_committed(store):
    land(store, "a")
    seen, [batch] = store.fence(NPO), batches(store, LANDED)
    reopen(store, NPO, RESOURCE)
    with pytest.raises(FenceMovedError):
        store.commit(
            NPO,
            seen,
            lambda session, _order: move_state(store, session, batch, now=LANDED, to=VALID),
        )


def test_records_from_before_there_was_a_line_and_records_put_back_by_one_go_first(store):
    land(store, "new", "back")
    old = store["npo_raw"].find_one({"_id": key_of("new")}) | {"_id": key_of("old"), "external_id": "old"}
    del old["order"]
    store["npo_raw"].insert_one(old | {"state": "valid", "pending": True, "attempt": 0})
    store["npo_raw"].update_one({"_id": key_of("back")}, {"$set": {"state": "landed", "pending": True}})
    assert waiting(store, LANDED) == [["back"], ["new"]]
    take(store, LANDED, VALID)
    assert waiting(store, VALID) == [["back", "old"], ["new"]]
    take(store, VALID, TRANSFORMED)
    assert states(store, "old", "back", "new") == [TRANSFORMED] * 3
    assert not has_pending(store, NPO)


def put_back(store, *names):
    """Let records wait by themselves, as a person's release does: without the fence."""
    keys = [key_of(name) for name in names]
    store["npo_raw"].update_many({"_id": {"$in": keys}}, {"$set": {"state": "landed", "pending": True}})


def test_a_record_released_between_two_stages_is_validated_before_it_is_transformed(store):
    land(store, "a", "b")
    take(store, LANDED, VALID, refused=["b"])
    put_back(store, "b")
    assert waiting(store, VALID) == [["a"]]
    assert waiting(store, LANDED) == [["b"]]
    take(store, VALID, TRANSFORMED)
    take(store, LANDED, VALID)
    assert waiting(store, VALID) == [["b"]]


def test_a_record_released_while_others_are_looked_at_does_not_move_on_with_them(store):
    land(store, "a", "b", "c")
    take(store, LANDED, VALID, refused=["b"])
    take(store, VALID, TRANSFORMED)
    put_back(store, "a", "c")
    [batch] = batches(store, LANDED)
    put_back(store, "b")
    store.commit(
        NPO,
        store.fence(NPO),
        lambda session, _order: move_state(store, session, batch, now=LANDED, to=VALID),
    )
    assert states(store, "a", "b", "c") == [VALID, LANDED, VALID]


def test_a_resource_is_reopened_though_others_commit_while_it_is_counted(store, monkeypatch):
    land(store, "a", "b")
    take(store, LANDED, VALID, refused=["b"])
    count = Collection.count_documents

    def counted(*args, **options):
        store.commit(NPO, store.fence(NPO), lambda _session, _order: None)
        return count(*args, **options)

    monkeypatch.setattr(Collection, "count_documents", counted)
    assert reopen(store, NPO, RESOURCE) == 2


@pytest.mark.parametrize("commits", [0, 1])
def test_a_reopening_that_is_broken_off_passes_over_no_record(store, monkeypatch, commits):
    land(store, "a", "b", "c")
    take(store, LANDED, VALID, refused=["b"])
    take(store, VALID, TRANSFORMED)
    put_back(store, "c")
    commit = store.commit
    done: list[int] = []

    def broken(*args):
        if len(done) == commits:
            raise TransientError("the store is away")
        done.append(commit(*args))
        return done[-1]

    monkeypatch.setattr(store, "commit", broken)
    with pytest.raises(TransientError):
        reopen(store, NPO, RESOURCE)
    assert states(store, "b", "c") == ([RawState.QUARANTINED, LANDED] if not commits else [LANDED, LANDED])


def test_another_npo_and_another_resource_have_a_line_of_their_own(store):
    land(store, "a")
    take(store, LANDED, VALID)
    assert not in_line(store, NPO, "offerings")
    assert not in_line(store, "lin", RESOURCE)
    assert in_line(store, NPO, RESOURCE)


def test_the_line_is_read_from_its_index_without_a_sort(store):
    land(store, *(f"{number:03d}" for number in range(50)))
    found = (
        store["npo_raw"]
        .find({})
        .hint("line")
        .sort([("npo_id", 1), ("resource", 1), ("order", 1), ("_id", 1)])
    )
    assert "SORT" not in str(found.explain()["queryPlanner"]["winningPlan"])
    first = next_in_line(store, NPO, RESOURCE, limit=10, after=START, upto=None)
    assert [each.external_id for each in first] == [f"{number:03d}" for number in range(10)]
    assert first[0].fetched_at == NOON
