"""A full file and two days of changes: TCS ends as the files' truth says, in every field."""

from __future__ import annotations

from datetime import date
from typing import Any

from include.sandbox.esr.files import MadeFile, rmc, rmf
from include.sandbox.esr.truth import final_fields, post_events
from include.sandbox.esr.world import FIRST_PERSON
from tests.integration.esr.inbound import WORLD, Exchange

DEANERY = "WMD"


def days() -> list[MadeFile]:
    return [
        rmf(DEANERY, date(2026, 3, 4), 17, world=WORLD, posts=150),
        rmc(DEANERY, date(2026, 3, 5), 18, world=WORLD, posts=150),
        rmc(DEANERY, date(2026, 3, 6), 19, world=WORLD, posts=150),
    ]


def read_in_order(esr: Exchange, files: list[MadeFile]) -> None:
    for file in files:
        esr.sftp.put(file.name, file.body)
        report = esr.run()
        assert not report.failed, report
        assert esr.state(file.name) == "published"


def details(esr: Exchange, person_id: int) -> dict[str, dict[str, Any]]:
    person = esr.tcs.get(f"people/{person_id}")
    return {"contact": person["contactDetails"], "personal": person["personalDetails"]}


def test_tcs_ends_as_the_truth_of_three_days_says(esr: Exchange) -> None:
    files = days()
    read_in_order(esr, files)
    truths = [file.truth for file in files]

    events = esr.tcs.post_events()
    told = {post: [(one["positionId"], one["status"]) for one in some] for post, some in events.items()}
    expected = post_events(truths)
    assert {post: sorted(some) for post, some in told.items()} == {
        post: sorted(some) for post, some in expected.items()
    }

    final = final_fields(truths)
    for person_id, fields in final.items():
        known = details(esr, person_id)
        for kind, values in fields.items():
            assert {name: known[kind][name] for name in values} == values

    absences = {key: values for truth in truths for key, values in truth.absences.items()}
    kept = {one["absenceAttendanceId"]: one for one in esr.tcs.final()["absences"]}
    assert {key: {name: one[name] for name in absences[key]} for key, one in kept.items()} == absences
    assert len(esr.tcs.final()["absences"]) == len(absences)


def test_of_each_person_only_what_tcs_did_not_have_is_sent(esr: Exchange) -> None:
    (full, *_) = days()
    read_in_order(esr, [full])
    sent: dict[int, dict[str, dict[str, Any]]] = {}
    for entry in esr.tcs.told("patch"):
        assert entry["key"] not in sent or entry["of"] not in sent[entry["key"]], "one call a person and kind"
        sent.setdefault(entry["key"], {})[entry["of"]] = entry["body"]
    changed = {
        person_id: {kind: values for kind, values in kinds.items() if values}
        for person_id, kinds in full.truth.changed.items()
    }
    assert sent == {person_id: kinds for person_id, kinds in changed.items() if kinds}
    assert min(sent) >= FIRST_PERSON
