"""The platform's part of the sandbox: what it asks for, what it hears, and what the demo calls wrong."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from include.events.schema import problem
from include.sandbox.demo.enrolment import AtPartner, find_problems, untold, with_enrolled
from include.sandbox.demo.received import Received
from include.sandbox.demo.truth import Truth
from include.sandbox.platform.commands import Choice, Command, choose, created, withdrawn
from include.sandbox.platform.people import needles, person
from include.sandbox.platform.platform import OUTCOME_TYPE, Outcomes

START = datetime(2026, 11, 22, 9, tzinfo=UTC)
CHOICES = {
    "hopeworks": [Choice("h-open"), Choice("h-full", "full")],
    "codebridge": [Choice("c-open"), Choice("c-closed", "closed")],
    "mentornet": [Choice("m-open")],
}


def commands(count: int = 30, seed: int = 7) -> list[Command]:
    return choose(CHOICES, count, seed=seed, start=START)


def outcome(command: Command, word: str, sequence: int = 1) -> dict[str, Any]:
    data = {"assignment_id": command.assignment_id, "npo_id": command.npo_id, "status": word}
    return {
        "id": f"{command.assignment_id}/{sequence}",
        "type": f"{OUTCOME_TYPE}{word}.v1",
        "sequence": f"{sequence:010d}",
        "data": {"version": sequence, "enrolment": data},
    }


def test_one_seed_asks_for_the_same_and_another_for_other_assignments():
    assert commands() == commands()
    assert not {c.assignment_id for c in commands()} & {c.assignment_id for c in commands(seed=8)}


def test_the_npos_come_in_turn_and_a_fifth_goes_where_nobody_is_taken():
    asked = commands(30)
    assert {npo: sum(c.npo_id == npo for c in asked) for npo in CHOICES} == dict.fromkeys(CHOICES, 10)
    assert sum(c.choice.takes != "open" for c in asked if c.npo_id == "hopeworks") == 2
    assert all(c.choice.takes == "open" for c in asked if c.npo_id == "mentornet")


def test_commands_are_what_the_schemas_say():
    command = commands(1)[0]
    for event in (created(command), withdrawn(command)):
        assert problem(event["type"], event["data"]) is None


def test_a_command_told_again_has_another_event_id_and_the_same_assignment():
    command = commands(1)[0]
    first, again = created(command), created(command, repeat=1)
    assert first["id"] != again["id"]
    assert first["data"] == again["data"]


def test_no_attribute_of_a_command_holds_personal_data():
    command = commands(1)[0]
    attributes = str({name: value for name, value in created(command).items() if name != "data"}).lower()
    assert not [needle for needle in needles([command.person]) if needle in attributes]
    assert "Quillfeather" not in repr(command)


def test_every_planted_value_but_name_and_birthday_is_found_by_a_needle():
    one = person(123)
    for value in (one.family_name, one.email, one.phone, one.postcode, one.as_candidate()["support_needs"]):
        assert any(needle in value.lower() for needle in needles([one]))
    assert len({person(n).email for n in range(2000)}) == 2000


def test_the_last_word_counts_however_the_events_come():
    command = commands(1)[0]
    heard = Outcomes()
    heard.add([outcome(command, "accepted", 2), outcome(command, "requested", 1)])
    heard.add([outcome(command, "requested", 1)])
    assert heard.word(command.assignment_id) == "accepted"
    assert heard.open([command]) == []
    assert heard.ended_twice() == []


def problems_of(command: Command, word: str, at: AtPartner, **more: Any) -> list[str]:
    heard = Outcomes()
    heard.add([outcome(command, word)] if word else [])
    stored = {command.assignment_id: [command.assignment_id]} if at.ids else {}
    known: dict[str, Any] = {"refused": (), "stored": stored, "doubled": 0}
    return find_problems([command], heard, {command.assignment_id: at}, **(known | more))


ENROLLED = AtPartner(1, "enrolled", ("x-1",), ("learner.email",))


@pytest.mark.parametrize(
    ("word", "at", "more", "said"),
    [
        ("accepted", ENROLLED, {}, ""),
        ("rejected", AtPartner(1, None), {}, ""),
        ("rejected", AtPartner(1, "declined", ("x-1",)), {}, ""),
        ("accepted", AtPartner(1, None), {}, "told accepted, the partner says rejected"),
        ("rejected", ENROLLED, {}, "told rejected, the partner says accepted"),
        ("failed", ENROLLED, {}, "told failed, the partner says accepted"),
        ("", ENROLLED, {}, "told silent, the partner says accepted"),
        ("accepted", ENROLLED, {"doubled": 2}, "2 candidates are enrolled twice"),
        ("accepted", AtPartner(1, "enrolled", ("x",), ("learner.postcode",)), {}, "not on the allow-list"),
    ],
)
def test_the_demo_names_where_our_story_is_not_the_partners(word, at, more, said):
    found = problems_of(commands(1)[0], word, at, **more)
    assert (said in found[0] and len(found) == 1) if said else found == []


@pytest.mark.parametrize(
    ("stored", "said"), [([], "stored as nothing"), (["other"], "other"), (["other", "own"], "other")]
)
def test_an_enrolment_the_next_reading_did_not_find_as_ours_is_a_problem(stored, said):
    command = commands(1)[0]
    (line,) = problems_of(command, "accepted", ENROLLED, stored={command.assignment_id: stored})
    assert said in line


def test_what_we_refused_must_never_have_reached_the_partner():
    command = commands(1)[0]
    at = AtPartner(1, None)
    assert problems_of(command, "rejected", at, refused={command.assignment_id})
    assert not problems_of(command, "rejected", AtPartner(0, None), refused={command.assignment_id})


def test_enrolled_assignments_are_expected_under_the_platforms_ids():
    enrolled, refused = commands(2)
    partners = {enrolled.assignment_id: ENROLLED, refused.assignment_id: AtPartner(1, None)}
    truth = Truth({(npo, "assignments"): frozenset({"assignment/1"}) for npo in CHOICES}, bad=0)
    known = with_enrolled(truth, [enrolled, refused], partners).all_subjects
    assert known == {"assignment/1", f"assignment/{enrolled.assignment_id}"}
    got = Received()
    assert untold([enrolled, refused], partners, got) == 1
    subject = f"assignment/{enrolled.assignment_id}"
    got.add([{"id": "1", "subject": subject, "sequence": "1", "npoid": enrolled.npo_id}])
    assert untold([enrolled, refused], partners, got) == 0
