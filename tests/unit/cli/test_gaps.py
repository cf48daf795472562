"""What landed extractions cover, what is left over, and who closes it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from include.connectors.manifest import ResourceSpec
from include.npo.gaps import (
    Stretch,
    asks_for_a_window,
    covered_by,
    covered_by_landed,
    default_stretch,
    explained,
    next_run_reads_from,
    uncovered,
)
from include.registry.models import NpoConfig
from include.storage.checkpoint import Checkpoint
from include.storage.landing import LandedParent, ResourceManifest


def at(hour: int, minute: int = 0) -> datetime:
    return datetime(2026, 3, 1, tzinfo=UTC) + timedelta(hours=hour, minutes=minute)


def landed(
    started: datetime, since: datetime | None = None, until: datetime | None = None
) -> ResourceManifest:
    return ResourceManifest(
        npo_id="severn",
        resource="offerings",
        run_id="r",
        attempt="a",
        prefix="p",
        started_at=started.isoformat(),
        since=since.isoformat() if since else None,
        until=until.isoformat() if until else None,
        moves_checkpoint=until is None,
        digest="",
        records=0,
        pages=(),
    )


def spec(**incremental: Any) -> ResourceSpec:
    return ResourceSpec.model_validate(
        {
            "endpoint": {"path": "x"},
            "primary_key": "id",
            "incremental": {"cursor_path": "at", **incremental} if incremental else None,
            "mapping": {"fields": {"name": "title"}},
        }
    )


def test_a_full_read_covers_all_there_was_before_it():
    assert uncovered([covered_by(landed(at(5)))], Stretch(at(0), at(8))) == [Stretch(at(5), at(8))]


def test_a_window_covers_no_more_than_it_asked_for():
    one = covered_by(landed(at(9), since=at(2), until=at(4)))
    assert uncovered([one], Stretch(at(0), at(8))) == [Stretch(at(0), at(2)), Stretch(at(4), at(8))]


def test_a_window_into_the_future_covers_nothing_after_the_reading_began():
    one = covered_by(landed(at(3), since=at(0), until=at(8)))
    assert uncovered([one], Stretch(at(0), at(8))) == [Stretch(at(3), at(8))]


def test_an_extraction_that_was_not_landed_covers_nothing():
    one = landed(at(9), since=at(2), until=at(4))
    assert covered_by_landed([one], frozenset()) == [Stretch(at(2), at(4))]
    assert covered_by_landed([one], {one.key}) == []


@pytest.mark.parametrize(("state", "covers"), [("read", True), ("gone", True), ("failed", False)])
def test_what_a_parent_did_not_answer_is_not_covered(state, covers):
    parents = (LandedParent("a", {}, None, None, state), LandedParent("b", {}, None, None))
    one = replace(landed(at(9), since=at(2), until=at(4)), parents=parents)
    assert bool(covered_by_landed([one], frozenset())) is covers


def test_windows_that_meet_leave_no_gap():
    both = [covered_by(landed(at(9), at(4), at(8))), covered_by(landed(at(9), at(0), at(4)))]
    assert uncovered(both, Stretch(at(0), at(8))) == []


HOURS = st.integers(0, 48)


@given(st.lists(st.tuples(HOURS, HOURS)), HOURS, HOURS)
def test_every_hour_is_either_covered_or_in_exactly_one_gap(pairs, one, other):
    covered = [Stretch(at(min(pair)), at(max(pair))) for pair in pairs]
    within = Stretch(at(min(one, other)), at(max(one, other)))
    gaps = uncovered(covered, within)
    for hour in range(48):
        moment = at(hour, 30)
        inside = within.start <= moment < within.end
        seen = any(stretch.start <= moment < stretch.end for stretch in covered)
        found = sum(gap.start <= moment < gap.end for gap in gaps)
        assert found == (1 if inside and not seen else 0)


def test_the_next_run_closes_what_lies_behind_its_checkpoint_and_a_backfill_the_rest():
    gaps = explained("severn", "offerings", [Stretch(at(1), at(6))], reads_from=at(4), windowed=True)
    assert [(gap.stretch, gap.caught_up) for gap in gaps] == [
        (Stretch(at(1), at(4)), False),
        (Stretch(at(4), at(6)), True),
    ]
    assert gaps[0].command == (
        "spotlight backfill --npo severn --from 2026-03-01T01:00:00 --to 2026-03-01T04:00:00"
    )
    assert gaps[1].command == ""


def test_the_command_covers_the_last_part_of_a_second():
    end = at(2) + timedelta(microseconds=1)
    (gap,) = explained("severn", "offerings", [Stretch(at(1), end)], reads_from=at(4), windowed=True)
    assert gap.command.endswith("--to 2026-03-01T02:00:01")


def test_a_source_without_windows_is_caught_up_by_its_next_run():
    (gap,) = explained("severn", "offerings", [Stretch(at(1), at(6))], reads_from=at(4), windowed=False)
    assert gap.caught_up


@pytest.mark.parametrize(
    ("resource", "cursor", "expected"),
    [
        (spec(param="since", lookback="PT1H"), at(5), at(4)),
        (spec(param="since"), None, datetime(1, 1, 1, tzinfo=UTC)),
        (spec(client_filter=True, lookback="PT2H"), at(5), at(3)),
        (spec(), at(5), datetime(1, 1, 1, tzinfo=UTC)),
    ],
    ids=["server filter", "no checkpoint yet", "client filter", "no times"],
)
def test_the_next_run_reads_from_its_checkpoint_less_the_lookback(resource, cursor, expected):
    assert next_run_reads_from(resource, Checkpoint(cursor=cursor)) == expected


@pytest.mark.parametrize(
    ("resource", "expected"),
    [
        (spec(param="since"), True),
        (spec(client_filter=True), True),
        (spec(lookback="PT1H"), False),
        (spec(), False),
    ],
)
def test_a_backfill_asks_the_partner_where_a_window_can_be_told(resource, expected):
    assert asks_for_a_window(resource) is expected


@pytest.mark.parametrize(("kept", "start"), [(0, "2026-01-01"), (400, "2026-01-01"), (10, "2026-02-19")])
def test_gaps_are_looked_for_since_the_rows_start_as_far_as_pages_are_kept(kept, start):
    known: Any = {"npo_id": "severn", "start_date": datetime(2026, 1, 1, tzinfo=UTC).date()}
    npo = NpoConfig.model_construct(None, **known)
    found = default_stretch(npo, now=at(0), kept_days=kept)
    assert found == Stretch(datetime.fromisoformat(start).replace(tzinfo=UTC), at(0))
