"""Rules of landing: which version of a record counts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from include.npo.landing_plan import Incoming, plan_landing
from include.storage.documents import StoredVersion

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def incoming(
    key: str = "a",
    content: str = "1",
    *,
    cursor: datetime | None = None,
    fetched_at: datetime = NOON,
    deleted: bool = False,
) -> Incoming:
    return Incoming(key, key, "{}", content, cursor, fetched_at, deleted, f"page#{content}")


def stored(
    content: str = "1",
    *,
    cursor: datetime | None = None,
    fetched_at: datetime = NOON,
    deleted: bool = False,
    manifest: str = "before",
) -> StoredVersion:
    return StoredVersion(content, cursor, fetched_at, deleted, manifest)


def test_a_record_the_store_does_not_have_is_new():
    plan = plan_landing([incoming()], {}, manifest="now")
    assert [record.key for record in plan.new] == ["a"]


def test_equal_content_is_unchanged_whatever_the_clock_says():
    plan = plan_landing([incoming(fetched_at=NOON + HOUR)], {"a": stored()}, manifest="now")
    assert plan.unchanged == ("a",)
    assert not plan.changed


def test_other_content_fetched_later_is_a_change():
    plan = plan_landing([incoming(content="2", fetched_at=NOON + HOUR)], {"a": stored()}, manifest="now")
    assert [record.content_hash for record in plan.changed] == ["2"]


def test_a_later_fetch_counts_though_the_partners_clock_went_back():
    record = incoming(content="2", cursor=NOON - HOUR, fetched_at=NOON + HOUR)
    plan = plan_landing([record], {"a": stored(cursor=NOON)}, manifest="now")
    assert len(plan.changed) == 1


def test_an_older_fetch_never_overwrites_a_newer_one():
    plan = plan_landing([incoming(content="2", fetched_at=NOON - HOUR)], {"a": stored()}, manifest="replayed")
    assert plan.stale == ("a",)
    assert not plan.changed


def test_the_same_record_twice_in_one_extraction_is_one_record():
    plan = plan_landing([incoming(), incoming()], {}, manifest="now")
    assert len(plan.new) == 1
    assert not plan.ambiguous


def test_of_two_versions_in_one_extraction_the_one_changed_later_counts():
    old, new = incoming(content="1", cursor=NOON), incoming(content="2", cursor=NOON + HOUR)
    for batch in ([old, new], [new, old]):
        plan = plan_landing(batch, {}, manifest="now")
        assert [record.content_hash for record in plan.new] == ["2"]
        assert not plan.ambiguous


def test_two_versions_no_clock_tells_apart_keep_the_first_and_set_the_other_aside():
    plan = plan_landing([incoming(content="1"), incoming(content="2")], {}, manifest="now")
    assert [record.content_hash for record in plan.new] == ["1"]
    assert [record.content_hash for record in plan.ambiguous] == ["2"]


def test_a_second_version_on_a_later_page_is_set_aside_too():
    known = {"a": stored(manifest="now")}
    plan = plan_landing([incoming(content="2", fetched_at=NOON + HOUR)], known, manifest="now")
    assert [record.content_hash for record in plan.ambiguous] == ["2"]


def test_a_record_deleted_upstream_is_a_change_with_equal_content():
    plan = plan_landing([incoming(deleted=True, fetched_at=NOON + HOUR)], {"a": stored()}, manifest="now")
    assert len(plan.changed) == 1


def test_a_withdrawn_record_that_comes_back_is_a_change():
    plan = plan_landing([incoming(fetched_at=NOON + HOUR)], {"a": stored(deleted=True)}, manifest="now")
    assert len(plan.changed) == 1


def test_planning_the_same_batch_again_after_it_was_stored_changes_nothing():
    batch = [incoming("a"), incoming("b", "2")]
    after = {record.key: stored(record.content_hash, manifest="now") for record in batch}
    plan = plan_landing(batch, after, manifest="now")
    assert plan.unchanged == ("a", "b")
    assert not plan.new
    assert not plan.changed
