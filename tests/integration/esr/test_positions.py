"""Positions in the store: each part by the age of its file, whatever order the files come in."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any

import pymongo
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from include.esr.positions.merging import plan_positions
from include.storage.mongo import FenceMovedError, IntegrationStore
from tests.integration.esr.position_lines import NOW, NUMBER, line, save, source, table

OTHER = "KSS/RXC01/800/GPST/004"


@pytest.fixture
def store(empty_database, settings):
    store = IntegrationStore(settings)
    yield store
    store.close()


def position(store: IntegrationStore, position_id: int = 7) -> dict[str, Any]:
    found = store["esr_position"].find_one({"_id": position_id})
    assert found is not None
    return found


def settle(store: IntegrationStore) -> None:
    store["esr_position"].update_many({}, {"$unset": {"pending": ""}})


def test_pos_and_por_of_one_position_meet_on_its_id(store):
    counts = save(
        store, source(), pos=[line(ods_code="RXC")], por=[line(employing_org_vpd_code="096"), line(8)]
    )
    assert counts["positions_new"] == 2
    both = position(store)
    assert (both["pos"]["ods_code"], both["por"]["employing_org_vpd_code"]) == ("RXC", "096")
    assert (both["number"], both["deleted"], both["revision"], both["pending"]) == (NUMBER, False, 1, True)
    assert "pos" not in position(store, 8)


def test_a_part_that_comes_in_a_later_file_joins_the_other(store):
    save(store, source(17), pos=[line()])
    save(store, source(18), por=[line(host_lead_indicator="Lead Employer")])
    both = position(store)
    assert both["pos"]["order"] < both["por"]["order"] == both["order"]
    assert both["revision"] == 2


@pytest.mark.parametrize("part", ["pos", "por"])
def test_an_older_file_never_overwrites_a_newer_part(store, part):
    save(store, source(18), **{part: [line(ods_code="new")]})
    settle(store)
    counts = save(store, source(17), **{part: [line(ods_code="old")]})
    assert counts["positions_older"] == 1
    assert position(store)[part]["ods_code"] == "new"
    assert "pending" not in position(store)


@pytest.mark.parametrize("part", ["pos", "por"])
def test_a_newer_file_that_said_the_same_still_keeps_out_an_older_one(store, part):
    save(store, source(16), **{part: [line(ods_code="same")]})
    settle(store)
    assert save(store, source(18), **{part: [line(ods_code="same")]})["positions_unchanged"] == 1
    assert save(store, source(17), **{part: [line(ods_code="between")]})["positions_older"] == 1
    kept = position(store)
    assert kept[part]["ods_code"] == "same"
    assert kept[part]["order"] == kept["order"] == source(18).order
    assert (kept["revision"], "pending" in kept) == (1, False)


def test_an_older_part_is_taken_beside_a_newer_other_one(store):
    save(store, source(18), pos=[line(deanery_number=OTHER)])
    save(store, source(17), por=[line(ods_code="RXC")])
    both = position(store)
    assert both["por"]["ods_code"] == "RXC"
    assert (both["number"], both["order"]) == (OTHER, source(18).order)


def test_a_later_version_of_the_same_file_is_newer(store):
    save(store, source(17, version=2), pos=[line(ods_code="corrected")])
    save(store, source(17), pos=[line(ods_code="first")])
    assert position(store)["pos"]["ods_code"] == "corrected"


def test_the_date_counts_before_the_sequence(store):
    save(store, source(5, day=20), pos=[line(ods_code="later")])
    save(store, source(99, day=19), pos=[line(ods_code="earlier")])
    assert position(store)["pos"]["ods_code"] == "later"


def test_d_deletes_and_a_newer_c_brings_back(store):
    save(store, source(17), pos=[line()], por=[line()])
    save(store, source(18), pos=[line(indicator="D")])
    assert position(store)["deleted"]
    save(store, source(19), pos=[line()])
    assert not position(store)["deleted"]
    assert position(store)["revision"] == 3


def test_stale_deleted_positions_stay_deleted(store):
    """Incident: an older file's C brought deleted positions back, and with them extra applicants."""
    save(store, source(18), pos=[line(indicator="D")])
    save(store, source(17), pos=[line()], por=[line()])
    assert position(store)["deleted"]


def test_a_part_that_only_got_newer_can_bring_a_position_back(store):
    save(store, source(17), por=[line()])
    save(store, source(18), pos=[line(indicator="D")])
    settle(store)
    assert save(store, source(19), por=[line()])["positions_changed"] == 1
    assert not position(store)["deleted"]
    assert position(store)["pending"]


def test_a_file_that_deletes_one_part_and_keeps_the_other_deletes_the_position(store):
    save(store, source(17), pos=[line()], por=[line(indicator="D")])
    assert position(store)["deleted"]


def test_replaying_a_file_changes_nothing_and_writes_nothing(store):
    tables = {"POS": table("POS", [line(), line(8)]), "POR": table("POR", [line()])}
    file = source()
    store.commit_plan(file.owner, lambda: plan_positions(store, file, tables, at=NOW))
    counts, write = plan_positions(store, file, tables, at=NOW)
    assert write is None
    assert counts["positions_unchanged"] == 2


def test_replaying_a_file_with_a_corrected_layout_takes_its_lines_again(store):
    save(store, source(), pos=[line(managing_office="wrong column")])
    save(store, source(), pos=[line(managing_office="right column")])
    assert position(store)["pos"]["managing_office"] == "right column"


def test_a_change_of_one_column_waits_for_reconciliation_with_a_new_revision(store):
    save(store, source(17), pos=[line(), line(8)])
    settle(store)
    save(store, source(18), pos=[line(managing_office="NTH"), line(8)])
    assert (position(store)["revision"], position(store)["pending"]) == (2, True)
    assert (position(store, 8)["revision"], "pending" in position(store, 8)) == (1, False)


def test_an_id_that_comes_twice_in_a_slice_counts_as_it_first_came(store):
    save(store, source(), pos=[line(ods_code="first"), line(ods_code="second")])
    assert position(store)["pos"]["ods_code"] == "first"


def test_a_slice_without_positions_plans_nothing(store):
    assert save(store, source()) == {
        "positions_new": 0,
        "positions_changed": 0,
        "positions_unchanged": 0,
        "positions_older": 0,
    }


@pytest.mark.parametrize("before", [[], [line(), line(8, ods_code="x")]])
def test_a_position_two_deaneries_tell_of_at_once_is_planned_anew(store, before):
    if before:
        save(store, source(16), pos=before)
    ours, theirs = source(17), source(18, deanery="LDN")
    tables = {"POS": table("POS", [line(ods_code="ours"), line(8, ods_code="ours"), line(9)])}
    seen = store.fence(ours.owner)
    _, write = plan_positions(store, ours, tables, at=NOW)
    save(store, theirs, pos=[line(ods_code="theirs")])
    with pytest.raises(FenceMovedError):
        store.commit(ours.owner, seen, write)
    assert store["esr_position"].find_one({"_id": 9}) is None
    store.commit_plan(ours.owner, lambda: plan_positions(store, ours, tables, at=NOW))
    assert position(store)["pos"]["ods_code"] == "theirs"
    assert (position(store)["deanery"], position(store, 8)["deanery"]) == ("LDN", "KSS")


def test_a_new_last_update_date_alone_is_no_change_but_is_kept(store):
    save(store, source(17), pos=[line()], por=[line()])
    settle(store)
    later = date(2026, 3, 2)
    counts = save(store, source(18), pos=[line(last_update_date=later)], por=[line()])
    assert (counts["positions_changed"], counts["positions_unchanged"]) == (0, 1)
    kept = position(store)
    assert (kept["revision"], "pending" in kept) == (1, False)
    assert kept["pos"]["last_update_date"] == later.isoformat()
    assert kept["pos"]["order"] == kept["por"]["order"] == kept["order"] == source(18).order


def test_the_counters_of_two_deaneries_are_not_compared_but_their_days_are(store):
    save(store, source(900, deanery="NTH", day=4), pos=[line(ods_code="NTH")])
    assert save(store, source(17, day=5), pos=[line(ods_code="KSS")])["positions_changed"] == 1
    assert save(store, source(901, deanery="NTH", day=4), pos=[line(ods_code="NTH")])["positions_older"] == 1
    assert (position(store)["pos"]["ods_code"], position(store)["deanery"]) == ("KSS", "KSS")


def test_of_two_deaneries_on_one_day_the_later_update_counts(store):
    save(store, source(900, deanery="NTH", day=4), pos=[line(ods_code="NTH")])
    later = [line(ods_code="KSS", last_update_date=date(2026, 3, 2))]
    save(store, source(17, day=4), pos=later)
    assert position(store)["deanery"] == "KSS"
    assert save(store, source(901, deanery="NTH", day=4), pos=[line()])["positions_older"] == 1


@pytest.mark.parametrize("said", [{}, {"last_update_date": None}])
def test_two_deaneries_whose_full_files_name_one_position_do_not_pass_it_to_and_fro(store, said):
    for day in (4, 5):
        for sequence, deanery in ((17, "KSS"), (900, "NTH")):
            save(store, source(sequence + day, deanery=deanery, day=day), pos=[line(**said)])
            settle(store)
    kept = position(store)
    assert (kept["deanery"], kept["revision"], kept["pos"]["order"][:8]) == ("KSS", 1, "20260305")


@pytest.mark.parametrize("part", ["pos", "por"])
def test_a_d_of_a_deanery_that_does_not_hold_the_position_is_ignored(store, part):
    save(store, source(900, deanery="NTH", day=4), pos=[line()])
    save(store, source(17, day=5), pos=[line()])
    gone = [line(indicator="D", last_update_date=date(2026, 3, 5))]
    assert save(store, source(902, deanery="NTH", day=6), **{part: gone})["positions_older"] == 1
    assert not position(store)["deleted"]
    save(store, source(18, day=6), pos=[line(indicator="D")])
    assert position(store)["deleted"]


@pytest.mark.parametrize("leaves_first", [True, False])
def test_a_position_that_moves_to_another_deanery_on_one_day_stays(store, leaves_first):
    save(store, source(900, deanery="NTH", day=4), pos=[line()], por=[line()])
    leaves = source(901, deanery="NTH", day=5), line(indicator="D", last_update_date=date(2026, 3, 5))
    comes = source(17, day=5), line()
    for file, said in (leaves, comes) if leaves_first else (comes, leaves):
        save(store, file, pos=[said], por=[said])
    assert (position(store)["deleted"], position(store)["deanery"]) == (False, "KSS")


def test_parts_of_two_deaneries_each_age_by_their_own_files(store):
    save(store, source(17, day=5), pos=[line()])
    save(store, source(900, deanery="NTH", day=4), por=[line()])
    settle(store)
    assert save(store, source(901, deanery="NTH", day=4), por=[line()])["positions_unchanged"] == 1
    assert save(store, source(18, day=6), pos=[line()])["positions_unchanged"] == 1
    kept = position(store)
    assert (kept["deanery"], kept["order"]) == ("KSS", source(18, day=6).order)
    assert kept["por"]["order"] == source(901, deanery="NTH", day=4).order


def test_a_part_another_deanery_takes_over_unchanged_is_its_own_from_then_on(store):
    save(store, source(17, day=5), pos=[line()])
    save(store, source(900, deanery="NTH", day=4), por=[line()])
    settle(store)
    assert save(store, source(18, day=5), por=[line()])["positions_unchanged"] == 1
    assert position(store)["por"]["deanery"] == "KSS"
    assert save(store, source(901, deanery="NTH", day=5), por=[line()])["positions_older"] == 1


def test_a_slice_is_one_read_and_one_write_of_each_kind(store):
    def lines(count: int, ods_code: str) -> list[dict[str, Any]]:
        return [line(number, ods_code=ods_code if number % 2 else "same") for number in range(1, count)]

    save(store, source(16), pos=lines(400, "x"))
    commands: list[str] = []

    class Listener(pymongo.monitoring.CommandListener):
        def started(self, event: pymongo.monitoring.CommandStartedEvent) -> None:
            if next(iter(event.command.values())) == "esr_position" or "getMore" in event.command:
                commands.append(event.command_name)

        def succeeded(self, event: object) -> None:
            pass

        def failed(self, event: object) -> None:
            pass

    uri = store._settings.mongo_uri.get_secret_value()
    listening = IntegrationStore(store._settings)
    listening.__dict__["client"] = pymongo.MongoClient(uri, tz_aware=True, event_listeners=[Listener()])
    save(listening, source(17), pos=lines(700, "y"))
    listening.close()
    assert sorted(commands) == ["find", "insert", "update", "update"]


FILES = st.lists(
    st.dictionaries(
        st.tuples(st.sampled_from(["POS", "POR"]), st.integers(1, 2)),
        st.tuples(st.sampled_from("CD"), st.sampled_from([NUMBER, OTHER]), st.sampled_from([None, "a", "b"])),
        max_size=4,
    ),
    min_size=1,
    max_size=4,
)
Told = Mapping[tuple[str, int], tuple[str, str, str | None]]


def expected(files: list[Told]) -> dict[int, dict[str, Any]]:
    """Return what the files come to in the order of their sequence, by the rules told simply."""
    newest: dict[tuple[int, str], tuple[int, tuple[str, str, str | None]]] = {}
    for sequence, told in enumerate(files, 1):
        for (code, position_id), said in told.items():
            newest[position_id, code] = (sequence, said)
    found: dict[int, dict[str, Any]] = {}
    for position_id in {key[0] for key in newest}:
        parts = [newest[position_id, code] for code in ("POS", "POR") if (position_id, code) in newest]
        last = [said for sequence, said in parts if sequence == max(part[0] for part in parts)]
        found[position_id] = {
            "deleted": any(said[0] == "D" for said in last),
            "number": last[0][1],
            "parts": {
                code: newest[position_id, code] for code in ("POS", "POR") if (position_id, code) in newest
            },
        }
    return found


def stored(store: IntegrationStore) -> dict[int, dict[str, Any]]:
    def part(doc: dict[str, Any]) -> tuple[int, tuple[Any, ...]]:
        sequence = int(doc["order"].split("-")[1])
        return sequence, (doc["indicator"], doc["deanery_number"], doc.get("ods_code"))

    return {
        doc["_id"]: {
            "deleted": doc["deleted"],
            "number": doc["number"],
            "parts": {code: part(doc[code.lower()]) for code in ("POS", "POR") if code.lower() in doc},
        }
        for doc in store["esr_position"].find()
    }


@examples(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_files_in_any_order_and_repetition_come_to_what_their_sequence_says(store, data):
    store["esr_position"].delete_many({})
    files = data.draw(FILES)
    again = data.draw(st.lists(st.sampled_from(range(len(files))), max_size=4))
    arrivals = data.draw(st.permutations([*range(len(files)), *again]))
    for at in arrivals:
        lines = {
            code: [
                line(position_id, indicator=said[0], deanery_number=said[1], ods_code=said[2])
                for (kind, position_id), said in files[at].items()
                if kind == code
            ]
            for code in ("POS", "POR")
        }
        save(store, source(at + 1), pos=lines["POS"], por=lines["POR"])
    assert stored(store) == expected(files)
