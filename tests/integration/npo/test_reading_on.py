"""Reading goes on: what one resource or one parent lacks costs the others nothing, on real servers."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from datetime import timedelta
from typing import Any

import pytest

from include.connectors.protocol import Window
from include.errors import ConfigurationError, RateLimitedError, TransientError
from include.npo import nested
from include.npo.context import RunRef
from include.npo.extract import extract
from include.npo.gaps import Stretch, find_gaps
from include.npo.land import land_raw
from include.privacy.erased import remember
from include.settings import Settings
from include.storage.checkpoint import read_checkpoint, unlanded
from include.storage.erased_page import is_erased
from include.storage.landing import LandingZone
from include.storage.mongo import IntegrationStore
from tests.conformance.tiny_server import Reply, Seen
from tests.integration.npo.test_nested import MANIFEST, START, Reader, School, changed


@pytest.fixture
def reader(empty_database: str, settings: Settings) -> Iterator[Reader]:
    store = IntegrationStore(settings)
    with School() as school:
        school.courses = {name: [{"n": 1, "at": changed(0)}] for name in "abcde"}
        yield Reader(school, settings, store, deepcopy(MANIFEST))
    store.close()


@pytest.fixture
def school(reader: Reader) -> School:
    assert isinstance(reader.school, School)
    return reader.school


def in_order(school: School) -> str:
    """Return the courses asked for, in order, each once."""
    return "".join(school.asked())


def stored(reader: Reader) -> str:
    return "".join(external_id.partition(":")[0] for external_id in reader.stored())


def run(reader: Reader) -> RunRef:
    ref = reader.run()
    assert ref is not None
    return ref


def test_a_reading_that_is_throttled_keeps_what_it_has_and_the_next_begins_with_the_rest(
    reader: Reader, school: School
) -> None:
    school.broken = {"c": 429}
    ref = run(reader)
    assert stored(reader) == "ab"
    assert in_order(school) == "abc"
    assert ref.counts["extract.parents_failed"] == 3
    assert "3 of 5 offerings were not read" in ref.refused[0]
    school.broken = {}
    assert run(reader).refused == ()
    assert in_order(school) == "deabc"
    assert stored(reader) == "abcde"


def test_a_reading_that_is_throttled_at_its_first_parent_says_when_to_come_back(
    reader: Reader, school: School
) -> None:
    school.broken = {"a": 429}
    with pytest.raises(RateLimitedError) as caught:
        reader.run()
    assert caught.value.retry_after == 3600


def test_a_reading_without_time_left_lands_what_it_has_and_comes_to_the_end_in_the_next_runs(
    reader: Reader, school: School
) -> None:
    in_full = school.answer

    def slow(seen: Seen) -> Reply:
        reader.now += timedelta(minutes=46 if seen.path.endswith("/progress") else 0)
        return in_full(seen)

    school.answer = slow
    assert "no time left" in run(reader).refused[0]
    assert stored(reader) == "ab"
    assert in_order(school) == "ab"
    assert run(reader).refused != ()
    assert stored(reader) == "abcd"
    school.asked()
    run(reader)
    assert stored(reader) == "abcde"
    assert in_order(school)[0] == "e"


def test_three_bad_parents_side_by_side_do_not_keep_the_others_from_being_read(
    reader: Reader, school: School
) -> None:
    school.broken = dict.fromkeys("abc", 503)
    ref = run(reader)
    assert stored(reader) == "de"
    assert "3 of 5" in ref.refused[0]


def test_where_the_first_parents_all_fail_the_next_try_begins_behind_them(
    reader: Reader, school: School
) -> None:
    school.courses |= {name: [{"n": 1, "at": changed(0)}] for name in "fghijkl"}
    school.broken = dict.fromkeys("abcdef", 503)
    with pytest.raises(TransientError):
        reader.run()
    assert in_order(school) == "abcde"
    run(reader)
    assert in_order(school) == "fghijklabcde"
    assert stored(reader) == "ghijkl"


def test_one_parent_the_partner_cannot_answer_for_is_left_out_and_told(
    reader: Reader, school: School
) -> None:
    school.broken = {"b": 400}
    ref = run(reader)
    assert stored(reader) == "acde"
    assert "400" in ref.refused[0]


def test_a_resource_that_cannot_be_read_does_not_keep_the_other_from_being_landed(
    reader: Reader, school: School
) -> None:
    school.broken = dict.fromkeys(school.courses, 400)
    ref = run(reader)
    assert len(reader.stored("offerings")) == 5
    assert "assignments could not be read: 400" in ref.refused[0]


def test_a_failure_that_may_pass_is_left_to_the_retry_the_first_times(reader: Reader, school: School) -> None:
    school.broken = dict.fromkeys(school.courses, 503)
    for _ in range(2):
        with pytest.raises(TransientError):
            reader.run()
    assert reader.stored("offerings") == []
    assert "assignments could not be read: 503" in run(reader).refused[0]
    assert len(reader.stored("offerings")) == 5
    school.broken = {}
    assert run(reader).refused == ()
    assert read_checkpoint(reader.store, "testnpo", "assignments").failed_in_a_row == 0


def test_a_refused_credential_is_never_put_off_to_the_end_of_the_run(reader: Reader, school: School) -> None:
    school.broken = {"c": 401}
    with pytest.raises(ConfigurationError, match="401") as caught:
        reader.run()
    assert caught.value.pauses


def snapshot(reader: Reader) -> None:
    """Make the nested resource one whose full list says what is gone."""
    spec = reader.manifest["resources"]["assignments"]
    del spec["incremental"]
    spec["nested"]["cursors"] = "one"
    spec["deletes"] = {"mode": "snapshot"}


def withdrawn(reader: Reader) -> list[str]:
    found = reader.store["npo_raw"].find({"resource": "assignments", "deleted_upstream": True})
    return sorted(doc["external_id"] for doc in found)


def test_what_belongs_to_a_parent_that_nothing_can_be_asked_for_is_not_withdrawn(
    reader: Reader, school: School
) -> None:
    snapshot(reader)
    run(reader)
    school.terms = {"a": None}
    reader.run()  # lands the course without a term
    reader.run()
    assert withdrawn(reader) == []
    school.terms, school.courses["b"] = {}, []
    reader.run()
    reader.run()
    assert withdrawn(reader) == ["b:1"]


def test_with_one_cursor_a_parent_that_comes_back_is_read_from_its_beginning(
    reader: Reader, school: School
) -> None:
    reader.manifest["resources"]["assignments"]["nested"]["cursors"] = "one"
    reader.manifest["resources"]["offerings"]["deletes"] = {
        "mode": "flag",
        "flag": {"path": "left", "values": [True]},
    }
    run(reader)
    school.left = {"a"}
    school.courses["b"].append({"n": 2, "at": changed(5)})
    run(reader)
    school.left = set()
    school.courses["a"].append({"n": 2, "at": changed(3)})
    school.asked()
    run(reader)
    assert school.asked()["a"] is None
    assert "a:2" in reader.stored()


def test_no_cursor_of_the_store_is_open_while_the_partner_is_asked(
    reader: Reader, school: School, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(reader)
    read_to_the_end, in_full, seen_open = [False], school.answer, []
    stored_payloads = nested._live_payloads

    def payloads(*asked: Any) -> Iterator[tuple[str, str]]:
        yield from stored_payloads(*asked)
        read_to_the_end[0] = True

    def answer(seen: Seen) -> Reply:
        if seen.path.endswith("/progress") and not read_to_the_end[0]:
            seen_open.append(seen.path)
        return in_full(seen)

    monkeypatch.setattr(nested, "_live_payloads", payloads)
    school.answer = answer
    reader.run()
    assert read_to_the_end == [True]
    assert seen_open == []


def gaps_of(reader: Reader, window: Window) -> list[Stretch]:
    assert window.since
    assert window.until
    found = find_gaps(reader.context(), Stretch(window.since, window.until), resource="assignments")
    return [gap.stretch for gap in found]


def test_a_backfill_that_was_read_and_never_landed_leaves_its_gap_open(
    reader: Reader, school: School
) -> None:
    run(reader)
    window = Window(reader.now + timedelta(hours=1), reader.now + timedelta(hours=3))
    assert window.since
    assert window.until
    school.courses["a"].append({"n": 2, "at": (window.since + timedelta(hours=1)).isoformat()})
    reader.now += timedelta(hours=9)
    ctx = reader.context(window)
    ref = extract(ctx)
    assert ref is not None
    assert gaps_of(reader, window) == [Stretch(window.since, window.until)]
    land_raw(ctx, ref)
    assert gaps_of(reader, window) == []
    assert unlanded(reader.store, "testnpo", "assignments") == frozenset()


def test_a_backfill_that_lacks_a_parent_leaves_its_gap_open(reader: Reader, school: School) -> None:
    run(reader)
    window = Window(reader.now + timedelta(hours=1), reader.now + timedelta(hours=3))
    reader.now += timedelta(hours=9)
    school.broken = {"b": 503}
    reader.run(window)
    assert gaps_of(reader, window) != []
    school.broken = {}
    reader.run(window)
    assert gaps_of(reader, window) == []


def test_an_erased_record_that_comes_again_is_never_written_to_the_landing_zone(
    reader: Reader, school: School
) -> None:
    reader.store.prepare()
    with reader.store.client.start_session() as session:
        remember(reader.store, session, "testnpo", "assignments", ["a:1"], at=START)
    school.courses["a"].append({"n": 2, "at": changed(1)})
    ref = run(reader)
    assert stored(reader) == "abcde"
    assert "a:1" not in reader.stored()
    zone, connector = LandingZone(reader.settings), reader.context().connector
    records = [
        record
        for key in ref.manifests
        for page, body in zone.bodies(zone.manifest(key))
        if page.parent is not None
        for record in connector.records("assignments", body)
    ]
    assert len(records) == 6
    assert sum(map(is_erased, records)) == 1
    assert not any(record.get("n") == 1 and record.get("_offerings_id") == "a" for record in records)
    assert b'"at":"2026-03-02T08:00:00+00:00"' not in b"".join(
        zone.get(page.key) for key in ref.manifests for page in zone.manifest(key).pages if page.parent == "a"
    )
    # And it is no news each time it comes.
    again = reader.run()
    assert again is not None
    assert again.manifests == ()
