"""What the DAG ``maintenance`` does each night, on real servers."""

from __future__ import annotations

from datetime import timedelta

import pytest
import structlog

from include.npo.context import utc_now
from include.privacy import maintenance
from include.privacy.erase import ErasureContext, open_requests, request_erasure
from include.privacy.subject import Candidate
from include.registry.models import NpoStatus
from include.registry.queries import insert_npo, set_status


@pytest.fixture
def mine(registry_dsn, sync):
    """An NPO with a row, which has run once."""
    made = sync("codebridge", start_date=(utc_now() - timedelta(days=3)).date())
    insert_npo(registry_dsn, made.npo, 5)
    made.run()
    return made


def test_a_stretch_nobody_read_is_told_with_the_backfill_to_type(mine):
    told: list[str] = []
    assert maintenance.gaps(told.append) == {"looked_at": 1, "found": 0, "broken": 0}
    for resource in ("offerings", "assignments"):
        mine.landing.delete(mine.landing.keys(f"npo/codebridge/{resource}/"))
    with structlog.testing.capture_logs() as logged:
        assert maintenance.gaps(told.append)["found"] == 2
    gap = next(entry for entry in logged if entry["event"] == "npo_gap")
    assert gap["command"].startswith("spotlight backfill --npo codebridge --from ")


def test_an_erasure_that_was_broken_off_is_ended_in_the_night_though_the_row_is_disabled(mine, registry_dsn):
    someone = mine.store["npo_assignment"].find_one({"external_candidate_ref": {"$exists": True}})
    who = Candidate(someone["external_candidate_ref"], "codebridge")
    key = request_erasure(
        ErasureContext(mine.store, mine.landing, lambda _npo: mine.context().connector),
        who,
        by="dpo",
        why="case 9",
    )
    assert open_requests(mine.store) == [key]
    set_status(registry_dsn, "codebridge", NpoStatus.DISABLED, 5)
    assert maintenance.erasures(lambda _line: None) == {"ended": 1, "swept": 0}
    assert open_requests(mine.store) == []
    assert mine.store["npo_assignment"].find_one({"_id": someone["_id"]}) is None


def test_the_night_deletes_nothing_that_is_young(mine):
    before = mine.state()
    counts = maintenance.retention(lambda _line: None)
    assert not any(counts.values())
    assert mine.state() == before
