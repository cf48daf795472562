"""What has gone wrong in the real system on the way out (domain page, section 5): each by its name."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import pytest
from structlog.testing import capture_logs

from include.errors import NotYetError, TransientError
from include.esr.context import EsrContext
from include.esr.documents import FileState
from include.esr.exports.changing import abandon_file, change_record
from include.esr.files.replay import replay_file
from include.esr.generation import generate as generation
from include.esr.generation.wake import receive
from include.esr.names import FileType
from include.esr.outbound import RecordState
from include.esr.outbound_run import INBOUND_LOOK, require_inbound
from include.sandbox.esr.answering import EsrSide
from include.sandbox.esr.files import rmf
from include.sandbox.esr.folders import DiskFolder
from include.sandbox.esr.verdicts import Awkward, Rules, answer_name, make_answer, spoilt
from include.storage.landing import LandingZone
from tests.conftest import HOME
from tests.integration.esr.inbound import WORLD, Exchange
from tests.integration.esr.out_chain import (
    DAY,
    KSS,
    PEOPLE,
    Chain,
    Clock,
    Trap,
    afternoon,
    chain,
    person_of,
    problems,
)

__all__ = ["chain"]
NUMBER = "KSS/RXC01/800/GPST/901"
OTHER = "KSS/RXC01/800/GPST/902"
BY = {"why": "asked by ESR", "by": "a.name"}
NEXT = DAY + timedelta(1)


def one_post(chain: Chain, *positions: int, number: str = NUMBER, **facts: str) -> int:
    """Make a post with positions and return its id."""
    post = chain.post(number)
    for position in positions or (71,):
        chain.position(position, post, number, **facts)
    return post


def only_state(chain: Chain) -> tuple[str, str | None]:
    """Return state and reason of the only applicant there is."""
    [record] = chain.records().values()
    return record["state"], (record["reason"] or {}).get("code")


def sent(chain: Chain) -> list[tuple[str, str]]:
    """Return who ESR was sent in which position, in order."""
    return sorted((person_of(row), row.values["positionId"]) for row in chain.rows("APP").values())


def until_done(chain: Chain, kind: str = "APP", today: date = DAY) -> None:
    """Export as the scheduler would: again as long as something must wait."""
    for _ in range(12):
        try:
            chain.export(kind, today)
        except TransientError:
            chain.an_hour_later()
        else:
            return
    raise AssertionError("never done")


# --- restarts, halves of files ---------------------------------------------------------------------


@pytest.mark.parametrize("nth", [1, 2])
def test_service_restarted_in_mid_load_makes_no_second_app_record(chain, monkeypatch, nth):
    monkeypatch.setattr(generation, "POSTS_AT_ONCE", 2)
    for who in range(1, 6):
        post = one_post(chain, 70 + who, 80 + who, number=f"KSS/RXC01/800/GPST/90{who}")
        chain.place(who, post)
    trap = Trap(monkeypatch)
    with trap.set_for(("committed", nth)):
        chain.sweep()
    assert trap.is_dead
    half = chain.records()
    assert 0 < len(half) < 10
    chain.sweep()
    again = chain.records()
    assert {key: again[key] for key in half} == half
    assert len(again) == len({(each["placement_id"], each["position_id"]) for each in again.values()}) == 10
    chain.export()
    chain.export("DNC")
    assert len(set(sent(chain))) == len(sent(chain)) == 10
    assert problems(chain) == []


@pytest.fixture
def whole(esr: Exchange) -> Iterator[Chain]:
    """The way out behind the way in, in the folders of the test's exchange."""
    path = HOME / "sftp" / "files" / esr.settings.esr_outbound_folder
    (path / "outbound").mkdir(parents=True)
    clock = Clock()
    values = {"tcs_timeout": 10, "tcs_lease_seconds": 30, "esr_outbound_folder": f"{path.name}/outbound"}
    settings = esr.settings.model_copy(update=values)
    ctx = EsrContext("test__out", esr.store, LandingZone(settings), settings, now=clock)
    side = EsrSide(DiskFolder(path / "outbound"), DiskFolder(path / "inbound"), Rules())
    yield Chain(ctx, esr.tcs, path, clock, side)
    shutil.rmtree(path)


def test_partial_notifications_after_a_half_applied_rmf_are_not_made(esr, whole, monkeypatch):
    made = rmf(KSS, DAY, 17, world=WORLD, posts=24)
    esr.sftp.put(made.name, made.body)
    trap = Trap(monkeypatch)
    for nth in range(1, 12):  # killed later and later, until some positions are saved
        with trap.set_for(("committed", nth)):
            esr.run()
        whole.an_hour_later()
        if esr.store["esr_position"].count_documents({}):
            break
    assert esr.state(made.name) not in {"reconciled", "published"}
    with pytest.raises(NotYetError, match="not completely reconciled"):
        whole.sweep()
    assert (whole.records(), whole.records("DNC")) == ({}, {})

    report = esr.run()
    assert not report.failed
    receive(whole.ctx)
    whole.sweep()
    whole.export("DNC")
    assert whole.side.play(DAY).set_aside == []
    told = {each["position_id"] for each in whole.records("DNC").values() if each["state"] == "EXPORTED"}
    assert told == set(made.truth.matched)
    assert len(whole.rows("DNC")) == len(whole.records("DNC"))


# --- the cap, the VPD ------------------------------------------------------------------------------


def test_more_than_40_applicants_of_a_post_are_capped_and_carried_over_and_never_set_aside(chain):
    post = one_post(chain, 71, 72)
    for who in range(1, 24):
        chain.place(who, post, DAY + timedelta(30 + who // 5))
    other = one_post(chain, 73, number=OTHER)
    chain.place(30, other, DAY + timedelta(80))
    chain.sweep()
    counts = chain.export()
    assert (counts["records"], counts["carried_over"]) == (41, 6)
    first = chain.play()
    assert first.set_aside == []
    chain.send(NEXT)
    assert chain.play(NEXT).set_aside == []
    assert len(sent(chain)) == len(set(sent(chain))) == 47
    starts = [row.values["effectiveDate"] for (file, _), row in chain.rows("APP").items() if "0707" in file]
    late = [row.values["effectiveDate"] for (file, _), row in chain.rows("APP").items() if "0708" in file]
    assert max(starts[:40]) <= min(late)
    assert problems(chain) == []


def test_a_vpd_sent_as_96_is_text_of_three_digits_in_esrs_hands(chain):
    post = one_post(chain, 71, employing_org_vpd_code="96")
    chain.place(1, post, DAY - timedelta(60), 70)
    chain.place(2, post)
    bad = one_post(chain, 72, number=OTHER, employing_org_vpd_code="9A6")
    chain.place(3, bad, DAY - timedelta(60), 70)
    chain.sweep()
    chain.export("DNC")
    played = chain.play()
    assert played.set_aside == []
    vpds = {
        row.values[column]
        for row in chain.rows("DNC").values()
        for column in ("currentTraineeVpdForNextPlacement", "nextAppointmentCurrentPlacementVpd")
    }
    assert vpds - {""} == {"096"}
    of_bad = [each for each in chain.records("DNC").values() if each["position_id"] == 72]
    assert {(each["state"], each["reason"]["code"]) for each in of_bad} == {("INVALID_DATA", "bad_vpd")}
    chain.change_position(72, por__employing_org_vpd_code="7")
    chain.send(NEXT)
    assert chain.play(NEXT).set_aside == []
    told = {
        row.values["currentTraineeVpdForNextPlacement"]
        for row in chain.rows("DNC").values()
        if row.values["deaneryPostNumber"] == OTHER
    }
    assert told == {"007"}


# --- ESR's answers ---------------------------------------------------------------------------------


def test_stray_commas_in_an_apc_cost_no_line_and_nothing_is_applied_twice(chain):
    chain.side.rules = Rules(fail=0, warn=0, inform=0)
    post = one_post(chain)
    for who in range(1, 6):
        chain.place(who, post, DAY + timedelta(30 + who))
    chain.send()
    side = chain.side
    chain.side.play(DAY)
    [file] = [each for each in side.taken if each.name.kind == "APP"]
    lines = side.verdicts(file)
    refused = {"status": "FAIL", "type": "ERROR", "quoted": False}
    lines[0] = replace(lines[0], text="Doha, Qatar", **refused)
    lines[1] = replace(lines[1], text='born in ,,Doha", Qatar,', **refused)
    inbound = DiskFolder(chain.path / "inbound")
    name = answer_name(file.name, DAY)
    inbound.put(
        f"{name.stem}.DAT", make_answer(name, spoilt(lines, Awkward.MALFORMED, at=3, kind="APC")).body
    )

    [counts] = [each for subject, each in chain.confirm().items() if "_APC_" in subject]
    assert (counts["applied"], counts["quarantined"]) == (4, 1)
    by_ordinal = {each["ordinal"]: each for each in chain.records().values()}
    wanted = ["REJECTED", "REJECTED", "CONFIRMED", "EXPORTED", "CONFIRMED"]
    assert [by_ordinal[ordinal]["state"] for ordinal in range(1, 6)] == wanted
    assert by_ordinal[1]["answer"]["text"] == "Doha, Qatar"

    replay_file(chain.ctx, f"{name.stem}.DAT")
    chain.confirm()
    later = answer_name(file.name, NEXT)
    inbound.put(f"{later.stem}.DAT", make_answer(later, lines).body)
    chain.confirm()
    assert [by_ordinal[ordinal]["state"] for ordinal in range(1, 6)] == wanted
    states = {each["ordinal"]: each["state"] for each in chain.records().values()}
    assert [states[ordinal] for ordinal in range(1, 6)] == [*wanted[:3], "CONFIRMED", "CONFIRMED"]
    assert set(chain.told().values()) == {1}
    assert len(chain.told()) == 10
    assert problems(chain) == []


# --- TCS is unwell ---------------------------------------------------------------------------------

FAULTS: dict[str, dict[str, Any]] = {
    "down": {"kind": "status", "status": 503},
    "gone": {"kind": "drop"},
    "slow": {"kind": "delay", "seconds": 3},
}


@pytest.mark.parametrize("fault", FAULTS)
def test_tcs_down_or_slow_work_waits_and_resumes_by_itself(chain, fault):
    post = one_post(chain, 71, 72)
    for who in (1, 2, 3):
        chain.place(who, post)
    quick = chain.with_settings(tcs_timeout=0.5)
    chain.tcs.misbehave({"call": "^GET /api/placements/", **FAULTS[fault]})
    with pytest.raises(TransientError):
        quick.sweep()
    assert (chain.records(), chain.records("DNC")) == ({}, {})
    chain.tcs.behave()
    quick.sweep()
    assert len(chain.records()) == 6

    chain.tcs.misbehave({"call": "/esr-exported", **FAULTS[fault]})
    with pytest.raises(TransientError):
        quick.export()
    assert set(chain.states().values()) == {RecordState.EXPORTED}  # the file does not wait for TCS
    assert chain.play().set_aside == []
    chain.tcs.behave()
    until_done(chain)
    assert set(chain.told().values()) == {1}
    assert len(chain.told()) == 6
    assert chain.ctx.store["esr_call"].distinct("state") == ["told"]


def test_a_5xx_on_esr_exported_loses_no_export_status_retryable_and_poison_differ(chain):
    post = one_post(chain)
    passing, done, poison, sound = (chain.place(who, post, DAY + timedelta(30 + who)) for who in range(1, 5))
    chain.sweep()
    chain.tcs.misbehave(
        {"call": f"placements/{passing}/esr-exported", "kind": "status", "status": 502, "times": 2},
        {"call": f"placements/{done}/esr-exported", "kind": "status_after", "status": 500, "times": 1},
        {"call": f"placements/{poison}/esr-exported", "kind": "status", "status": 500},
    )
    with capture_logs() as logs:
        until_done(chain)
    assert set(chain.states().values()) == {RecordState.EXPORTED}
    assert {what[0]: count for what, count in chain.told().items()} == {passing: 1, done: 1, sound: 1}
    [refused] = chain.ctx.store["esr_call"].find({"state": "refused"})
    assert (refused["placement_id"], refused["refused"]) == (poison, "tcs_keeps_failing")
    assert [line["placement_id"] for line in logs if line["event"] == "esr_call_refused"] == [poison]


# --- time ------------------------------------------------------------------------------------------


def test_a_placement_entered_late_is_expired_unsent_and_told_of(chain):
    post = one_post(chain)
    late = chain.place(1, post, DAY + timedelta(1))
    with capture_logs() as logs:
        chain.send()
        chain.send(NEXT)
    assert only_state(chain) == ("EXPIRED_UNSENT", "too_late")
    [alert] = [line for line in logs if line["event"] == "esr_applicants_expired"]
    assert (alert["deanery"], alert["applicants"]) == (KSS, 1)
    assert sent(chain) == []
    change_record(chain.ctx, "APP", f"{late}-71", "resend", **BY)
    chain.send(DAY + timedelta(2))
    assert chain.play(DAY + timedelta(2)).set_aside == []
    assert [position for _, position in sent(chain)] == ["71"]


def test_one_that_was_to_export_past_its_window_does_not_stay_so_silently(chain):
    chain.place(1, one_post(chain), DAY + timedelta(3))
    chain.sweep()
    assert only_state(chain) == ("TO_EXPORT", None)
    with capture_logs() as logs:
        chain.send(DAY + timedelta(2))  # the days between had no run
    assert only_state(chain) == ("EXPIRED_UNSENT", "started_unsent")
    assert [line["applicants"] for line in logs if line["event"] == "esr_applicants_expired"] == [1]
    assert sent(chain) == []


def test_a_job_keyed_to_the_calendar_day_can_be_run_again_for_another_day(chain):
    post = one_post(chain)
    chain.place(1, post, DAY + timedelta(2))  # the last day it can be sent
    chain.place(2, post, DAY + timedelta(91))  # too early on this day
    chain.clock.forward(afternoon(NEXT))  # the day itself had no run
    chain.send(DAY)
    chain.send(NEXT)
    assert [name for name in chain.files() if "_APP_" in name] == [
        "DE_KSS_APP_20260707_00000001.DAT",
        "DE_KSS_APP_20260708_00000002.DAT",
    ]
    files = chain.files()
    assert b",20260708,14" in files["DE_KSS_APP_20260707_00000001.DAT"]  # its header says when it was made
    assert [who for who, _ in sent(chain)] == ["person1@home.example", "person2@home.example"]
    assert chain.play(NEXT).set_aside == []
    for day in (DAY, NEXT, DAY):
        chain.send(day)
    assert chain.files() == files
    assert problems(chain) == []


# --- positions that are gone -----------------------------------------------------------------------


def test_stale_deleted_positions_make_no_extra_applicants(chain):
    post = one_post(chain, 71, 72)
    chain.place(1, post)
    chain.change_position(72, deleted=True)
    chain.sweep()
    assert [each["position_id"] for each in chain.records().values()] == [71]
    chain.change_position(71, deleted=True)
    chain.send()
    assert only_state(chain) == ("DELETED_BEFORE_EXPORT", "position_gone")
    assert (chain.files(), {each["position_id"] for each in chain.records("DNC").values()}) == ({}, {71})
    assert set(chain.states("DNC").values()) == {RecordState.DELETED_BEFORE_EXPORT}


def test_a_position_deleted_while_its_file_was_on_its_way_is_stale_when_that_is_given_up(chain, monkeypatch):
    chain.place(1, one_post(chain))
    chain.sweep()
    trap = Trap(monkeypatch)
    with trap.set_for(("committed", 1)):
        chain.export()
    assert only_state(chain) == ("IN_FILE", None)
    chain.change_position(71, deleted=True)
    chain.sweep()
    [name] = chain.exports()
    abandon_file(chain.ctx, name, **BY)
    chain.send(NEXT)
    assert only_state(chain) == ("DELETED_BEFORE_EXPORT", "position_gone")
    assert sent(chain) == []


# --- exports wait for the day's inbound ------------------------------------------------------------


def a_days_file(chain: Chain, state: FileState, name: str = "DE_KSS_RMC_20260707_00000018.DAT") -> None:
    """Put a file of the day on the ledger, as far as waiting for it goes."""
    chain.ctx.store["esr_file"].insert_one(
        {
            "_id": f"{name}#1",
            "deanery": KSS,
            "type": FileType.RMC.value,
            "order": "20260707/00000018/00001",
            "state": state.value,
        }
    )


def waiting(chain: Chain, after: float) -> dict[str, int]:
    """Return what ``ready`` says so many seconds after the schedule."""
    moment = afternoon(DAY)
    ctx = replace(chain.ctx, now=lambda: moment + timedelta(seconds=after))
    return require_inbound(ctx, KSS, moment)


@pytest.mark.parametrize(
    ("state", "why"),
    [
        (None, "no RMF or RMC of 2026-07-07"),
        *((state, state.value) for state in (FileState.SPLIT, FileState.SAVED)),
    ],
)
def test_exports_wait_until_the_days_inbound_is_in_for_a_while_then_alert_and_go_on(chain, state, why):
    if state:
        a_days_file(chain, state)
    most = chain.ctx.settings.esr_inbound_wait
    for after in (0, most - 1):
        with pytest.raises(NotYetError, match=why) as waits:
            waiting(chain, after)
        assert waits.value.retry_after == INBOUND_LOOK
    with capture_logs() as logs:
        assert waiting(chain, most) == {"inbound_files": 0}
    [alert] = [line for line in logs if line["event"] == "esr_inbound_missing"]
    assert (alert["deanery"], alert["day"]) == (KSS, "2026-07-07")
    assert why in alert["message"]


@pytest.mark.parametrize("state", [FileState.RECONCILED, FileState.PUBLISHED])
def test_exports_go_on_at_once_when_the_days_inbound_is_in(chain, state):
    a_days_file(chain, state)
    with capture_logs() as logs:
        assert waiting(chain, 0) == {"inbound_files": 1}
    assert logs == []


@pytest.mark.parametrize(
    "about",
    [
        {"order": "20260706/00000017/00001"},
        {"order": "20260708/00000019/00001"},
        {"deanery": "NTH"},
        {"type": "APC"},
    ],
    ids=["yesterday", "tomorrow", "another deanery", "an answer"],
)
def test_another_file_is_not_the_days_inbound(chain, about):
    a_days_file(chain, FileState.PUBLISHED)
    chain.ctx.store["esr_file"].update_one({}, {"$set": about})
    with pytest.raises(NotYetError, match="no RMF or RMC"):
        waiting(chain, 0)


# --- bad input, through to ESR's own reader --------------------------------------------------------

LONGEST = 1_000
READABLE = {
    'O\'Neill "Nell"': 'O\'Neill "Nell"',
    '"': '"',
    '","': '","',
    "Smith, Jr.": "Smith, Jr.",
    "Zoë Łódź 李 Ñ": "Zoë Łódź 李 Ñ",
    "C:\\Flat 2\\": "C:\\Flat 2\\",
    '\\"': '\\"',
    "first\nsecond": "first second",
    "first\r\nsecond\tthird": "first second third",
    "line\u2028break": "line break",
    " padded ": "padded",
    "0012": "0012",
    "=1+1": "=1+1",
    "x" * LONGEST: "x" * LONGEST,
}
UNREADABLE: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    ({"legalSurname": "x" * (LONGEST + 1)}, {}, "too_long"),
    ({"legalSurname": "bell\x07"}, {}, "control_character"),
    ({"legalSurname": None}, {}, "missing_value"),
    ({"legalSurname": " \n "}, {}, "missing_value"),
    ({"legalForenames": ""}, {}, "missing_value"),
    ({}, {"dateOfBirth": None}, "missing_value"),
    ({}, {"dateOfBirth": "1990-02-30"}, "bad_date"),
]


def test_names_and_addresses_of_every_shape_reach_esr_as_they_are(chain):
    post = one_post(chain)
    columns = ("lastName", "firstName", "address1", "town")
    for name in READABLE:
        details = dict.fromkeys(("legalSurname", "legalForenames", "address1", "address4"), name)
        chain.place(chain.person(details), post)
    chain.send()
    assert set(chain.states().values()) == {RecordState.EXPORTED}
    assert chain.play().set_aside == []
    rows = [[row.values[column] for column in columns] for row in chain.rows("APP").values()]
    assert sorted(rows) == sorted([name] * 4 for name in READABLE.values())
    assert problems(chain) == []


def test_names_of_every_shape_reach_esr_in_notifications_or_are_set_aside_with_why(chain):
    for at, name in enumerate(READABLE):
        post = one_post(chain, 100 + at, number=f"KSS/RXC01/800/GPST/{at:03d}")
        for start in (-60, 30):
            chain.place(chain.person({"legalSurname": name}), post, DAY + timedelta(start), 80)
    chain.sweep()
    chain.export("DNC")
    assert chain.play().set_aside == []
    broken = {name for name in READABLE if set(name) & set("\r\n\t")}
    told = {row.values["currentTraineeLastName"] for row in chain.rows("DNC").values()}
    assert told == {name.strip() for name in READABLE if name not in broken}
    reasons = [each["reason"]["code"] for each in chain.records("DNC").values() if each["reason"]]
    assert reasons == ["control_character"] * len(broken)


def test_what_cannot_stand_in_a_file_is_invalid_data_the_others_go_and_it_goes_when_mended(chain):
    post = one_post(chain)
    bad = [chain.place(chain.person(contact, personal), post) for contact, personal, _ in UNREADABLE]
    chain.place(1, post)
    chain.send()
    assert chain.play().set_aside == []
    records = chain.records()
    for placement, (*_, code) in zip(bad, UNREADABLE, strict=True):
        record = records[f"{placement}-71"]
        assert (record["state"], record["reason"]["code"]) == ("INVALID_DATA", code)
    assert [who for who, _ in sent(chain)] == ["person1@home.example"]
    for at, placement in enumerate(bad):
        chain.tcs.change_placement(placement, traineeId=PEOPLE + 10 + at)
    chain.send(NEXT)
    assert chain.play(NEXT).set_aside == []
    mended = [f"person{10 + at}@home.example" for at in range(len(bad))]
    assert [who for who, _ in sent(chain)] == sorted(["person1@home.example", *mended])
    assert [each["reason"] for each in chain.records().values()] == [None] * (1 + len(bad))
