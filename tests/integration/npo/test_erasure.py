"""Erasure of one candidate on real servers: nothing of them is left, everybody else is untouched."""

from __future__ import annotations

import dataclasses
import gzip
from collections import Counter

import orjson
import pytest

from include.connectors.protocol import Window
from include.errors import TransientError
from include.npo.context import utc_now
from include.npo.land import land_raw
from include.privacy import erase
from include.privacy.erase import ErasureContext, carry_out, open_requests, request_erasure, request_keys
from include.privacy.subject import Candidate, held_about
from include.privacy.sweep import sweep_marked
from include.storage.documents import RawState, raw_key
from include.storage.erased_page import rewritten_records
from include.storage.stage_position import position
from tests.integration.npo.conftest import LATER_STAGES, begin

PARTNERS = ("hopeworks", "codebridge", "mentornet")


def context(mine) -> ErasureContext:
    return ErasureContext(mine.store, mine.landing, lambda _npo: mine.context().connector)


def somebody(mine) -> tuple[str, list[str]]:
    """Return the reference of the candidate with most assignments, and their partner ids."""
    found = Counter(
        doc["external_candidate_ref"]
        for doc in mine.store["npo_assignment"].find({"external_candidate_ref": {"$exists": True}})
    )
    reference = found.most_common(1)[0][0]
    held = held_about(mine.store, Candidate(reference, mine.npo.npo_id))
    assert len(held) == found[reference]
    return reference, [one.external_id for one in held]


def pages(mine) -> dict[str, bytes]:
    below = f"npo/{mine.npo.npo_id}/assignments/"
    return {key: mine.landing.get(key) for key in mine.landing.keys(below) if key.endswith(".gz")}


def ids_in(mine, pages) -> Counter[str]:
    connector = mine.context().connector
    found: Counter[str] = Counter()
    for body in pages.values():
        for record in connector.records("assignments", body):
            try:
                found[connector.external_id("assignments", record)] += 1
            except Exception:  # noqa: BLE001 - a bad record of the sandbox has no id
                found["bad"] += 1
    return found


@pytest.fixture
def erased(sync, request):
    """Return an NPO of which one candidate was erased: sync, reference, ids, what was before, receipt."""
    mine = sync(request.param, npo_id=f"erasure_{request.param}")
    mine.run()
    mine.events()
    reference, ids = somebody(mine)
    # A record of theirs is the last that was moved on.
    last = {"left.assignments.valid.key": raw_key(mine.npo.npo_id, "assignments", ids[0])}
    mine.store["fence"].update_one({"_id": mine.npo.npo_id}, {"$set": last})
    before = pages(mine), mine.state()
    ctx = context(mine)
    key = request_erasure(ctx, Candidate(reference, mine.npo.npo_id), by="dpo", why="case 17")
    assert key is not None
    return mine, reference, ids, before, carry_out(ctx, key)


@pytest.mark.parametrize("erased", PARTNERS, indirect=True)
def test_no_store_and_no_page_holds_the_candidate_any_more_and_all_hold_the_others(erased):
    mine, reference, ids, (pages_before, state_before), receipt = erased
    after = mine.state()
    assert reference not in orjson.dumps(after, default=str).decode()
    assert not any(f"|{one}'" in str(list(mine.store["fence"].find())) for one in ids)
    assert position(mine.store, mine.npo.npo_id, "assignments", RawState.VALID).key == ""
    expected, found = ids_in(mine, pages_before), ids_in(mine, pages(mine))
    assert all(expected.pop(one) for one in ids)
    found.pop("bad", None), expected.pop("bad", None)
    assert found == expected
    assert len(after["npo_assignment"]) == len(state_before["npo_assignment"]) - len(ids)
    assert len(after["outbox"]) == len(state_before["outbox"])
    assert receipt["assignments"] == len(ids)
    assert receipt["counts"]["npo_assignment"] == receipt["counts"]["npo_raw"] == len(ids)
    assert receipt["counts"]["raw_records"] >= len(ids)


@pytest.mark.parametrize("erased", ["hopeworks"], indirect=True)
def test_a_receipt_names_nobody(erased):
    mine, reference, ids, _, receipt = erased
    kept = mine.store[erase.COLLECTION].find_one({"_id": receipt["receipt"]})
    for told in (str(receipt), str(kept)):
        assert reference not in told
        assert not any(one in told for one in ids)
    assert receipt["by"] == "dpo"
    assert receipt["why"] == "case 17"
    assert receipt["not_reached"]


def forget_somebody_else(mine, ids) -> None:
    """Make the partner's list news again, without the candidate's part in it."""
    mine.store["npo_checkpoint"].delete_many({})
    other = mine.store["npo_raw"].find_one({"resource": "assignments", "external_id": {"$nin": ids}})
    mine.store["npo_raw"].delete_one({"_id": other["_id"]})


@pytest.mark.parametrize("erased", ["codebridge"], indirect=True)
def test_what_the_partner_still_sends_is_dropped_and_a_replay_brings_nothing_back(erased):
    mine, reference, ids, _, _ = erased
    landed = mine.landing.manifests_between(mine.npo.npo_id, "assignments", Window())
    forget_somebody_else(mine, ids)
    ctx = mine.context()
    ref = begin(ctx)
    ref = dataclasses.replace(ref, manifests=(*landed, *ref.manifests))
    for stage in LATER_STAGES:
        ref = stage(ctx, ref)
    assert held_about(mine.store, Candidate(reference, mine.npo.npo_id)) == []
    assert mine.store["quarantine"].count_documents({"external_id": {"$in": ids}}) == 0
    assert not set(ids) & set(ids_in(mine, pages(mine)))
    assert ref.counts["land_raw.erased"] == 2 * len(ids)
    assert not [event for event in mine.events() if reference in str(event)]


@pytest.mark.parametrize("erased", ["mentornet"], indirect=True)
def test_erasing_again_changes_nothing_and_shows_the_same_receipt(erased):
    mine, reference, _, _, receipt = erased
    ctx, who = context(mine), Candidate(reference, mine.npo.npo_id)
    before = pages(mine)
    key = request_erasure(ctx, who, by="somebody else", why="again")
    assert key == receipt["receipt"] == request_keys(mine.store, who)[0]
    assert carry_out(ctx, key) == receipt
    assert pages(mine) == before


def test_of_somebody_unknown_nothing_is_erased_and_no_request_is_kept(sync):
    mine = sync("hopeworks")
    mine.run()
    before = mine.state()
    assert request_erasure(context(mine), Candidate("nobody"), by="dpo", why="case 1") is None
    assert mine.state() == before
    assert open_requests(mine.store) == []


@pytest.mark.parametrize("at", ["delete", "rewrite"])
def test_an_erasure_broken_off_stays_open_and_is_ended_later(sync, monkeypatch, at):
    mine = sync("codebridge", npo_id="erasure_broken")
    mine.run()
    reference, ids = somebody(mine)
    ctx = context(mine)
    key = request_erasure(ctx, Candidate(reference, "erasure_broken"), by="dpo", why="case 2")
    assert key is not None

    def unwell(*_):
        raise TransientError("S3 is away")

    with monkeypatch.context() as patch:
        patch.setattr(type(mine.landing), at, unwell)
        with pytest.raises(TransientError):
            carry_out(ctx, key)
    assert open_requests(mine.store) == [key]
    receipt = carry_out(ctx, key)
    assert receipt["open"] is False
    assert reference not in str(mine.state())
    assert not set(ids) & set(ids_in(mine, pages(mine)))


def test_a_run_that_was_reading_while_the_candidate_was_erased_does_not_bring_him_back(sync):
    mine = sync("hopeworks", npo_id="erasure_racing")
    mine.run()
    reference, ids = somebody(mine)
    forget_somebody_else(mine, ids)
    ctx = mine.context()
    ref = begin(ctx)  # pages are landed, records not yet
    key = request_erasure(context(mine), Candidate(reference, "erasure_racing"), by="dpo", why="case 3")
    assert key is not None
    for stage in LATER_STAGES:
        ref = stage(ctx, ref)
    carry_out(context(mine), key)
    assert reference not in str(mine.state())
    assert not set(ids) & set(ids_in(mine, pages(mine)))


def test_an_unfinished_attempt_is_erased_too(sync):
    mine = sync("codebridge", npo_id="erasure_unfinished")
    mine.run()
    reference, ids = somebody(mine)
    key_of_page, body = next((key, body) for key, body in pages(mine).items() if ids[0].encode() in body)
    folder = key_of_page.rpartition("/")[0]
    whole, cut = f"{folder}x/page-000001.gz", f"{folder}y/page-000001.gz"
    mine.landing.put(whole, body, compress=True)
    mine.landing.put(cut, body[: len(body) - 20], compress=True)
    key = request_erasure(context(mine), Candidate(reference, "erasure_unfinished"), by="dpo", why="case 4")
    assert key is not None
    receipt = carry_out(context(mine), key)
    assert receipt["counts"]["pages_deleted"] == 1
    left = pages(mine)
    assert cut not in left
    assert rewritten_records(left[whole]) is not None


def test_a_rewritten_page_says_so_and_leaves_no_older_version(sync):
    mine = sync("hopeworks")
    mine.landing.put("npo/versions/assignments/2026-01-01/r/a/page-000001.gz", b"[1]", compress=True)
    mine.landing.rewrite("npo/versions/assignments/2026-01-01/r/a/page-000001.gz", b"[2]")
    stored = mine.landing.client.list_object_versions(
        Bucket=mine.settings.landing_bucket, Prefix="npo/versions/assignments/"
    ).get("Versions", [])
    assert len(stored) == 1
    assert (
        gzip.decompress(mine.landing.stored("npo/versions/assignments/2026-01-01/r/a/page-000001.gz"))
        == b"[2]"
    )


def test_land_raw_alone_drops_an_erased_record(sync):
    mine = sync("codebridge", npo_id="erasure_landing")
    mine.run()
    reference, ids = somebody(mine)
    request_erasure(context(mine), Candidate(reference, "erasure_landing"), by="dpo", why="case 5")
    mine.store["npo_raw"].delete_many({})
    ctx = mine.context()
    mine.store["npo_checkpoint"].delete_many({})
    ref = land_raw(ctx, begin(ctx))
    assert mine.store["npo_raw"].count_documents({"external_id": {"$in": ids}}) == 0
    assert ref.counts["land_raw.erased"] == len(ids)


def landed_late(mine, before: dict[str, bytes], ids: list[str]) -> str:
    """Land a page with the candidate once more, as a reading does that began before the erasure."""
    key, body = next((key, body) for key, body in before.items() if ids[0].encode() in body)
    late = f"{key.rpartition('/')[0]}-late/page-000001.gz"
    mine.landing.put(late, body, compress=True)
    return late


@pytest.mark.parametrize("asked_again", [True, False])
@pytest.mark.parametrize("erased", ["codebridge"], indirect=True)
def test_a_page_landed_after_the_erasure_loses_the_candidate_in_the_night_or_when_asked_again(
    erased, asked_again
):
    mine, reference, ids, (before, _), receipt = erased
    late = landed_late(mine, before, ids)
    assert ids[0] in ids_in(mine, pages(mine))
    if asked_again:
        key = request_erasure(
            context(mine), Candidate(reference, mine.npo.npo_id), by="dpo", why="case 17 again"
        )
        again = carry_out(context(mine), key or "")
        assert again["counts"]["raw_records"] > receipt["counts"]["raw_records"]
    else:
        swept = sweep_marked(
            mine.store,
            mine.landing,
            lambda _npo: mine.context().connector,
            now=utc_now(),
            progress=mine.told.append,
        )
        assert swept > 0
    assert not set(ids) & set(ids_in(mine, pages(mine)))
    assert rewritten_records(mine.landing.get(late)) is not None
