"""Updating people in TCS, on the real stand-in: what is told, to whom, and what never is."""

from __future__ import annotations

import contextlib
import time
from dataclasses import replace
from datetime import date, timedelta

import pymongo
import pytest

from include.connectors.retry import RetryPolicy
from include.errors import ConfigurationError, IntegrationError, NotYetError, TransientError
from include.esr.people import updates as person_updates
from include.esr.people.claims import Claims
from include.esr.people.plan import MAX_ATTEMPTS
from include.esr.people.saving import plan_people
from include.esr.people.updates import release_people, update_people
from include.esr.tcs import Tcs
from include.esr.tcs.session import PATIENCE
from include.npo.context import utc_now
from include.storage.mongo import IntegrationStore
from tests.unit.esr.person_tables import source, tables_of

GMC, POST = "7654321", "NTH/RTD01/080/STR/777"
HOUR = timedelta(hours=1)


class Exchange:
    """One deanery's files and TCS, with a clock that can be moved."""

    def __init__(self, ctx, sandbox):
        self.ahead = timedelta()
        self.ctx = replace(ctx, now=lambda: utc_now() + self.ahead)
        self.people = ctx.store["esr_person"]
        self.sandbox = sandbox
        self.sequence = 0

    def trainee(self, gmc=GMC, post=POST, **details):
        """Have TCS know a trainee in a post."""
        (person,) = self.sandbox.load_people({"gmcNumber": gmc, **details})
        (made,) = self.sandbox.load_posts({"nationalPostNumber": post})
        self.sandbox.load_placements({"traineeId": person["id"], "postId": made["id"]})
        return person["id"]

    def file(self, *lines, deanery="NTH"):
        """Save the next file of the deanery."""
        self.sequence += 1
        of, tables = source(self.sequence, deanery), tables_of(*lines)
        store = self.ctx.store
        return store.commit_plan(of.owner, lambda: plan_people(store, of, tables, at=self.ctx.now()))

    def update(self, deanery="NTH", *, patience=PATIENCE, **settings):
        """Update the deanery's people, counting TCS's calls from here."""
        self.sandbox.admin("DELETE", "calls")
        with Tcs(self.ctx.settings.model_copy(update=settings), patience=patience) as tcs:
            counts = update_people(self.ctx, deanery, tcs)
        return {name: number for name, number in counts.items() if number}

    def told(self, kind="patch"):
        """Return what TCS was told, changes with the id of what they changed."""
        entries = self.sandbox.told(kind)
        return [({"id": entry["key"]} if "key" in entry else {}) | entry["body"] for entry in entries]

    def document(self, person_id=1):
        return self.people.find_one({"_id": person_id})


@pytest.fixture
def exchange(esr_ctx, tcs_sandbox):
    return Exchange(esr_ctx, tcs_sandbox)


def lines(person_id=1, gmc=GMC, post=POST, **per):
    return [
        ("PER", {"person_id": person_id, "last_name": "Ito", **per}),
        ("PBD", {"person_id": person_id, "body": "GMC", "reg_number": gmc}),
        ("ASG", {"person_id": person_id, "assignment_id": person_id + 40, "deanery_number": post}),
    ]


def absence(absence_id=7, person_id=1, **values):
    return "ABS", {
        "person_id": person_id,
        "absence_id": absence_id,
        "absence_start": date(2026, 3, 1),
        "absence_duration": 5.0,
        **values,
    }


def test_a_trainee_is_updated_with_what_differs_and_nothing_else(exchange):
    tcs_id = exchange.trainee(contactDetails={"legalSurname": "Ito", "title": "Mr"})
    exchange.file(*lines(title="Dr", gender="Female"))
    assert exchange.update() == {"people": 1, "tcs_updates": 2, "updated": 1}
    assert exchange.told() == [{"id": tcs_id, "title": "Dr"}, {"id": tcs_id, "gender": "Female"}]
    assert exchange.document()["outcome"]["sent"] == ["title", "gender"]


def test_unchanged_data_is_not_sent_again_not_even_looked_up(exchange):
    exchange.trainee()
    exchange.file(*lines(), absence())
    exchange.update()
    assert exchange.update() == {}
    assert exchange.sandbox.calls() == {}
    exchange.file(*lines(), absence())  # the same people in the next file
    assert exchange.update() == {}
    assert exchange.sandbox.calls() == {}


def test_a_change_sends_the_changed_field_only_and_does_not_read_the_person(exchange):
    tcs_id = exchange.trainee()
    exchange.file(*lines(title="Dr", gender="Female"))
    exchange.update()
    exchange.file(*lines(title="Prof", gender="Female"))
    assert exchange.update() == {"people": 1, "tcs_updates": 1, "updated": 1}
    assert exchange.told()[2:] == [{"id": tcs_id, "title": "Prof"}]
    assert "GET people/*" not in exchange.sandbox.calls()


def test_another_assignment_alone_tells_tcs_nothing(exchange):
    exchange.trainee()
    exchange.file(*lines())
    exchange.update()
    exchange.file(("ASG", {"person_id": 1, "assignment_id": 99, "deanery_number": "NTH/other"}))
    assert exchange.update() == {"people": 1, "up_to_date": 1}
    assert exchange.sandbox.calls() == {}


def test_a_person_without_a_fitting_placement_is_not_updated(exchange):
    exchange.trainee(post="NTH/RTD01/080/STR/888")
    exchange.file(*lines(title="Dr"), absence())
    assert exchange.update() == {"people": 1, "no_placement": 1}
    assert exchange.told("patch") == exchange.told("absence") == []


@pytest.mark.parametrize("almost", [POST.lower(), POST + "/S", POST + " x"])
def test_a_post_number_fits_only_when_it_is_equal(exchange, almost):
    exchange.trainee(post=almost)
    exchange.file(*lines(title="Dr"))
    assert exchange.update()["no_placement"] == 1


def test_a_deleted_assignment_is_no_reason_to_update(exchange):
    exchange.trainee()
    exchange.file(*lines(title="Dr"))
    exchange.file(("ASG", {"person_id": 1, "assignment_id": 41, "indicator": "D"}))
    assert exchange.update()["no_placement"] == 1


def test_a_person_tcs_gets_later_is_updated_after_the_time_to_look_again(exchange):
    exchange.file(*lines(title="Dr"))
    assert exchange.update() == {"people": 1, "not_found": 1}
    exchange.trainee()
    assert exchange.update() == {}
    exchange.ahead = 25 * HOUR
    assert exchange.update()["updated"] == 1


def test_a_changed_person_is_looked_up_again_at_once(exchange):
    exchange.file(*lines(title="Dr"))
    exchange.update()
    exchange.trainee()
    exchange.file(*lines(title="Prof"))
    assert exchange.update()["updated"] == 1


def test_two_people_with_one_number_are_ambiguous_and_nobody_is_updated(exchange):
    exchange.trainee()
    exchange.trainee()
    exchange.file(*lines(title="Dr"))
    assert exchange.update() == {"people": 1, "ambiguous": 1}
    assert exchange.told() == []


def test_a_dentist_is_found_by_the_gdc_number(exchange):
    (person,) = exchange.sandbox.load_people({"gdcNumber": "123456"})
    (post,) = exchange.sandbox.load_posts({"nationalPostNumber": POST})
    exchange.sandbox.load_placements({"traineeId": person["id"], "postId": post["id"]})
    per, _, asg = lines(title="Dr")
    exchange.file(per, asg, ("PBD", {"person_id": 1, "body": "GDC", "reg_number": "123456"}))
    assert exchange.update()["updated"] == 1


def test_gmc_and_gdc_numbers_of_different_people_are_ambiguous(exchange):
    exchange.trainee()
    exchange.sandbox.load_people({"gdcNumber": "123456"})
    exchange.file(*lines(title="Dr"), ("PBD", {"person_id": 1, "body": "GDC", "reg_number": "123456"}))
    assert exchange.update()["ambiguous"] == 1


def test_a_person_without_registration_waits_for_one_without_a_call(exchange):
    exchange.trainee()
    per, pbd, asg = lines(title="Dr")
    exchange.file(per, asg)
    assert exchange.update() == {"people": 1, "no_registration": 1}
    assert exchange.sandbox.calls() == {}
    exchange.file(pbd)
    assert exchange.update()["updated"] == 1


@pytest.mark.parametrize("empty", [None, ""])
def test_an_empty_value_never_clears_a_field(exchange, empty):
    tcs_id = exchange.trainee(contactDetails={"title": "Dr", "mobileNumber": "07700 900123"})
    exchange.file(*lines(title=empty, mobile_tel=empty))
    exchange.update()
    contact = exchange.sandbox.get(f"people/{tcs_id}")["contactDetails"]
    assert (contact["title"], contact["mobileNumber"]) == ("Dr", "07700 900123")
    assert exchange.told() == [{"id": tcs_id, "legalSurname": "Ito"}]


def test_the_id_of_the_body_is_the_persons(exchange):
    """TCS changes whom the body names, whatever the path says."""
    first, second = exchange.trainee("7000001"), exchange.trainee("7000002")
    exchange.file(*lines(1, "7000001", title="Dr"), *lines(2, "7000002", title="Prof"))
    exchange.update()
    for tcs_id, title in ((first, "Dr"), (second, "Prof")):
        assert exchange.sandbox.get(f"people/{tcs_id}")["contactDetails"]["title"] == title


def test_a_new_absence_is_created_once(exchange):
    tcs_id = exchange.trainee(contactDetails={"legalSurname": "Ito"})
    exchange.file(*lines(), absence())
    assert exchange.update() == {"people": 1, "tcs_updates": 1, "updated": 1}
    (created,) = exchange.told("absence")
    assert created == {
        "startDate": "2026-03-01",
        "endDate": None,
        "durationInDays": 5,
        "absenceAttendanceId": "7",
        "personId": tcs_id,
    }


def test_an_absence_tcs_has_gets_only_the_changed_field_and_no_stale_amended_date(exchange):
    exchange.trainee()
    exchange.file(*lines(), absence())
    exchange.update()
    exchange.file(absence(absence_end=date(2026, 3, 5)))
    assert exchange.update() == {"people": 1, "tcs_updates": 1, "updated": 1}
    (change,) = exchange.told("absence_patch")
    assert change.pop("endDate") == "2026-03-05"
    assert set(change) <= {"id"}
    assert len(exchange.told("absence")) == 1


def test_an_absence_somebody_else_amended_meanwhile_is_still_patched(exchange):
    """``amendedDate`` is a lock for those who send it; a stale one is refused."""
    exchange.trainee()
    exchange.file(*lines(), absence())
    exchange.update()
    known = exchange.sandbox.get("absence/absenceId/7")
    exchange.file(absence(absence_duration=6.0))
    exchange.update()
    exchange.file(absence(absence_duration=8.0))
    assert exchange.update()["updated"] == 1
    now = exchange.sandbox.get("absence/absenceId/7")
    assert now["durationInDays"] == 8
    assert now["amendedDate"] != known["amendedDate"]


def test_a_deleted_absence_is_neither_created_nor_changed(exchange):
    exchange.trainee(contactDetails={"legalSurname": "Ito"})
    exchange.file(*lines(), absence(indicator="D"))
    assert exchange.update() == {"people": 1, "up_to_date": 1}


def test_an_absence_of_another_person_is_set_aside_and_left_alone(exchange):
    exchange.trainee("7000001")
    exchange.trainee("7000002", contactDetails={"legalSurname": "Ito"})
    exchange.file(*lines(1, "7000001"), absence())
    exchange.update()
    exchange.file(*lines(2, "7000002"), absence(person_id=2, absence_duration=9.0))
    assert exchange.update() == {"people": 1, "refused": 1}
    assert exchange.sandbox.get("absence/absenceId/7")["durationInDays"] == 5
    (entry,) = exchange.ctx.store["quarantine"].find()
    assert [reason["code"] for reason in entry["reasons"]] == ["absence_of_another_person"]


def test_one_absence_id_of_two_people_in_one_file_is_created_once(exchange):
    exchange.trainee("7000001")
    exchange.trainee("7000002")
    exchange.file(*lines(1, "7000001"), *lines(2, "7000002"), absence(), absence(person_id=2))
    exchange.update()
    assert len(exchange.told("absence")) == 1


def test_two_people_of_esr_who_are_one_in_tcs_are_told_one_after_the_other(exchange):
    tcs_id = exchange.trainee()
    exchange.file(*lines(1, title="Dr"), *lines(2, home_tel="020 7946 0000"))
    assert exchange.update()["updated"] == 2
    contact = exchange.sandbox.get(f"people/{tcs_id}")["contactDetails"]
    assert (contact["title"], contact["telephoneNumber"]) == ("Dr", "020 7946 0000")


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "status", "status": 500},
        {"kind": "status", "status": 503},
        {"kind": "drop"},
        {"kind": "not_json"},
        {"kind": "body", "body": []},
        {"kind": "redirect"},
    ],
)
def test_a_failed_lookup_never_makes_a_duplicate_absence(exchange, fault):
    """Incident: "could not look it up" was read as "not there", and absences were made twice."""
    exchange.trainee()
    exchange.file(*lines(), absence())
    exchange.update()
    exchange.file(absence(absence_duration=6.0))
    exchange.sandbox.misbehave({"call": "absenceId", **fault})
    with pytest.raises(IntegrationError):
        exchange.update(tcs_breaker_failures=1)
    exchange.sandbox.behave()
    assert exchange.document()["pending"] is True
    assert exchange.update()["updated"] == 1
    assert len(exchange.told("absence")) == 1
    assert exchange.sandbox.get("absence/absenceId/7")["durationInDays"] == 6


@pytest.mark.parametrize("call", ["gmc-details", "GET /api/people/[0-9]+$", "placements/new", "PATCH"])
def test_tcs_down_marks_nothing_and_all_stays_pending(exchange, call):
    for number in range(5):
        exchange.trainee(f"700000{number}")
        exchange.file(*lines(number, f"700000{number}", title="Dr"))
    exchange.sandbox.misbehave({"call": call, "kind": "status", "status": 503})
    with pytest.raises(NotYetError):
        exchange.update(tcs_breaker_failures=1, tcs_concurrency=1)
    assert exchange.people.count_documents({"pending": True, "outcome": None}) == 5
    assert exchange.told() == []
    exchange.sandbox.behave()
    assert exchange.update()["updated"] == 5  # at once: nobody is waited for


@pytest.mark.parametrize(
    ("call", "code"), [("PATCH /api/contact-details", 400), ("PATCH /api/personal-details", 422)]
)
def test_who_is_refused_is_set_aside_and_the_others_go_on(exchange, call, code):
    ids = [exchange.trainee(f"700000{number}") for number in range(3)]
    for number in range(3):
        exchange.file(*lines(number, f"700000{number}", title="Dr", gender="Female"))
    exchange.sandbox.misbehave({"call": f"{call}/{ids[1]}$", "kind": "status", "status": code})
    assert exchange.update() == {"people": 3, "tcs_updates": 5, "updated": 2, "refused": 1}
    refused = exchange.document(1)
    assert (refused["pending"], refused["outcome"]["status"]) == (False, "refused")
    (entry,) = exchange.ctx.store["quarantine"].find()
    assert (entry["owner"], entry["resource"], entry["external_id"]) == ("esr/NTH", "PERSON", "1")
    assert "Ito" not in str(entry)
    assert str(code) in entry["reasons"][0]["message"]
    assert exchange.update() == {}  # it is never sent blindly again


def test_a_refused_person_is_told_again_when_released(exchange):
    tcs_id = exchange.trainee()
    exchange.file(*lines(gender="Female"))
    exchange.sandbox.misbehave({"call": "PATCH /api/contact", "kind": "status", "status": 400})
    exchange.update()
    exchange.sandbox.behave()
    assert release_people(exchange.ctx, "NTH") == 1
    assert exchange.update() == {"people": 1, "tcs_updates": 1, "updated": 1}
    # The part that went through is not sent again.
    assert exchange.told() == [{"id": tcs_id, "gender": "Female"}, {"id": tcs_id, "legalSurname": "Ito"}]
    assert exchange.ctx.store["quarantine"].find_one()["state"] == "released"


@pytest.mark.parametrize("kind", ["status_after", "drop_after"])
def test_an_absence_without_an_answer_is_looked_up_before_it_is_made_again(exchange, kind):
    exchange.trainee(contactDetails={"legalSurname": "Ito"})
    exchange.file(*lines(), absence())
    exchange.sandbox.misbehave({"call": "POST /api/absence$", "kind": kind, "times": 1})
    assert exchange.update() == {"people": 1, "unsettled": 1}
    assert exchange.update() == {}  # the call may still be under way: nobody touches the person
    exchange.file(absence(absence_duration=6.0))
    with pytest.raises(NotYetError):  # not even when a new file changes the person
        exchange.update()
    exchange.ahead = HOUR
    assert exchange.update()["updated"] == 1
    assert len(exchange.told("absence")) == 1
    assert exchange.sandbox.get("absence/absenceId/7")["durationInDays"] == 6


def test_a_person_saved_while_being_told_stays_pending(exchange):
    """What TCS was told counts, but the newer revision is still to be told."""
    tcs_id = exchange.trainee(contactDetails={"legalSurname": "Ito"})
    exchange.file(*lines(title="Dr"))

    class SavesMeanwhile(Tcs):
        def patch_contacts(self, changes):
            outcomes = super().patch_contacts(changes)
            exchange.file(*lines(title="Prof"))
            return outcomes

    with SavesMeanwhile(exchange.ctx.settings) as tcs:
        update_people(exchange.ctx, "NTH", tcs)
    assert exchange.document()["pending"] is True
    exchange.file(*lines(title="Dr"))  # back to what TCS has
    assert exchange.update() == {"people": 1, "up_to_date": 1}
    assert exchange.sandbox.get(f"people/{tcs_id}")["contactDetails"]["title"] == "Dr"


def test_what_was_told_before_a_failure_is_in_doubt_and_read_again(exchange):
    """A PATCH went through, its note was lost, and the next file takes the change back."""
    tcs_id = exchange.trainee(contactDetails={"legalSurname": "Ito"})
    exchange.file(*lines(title="Dr", gender="Male"))
    exchange.update()
    exchange.file(*lines(title="Prof", gender="Female"))
    exchange.sandbox.misbehave({"call": "PATCH /api/personal", "kind": "status", "status": 503})
    with pytest.raises(TransientError):
        exchange.update(tcs_breaker_failures=1)
    exchange.sandbox.behave()
    exchange.file(*lines(title="Dr", gender="Male"))
    assert exchange.update() == {"people": 1, "tcs_updates": 1, "updated": 1}
    assert exchange.sandbox.get(f"people/{tcs_id}")["contactDetails"]["title"] == "Dr"


def test_two_processes_update_each_person_once(exchange):
    exchange.trainee()
    exchange.file(*lines(), absence())

    class MeetsAnother(Tcs):
        def create_absences(self, absences, *, until=None):
            with pytest.raises(NotYetError) as caught:
                exchange.update()
            assert caught.value.retry_after > 0
            return super().create_absences(absences, until=until)

    with MeetsAnother(exchange.ctx.settings) as tcs:
        update_people(exchange.ctx, "NTH", tcs)
    assert len(exchange.told("absence")) == 1


def test_a_process_that_lost_its_claim_tells_tcs_nothing(exchange):
    exchange.trainee()
    # Two people of ESR who are one in TCS: told in two rounds.
    exchange.file(*lines(title="Dr"), *lines(2, gender="Female"), absence(), absence(8, person_id=2))

    class Sleeps(Tcs):
        def absences(self, absence_ids):
            found = super().absences(absence_ids)
            if not exchange.ahead:
                exchange.ahead = HOUR  # so long that another took over and is done
                assert exchange.update()["updated"] == 2
            return found

    with Sleeps(exchange.ctx.settings) as tcs:
        update_people(exchange.ctx, "NTH", tcs)
    assert len(exchange.told("absence")) == 2
    assert len(exchange.told("patch")) == 2
    assert exchange.document()["outcome"]["status"] == "updated"


def test_a_claim_is_kept_alive_while_tcs_is_slow(exchange):
    exchange.trainee()
    exchange.file(*lines(), absence())
    times = {"tcs_lease_seconds": 0.6, "tcs_timeout": 0.5}
    short = exchange.ctx.settings.model_copy(update=times)
    exchange.ctx = replace(exchange.ctx, settings=short)

    class MeetsAnother(Tcs):
        def create_absences(self, absences, *, until=None):
            made = super().create_absences(absences, until=until)
            time.sleep(1)  # longer than a claim lasts
            with pytest.raises(NotYetError):
                exchange.update()
            return made

    with MeetsAnother(short) as tcs:
        assert update_people(exchange.ctx, "NTH", tcs)["updated"] == 1
    assert len(exchange.told("absence")) == 1


class Paused(Claims):
    """Claims of a process that stands still: no heartbeat."""

    def _beat(self):
        pass


def test_a_process_paused_for_longer_than_its_claim_creates_no_absence_twice(exchange, monkeypatch):
    """It wakes up between the renewal and the call, when another has taken over and is done."""
    exchange.trainee()
    exchange.file(*lines(), absence())
    times = {"tcs_lease_seconds": 1.0, "tcs_timeout": 0.5}
    exchange.ctx = replace(exchange.ctx, settings=exchange.ctx.settings.model_copy(update=times))

    class Pauses(Tcs):
        def create_absences(self, absences, *, until=None):
            time.sleep(1.2)
            with monkeypatch.context() as normal:
                normal.setattr(person_updates, "Claims", Claims)
                assert exchange.update()["updated"] == 1
            return super().create_absences(absences, until=until)

    monkeypatch.setattr(person_updates, "Claims", Paused)
    with contextlib.suppress(TransientError), Pauses(exchange.ctx.settings) as tcs:
        update_people(exchange.ctx, "NTH", tcs)
    assert len(exchange.told("absence")) == 1
    assert exchange.document()["outcome"]["status"] == "updated"


def test_who_lost_the_claim_while_patching_creates_no_absence(exchange):
    exchange.trainee()
    exchange.file(*lines(title="Dr"), absence())

    class Sleeps(Tcs):
        def patch_contacts(self, changes):
            outcomes = super().patch_contacts(changes)
            if not exchange.ahead:
                exchange.ahead = HOUR  # so long that another took over and is done
                exchange.update()
            return outcomes

    with Sleeps(exchange.ctx.settings) as tcs:
        update_people(exchange.ctx, "NTH", tcs)
    assert len(exchange.told("absence")) == 1


def test_a_claim_must_outlast_a_call(exchange):
    exchange.trainee()
    exchange.file(*lines())
    times = {"tcs_lease_seconds": 30.0, "tcs_timeout": 30.0}
    exchange.ctx = replace(exchange.ctx, settings=exchange.ctx.settings.model_copy(update=times))
    with pytest.raises(ConfigurationError, match="LEASE"):
        exchange.update()
    assert exchange.sandbox.calls() == {}


QUICK = RetryPolicy(attempts=2, first_wait=0.01, longest_wait=0.02)


@pytest.mark.parametrize("call", ["PATCH /api/contact-details/{id}$", "PATCH /api/personal-details/{id}$"])
def test_a_person_tcs_keeps_failing_at_is_set_aside_and_everybody_else_goes_on(exchange, call):
    ids = [exchange.trainee(f"700000{number}") for number in range(3)]
    for number in range(3):
        exchange.file(*lines(number, f"700000{number}", title="Dr", gender="Female"))
    exchange.sandbox.misbehave({"call": call.format(id=ids[1]), "kind": "status", "status": 500})
    assert exchange.update(patience=QUICK) == {"people": 3, "tcs_updates": 5, "updated": 2, "unsettled": 1}
    for attempt in range(2, MAX_ATTEMPTS):
        assert exchange.update(patience=QUICK) == {}  # not before a call can no longer be under way
        exchange.ahead += HOUR
        assert exchange.update(patience=QUICK)["unsettled"] == 1
        assert exchange.document(1)["attempts"] == attempt
    exchange.ahead += HOUR
    assert exchange.update(patience=QUICK)["refused"] == 1
    document = exchange.document(1)
    assert (document["pending"], document["refused"], document["attempts"]) == (False, True, 0)
    (entry,) = exchange.ctx.store["quarantine"].find()
    assert (entry["external_id"], entry["reasons"][0]["code"]) == ("1", "tcs_keeps_failing")
    assert "Ito" not in str(entry)
    exchange.ahead += HOUR
    assert exchange.update(patience=QUICK) == {}


def test_a_person_set_aside_for_failures_is_read_anew_when_released(exchange):
    """What TCS took while it failed is not known: it is compared, not assumed."""
    tcs_id = exchange.trainee(contactDetails={"legalSurname": "Ito"})
    exchange.file(*lines(title="Mr"))
    exchange.update()
    exchange.file(*lines(title="Dr"))
    for attempt in range(1, MAX_ATTEMPTS + 1):
        kind = "status_after" if attempt == MAX_ATTEMPTS else "status"
        exchange.sandbox.misbehave({"call": "PATCH /api/contact", "kind": kind, "status": 500})
        exchange.update(patience=QUICK)
        exchange.ahead += HOUR
        exchange.sandbox.behave()
    assert release_people(exchange.ctx, "NTH") == 1
    assert exchange.update() == {"people": 1, "up_to_date": 1}
    assert exchange.sandbox.get(f"people/{tcs_id}")["contactDetails"]["title"] == "Dr"


def test_new_content_starts_counting_failures_anew(exchange):
    exchange.trainee("7000001")
    tcs_id = exchange.trainee("7000002")
    exchange.file(*lines(1, "7000001"), *lines(2, "7000002"))
    exchange.sandbox.misbehave({"call": f"PATCH .*/{tcs_id}$", "kind": "status", "status": 500})
    exchange.update(patience=QUICK)
    assert exchange.document(2)["attempts"] == 1
    exchange.file(*lines(2, "7000002", title="Dr"))
    assert exchange.document(2)["attempts"] == 0


def test_a_released_person_shows_that_it_waits(exchange):
    exchange.trainee()
    exchange.file(*lines())
    exchange.sandbox.misbehave({"call": "PATCH", "kind": "status", "status": 400})
    exchange.update()
    assert release_people(exchange.ctx, "NTH") == 1
    assert exchange.document()["outcome"]["status"] == "waiting"
    assert release_people(exchange.ctx, "NTH") == 0


def test_releasing_the_refused_looks_at_no_other_person(exchange):
    exchange.people.insert_many(
        {"deanery": "NTH", "refused": number == 7, "pending": False, "outcome": {"status": "refused"}}
        for number in range(200)
    )
    asked = []

    class Listener(pymongo.monitoring.CommandListener):
        def started(self, event):
            if event.command.get("aggregate") == "esr_person":
                asked.append(event.command["pipeline"][0]["$match"])

        def succeeded(self, event):
            pass

        def failed(self, event):
            pass

    uri = exchange.ctx.settings.mongo_uri.get_secret_value()
    listening = IntegrationStore(exchange.ctx.settings)
    listening.__dict__["client"] = pymongo.MongoClient(uri, tz_aware=True, event_listeners=[Listener()])
    exchange.ctx.store.prepare()
    assert release_people(replace(exchange.ctx, store=listening), "NTH") == 1
    listening.close()
    found = exchange.ctx.store.database.command(
        "explain", {"find": "esr_person", "filter": asked[0]}, verbosity="executionStats"
    )
    assert found["executionStats"]["totalDocsExamined"] <= 1


def test_an_absence_esr_withdrew_that_tcs_still_has_is_noted_once(exchange):
    exchange.trainee(contactDetails={"legalSurname": "Ito"})
    told: list[str] = []
    exchange.ctx = replace(exchange.ctx, progress=told.append)
    exchange.file(*lines(), absence(7), absence(8))
    exchange.update()
    exchange.file(absence(7, indicator="D"), absence(9, indicator="D"))  # TCS never had 9
    told.clear()
    assert exchange.update() == {"people": 1, "up_to_date": 1, "absences_withdrawn": 1}
    assert exchange.document()["absences_withdrawn"] == ["7"]
    assert [line for line in told if "withdrew 1 absences" in line]
    exchange.file(*lines(title="Dr"))
    told.clear()
    assert "absences_withdrawn" not in exchange.update()
    assert exchange.document()["absences_withdrawn"] == ["7"]
    assert not [line for line in told if "withdrew" in line]
    exchange.file(absence(7))
    exchange.update()
    assert exchange.document()["absences_withdrawn"] == []


def test_a_task_that_is_stopped_in_mid_call_keeps_its_claims(exchange):
    """The call may still be under way: only who fails while nothing is, lets go at once."""
    exchange.trainee()
    exchange.file(*lines(), absence())

    class Stopped(Tcs):
        def create_absences(self, *_args, **_named):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), Stopped(exchange.ctx.settings) as tcs:
        update_people(exchange.ctx, "NTH", tcs)
    with pytest.raises(NotYetError):
        exchange.update()
    exchange.ahead = HOUR
    assert exchange.update()["updated"] == 1


def test_people_another_holds_are_waited_for_only_when_all_others_are_done(exchange):
    for number in range(2):
        exchange.trainee(f"700000{number}")
        exchange.file(*lines(number, f"700000{number}"))
    until = exchange.ctx.now() + HOUR
    exchange.people.update_one({"_id": 0}, {"$set": {"claim": {"by": "another", "until": until}}})
    with pytest.raises(NotYetError) as caught:
        exchange.update()
    assert 3500 < caught.value.retry_after <= 3600
    assert exchange.document(1)["outcome"]["status"] == "updated"
    assert exchange.document(0)["outcome"] is None


def test_neither_progress_nor_outcome_holds_a_value_of_the_person(exchange):
    exchange.trainee()
    told: list[str] = []
    exchange.ctx = replace(exchange.ctx, progress=told.append)
    exchange.file(*lines(title="Dr", uk_nino="QQ123456C"), absence())
    exchange.update()
    assert told == ["NTH: 1 people looked at: 1 updated"]
    assert "QQ123456C" not in str(exchange.document()["outcome"])


def test_a_deanery_updates_only_its_own_people(exchange):
    exchange.trainee("7000001")
    exchange.trainee("7000002")
    exchange.file(*lines(1, "7000001"))
    exchange.file(*lines(2, "7000002"), deanery="KSS")
    assert exchange.update("KSS")["people"] == 1
    assert exchange.document(1)["pending"] is True


def test_more_people_than_one_batch_are_all_updated_in_bulk(exchange):
    world = 120
    exchange.ctx = replace(exchange.ctx, settings=exchange.ctx.settings.model_copy(update={"batch_size": 50}))
    people = exchange.sandbox.load_people(*({"gmcNumber": f"71{number:05d}"} for number in range(world)))
    (post,) = exchange.sandbox.load_posts({"nationalPostNumber": POST})
    exchange.sandbox.load_placements(*({"traineeId": one["id"], "postId": post["id"]} for one in people))
    exchange.file(*(line for number in range(world) for line in lines(number, f"71{number:05d}")))
    assert exchange.update() == {"people": world, "tcs_updates": world, "updated": world}
    assert exchange.sandbox.calls()["GET gmc-details/in/*"] == 3
