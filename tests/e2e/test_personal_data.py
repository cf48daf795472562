"""After a whole demo run no name, address or number of a candidate is anywhere it does not belong."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
import psycopg
import pytest
from psycopg import sql

from include.npo.enrolment.record import ENDED
from include.sandbox.demo.enrolment import COMMANDS
from include.sandbox.platform.people import needles, person
from include.storage.landing import LandingZone

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.e2e.conftest import Proven

# People of the ESR side are planted too: trainees have addresses at these two hosts and nowhere else.
TRAINEES = ("home.example", "nhs.example")
PLANTED = re.compile("|".join(map(re.escape, (*needles(map(person, range(COMMANDS))), *TRAINEES))))


def texts(folder: Path) -> Iterator[tuple[str, str]]:
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            yield str(path.relative_to(folder)), path.read_text(encoding="utf-8", errors="replace")


def leaks(found: Iterator[tuple[str, str]]) -> list[str]:
    """Return where planted words were found and which: of the sandbox's people, so they may be shown."""
    return [f"{where}: {hit[0]}" for where, text in found if (hit := PLANTED.search(text.lower()))]


def test_the_planted_words_are_where_they_belong_so_that_a_search_can_find_them(proven: Proven):
    landing, names = LandingZone(proven.session.settings), set()
    for partner in ("hopeworks", "codebridge", "mentornet"):
        for key in landing.keys(f"npo/{partner}/"):
            names.add(key.split("/")[2])
    assert names == {"offerings", "assignments"}
    esr = [key for key in landing.keys("esr/inbound/") if key.endswith(".gz")]
    assert esr
    assert any(PLANTED.search(landing.get(key).decode(errors="replace").lower()) for key in esr)


def test_no_log_of_a_task_or_of_a_process_of_airflow_names_anybody(proven: Proven):
    logs = [proven.session.airflow.place.logs, proven.session.airflow.place.home.parent / "logs"]
    found = [entry for folder in logs for entry in texts(folder)]
    assert len([name for name, _ in found if "dag_id=" in name]) > 50
    assert any("npo_enrolment" in name for name, _ in found)
    assert leaks(iter(found)) == []


def tables(connection: psycopg.Connection[tuple[str]]) -> list[str]:
    query = "select table_name from information_schema.tables where table_schema = 'public'"
    return [name for (name,) in connection.execute(query)]


def test_no_row_of_airflows_database_names_anybody_xcom_least_of_all(proven: Proven):
    with psycopg.connect(proven.session.stack["SPOTLIGHT_AIRFLOW_DSN"]) as connection:
        names = tables(connection)
        assert {"xcom", "task_instance", "rendered_task_instance_fields", "asset_event"} <= set(names)
        found = []
        for name in names:
            rows = sql.SQL("select lower(t::text) from {} t where t::text ~* %s limit 1").format(
                sql.Identifier(name)
            )
            found += [(name, row[0]) for row in connection.execute(rows, [PLANTED.pattern])]
    assert leaks(iter(found)) == []


def published(proven: Proven) -> list[dict[str, Any]]:
    """Return every event of an NPO as it went out; the outbox keeps the very text."""
    found = proven.session.store["outbox"].find({"published_at": {"$exists": True}}, {"body": 1})
    events = [orjson.loads(one["body"]) for one in found]
    assert {"updated", "accepted", "created"} <= {event["type"].split(".")[-2] for event in events}
    return events


def test_no_attribute_of_an_event_names_anybody(proven: Proven):
    outside = [
        (f"event {event['id']}", str({name: value for name, value in event.items() if name != "data"}))
        for event in published(proven)
    ]
    assert leaks(iter(outside)) == []


def test_no_event_of_an_npo_carries_a_name_an_address_or_a_number(proven: Proven):
    of_npos = [(f"event {event['id']}", str(event)) for event in published(proven) if "npoid" in event]
    assert leaks(iter(of_npos)) == []


def test_no_key_in_the_landing_zone_names_anybody(proven: Proven):
    keys = LandingZone(proven.session.settings).keys("")
    assert len(keys) > 20
    assert leaks((key, key) for key in keys) == []


def test_no_enrolment_that_has_ended_keeps_the_candidates_data(proven: Proven):
    store = proven.session.store
    ended = list(
        store["enrolment"].find({"state": {"$in": [state.value for state in ENDED if state != "failed"]}})
    )
    assert ended
    assert leaks((str(one["_id"]), str(one)) for one in ended) == []


@pytest.mark.parametrize("collection", ["outbox", "npo_raw", "npo_assignment", "npo_run", "enrolment_inbox"])
def test_no_other_collection_has_what_only_an_enrolment_may_have(proven: Proven, collection: str):
    found = proven.session.store[collection].find({})
    assert leaks((f"{collection} {one['_id']}", str(one)) for one in found) == []
