"""The invented ESR takes what is as agreed, sets aside the rest with reasons, and always answers the same."""

from __future__ import annotations

import csv
from collections import Counter
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from include.esr.formats.layout import load_format
from include.esr.formats.writer import write_file
from include.esr.names import Deanery, FileName, FileType
from include.sandbox.esr.answering import EsrSide, Played, outcome
from include.sandbox.esr.folders import DiskFolder
from include.sandbox.esr.layouts import FILES
from include.sandbox.esr.strict import Name, read
from include.sandbox.esr.verdicts import Awkward, Rules, Verdict, answer_name, make_answer, spoilt

DAY = date(2026, 7, 8)
AT = datetime(2026, 7, 8, 13, 0, 5, tzinfo=UTC)
POST = "KSS/RTD01/080/STR/005"


def applicant(number: int = 1, **values: Any) -> dict[str, Any]:
    return {
        "type": "APP",
        "effective_date": date(2026, 8, 5),
        "last_name": 'O"Neill, Müller\\',
        "first_name": "Siân",
        "dob": date(1990, 2, 28),
        "professional_body": "GMC",
        "reg_number": f"{6_000_000 + number}",
        "position_id": 20_000_000 + number,
        "position_number": f"{20_000_000 + number}",
        "projected_hire_date": date(2026, 8, 5),
        "deanery_number": f"{POST[:-3]}{number:03d}",
    } | values


def notification(**values: Any) -> dict[str, Any]:
    return {
        "type": "NOT",
        "notification_title_code": "1",
        "deanery_post_number": POST,
        "host_lead_employer_status": "Host Employer",
        "current_trainee_vpd_for_next_placement": "096",
        "next_appointment_projected_start_date": date(2026, 8, 5),
        "post_vacant_at_next_rotation": "false",
    } | values


RECEIPT = (
    {"type": "FIL", "file_name": "DE_KSS_RMC_20260708_00000102.DAT", "outcome": "errors"},
    {"type": "CNT", "record_type": "POS", "accepted": 12, "rejected": 1},
    {"type": "ERR", "source_line": 3, "record_type": "POS", "code": "bad_integer", "text": 'no "id"'},
)


def made(kind: FileType, *records: dict[str, Any], sequence: int = 7) -> tuple[str, bytes]:
    """A file by the product's writer."""
    name = FileName(Deanery.KSS, kind, DAY, sequence)
    return str(name), write_file(name, load_format(kind), records, at=AT)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path


def side_of(home: Path, rules: Rules | None = None) -> EsrSide:
    return EsrSide(DiskFolder(home / "outbound"), DiskFolder(home / "inbound"), rules)


def play(home: Path, *files: tuple[str, bytes], rules: Rules | None = None) -> Played:
    side = side_of(home, rules)
    for name, body in files:
        DiskFolder(home / "outbound").put(name, body)
    return side.play(DAY)


def reasons(home: Path, *files: tuple[str, bytes]) -> list[str]:
    """The code of every reason for which files were set aside."""
    played = play(home, *files)
    return [reason.partition(":")[0] for aside in played.set_aside for reason in aside.reasons]


@pytest.mark.parametrize(
    "file",
    [
        made(FileType.APP, applicant(1), applicant(2)),
        made(FileType.DNC, notification()),
        made(FileType.DNF, notification(), notification(host_lead_employer_status="Lead Employer")),
        made(FileType.RTC, *RECEIPT),
    ],
    ids=["APP", "DNC", "DNF", "RTC"],
)
def test_what_our_writer_writes_is_taken(home, file):
    played = play(home, file)
    assert played.set_aside == []
    assert [taken.file_name for taken in played.taken] == [file[0]]
    assert (home / "outbound" / "taken" / file[0]).read_bytes() == file[1]
    assert [path.name for path in (home / "outbound").glob("*.DAT")] == []


@pytest.mark.parametrize("kind", [FileType.APP, FileType.DNC, FileType.RTC])
def test_columns_are_those_of_the_product_s_layouts(kind):
    theirs = {code: record.names for code, record in load_format(kind).records.items()}
    ours = {code: list(layout.columns) for code, layout in FILES[kind].items()}
    assert {code: [name.replace("_", "") for name in names] for code, names in theirs.items()} == {
        code: [name.lower() for name in names] for code, names in ours.items()
    }


def test_values_are_read_as_they_were_meant(home):
    [taken] = play(home, made(FileType.APP, applicant(3))).taken
    values = taken.rows[0].values
    assert (values["lastName"], values["firstName"]) == ('O"Neill, Müller\\', "Siân")
    assert (values["positionId"], values["effectiveDate"], values["town"]) == ("20000003", "20260805", "")


def test_a_file_may_be_made_later_than_the_day_it_is_for(home):
    assert reasons(home, (GOOD_NAME, GOOD.replace(b",20260708,", b",20261122,"))) == []


def test_a_part_of_a_file_is_left_alone(home):
    name, body = made(FileType.APP, applicant())
    assert play(home, (f"{name}.part", body)) == Played()
    assert (home / "outbound" / f"{name}.part").exists()


GOOD_NAME, GOOD = made(FileType.APP, applicant())


@pytest.mark.parametrize(
    ("name", "body", "code"),
    [
        ("DE_KSS_APP_20260708_7.DAT", GOOD, "bad_name"),
        ("DE_XXX_APP_20260708_00000007.DAT", GOOD, "bad_name"),
        ("DE_KSS_APC_20260708_00000007.DAT", GOOD, "bad_name"),
        ("DE_KSS_APP_20260732_00000007.DAT", GOOD, "bad_name"),
        ("DE_KSS_APP_20260709_00000007.DAT", GOOD, "wrong_frame"),
        (GOOD_NAME, GOOD.replace(b',"KSS",7', b',"LDN",7'), "wrong_frame"),
        (GOOD_NAME, GOOD.replace(b',"KSS",7', b',"KSS",8'), "wrong_frame"),
        (GOOD_NAME, GOOD.replace(b",130005,", b",250005,"), "wrong_frame"),
        (GOOD_NAME, GOOD.replace(b",20260708,", b",20260707,"), "wrong_frame"),
        (GOOD_NAME, GOOD.replace(b",20260708,1", b",1"), "wrong_frame"),
        (GOOD_NAME, GOOD.replace(b"FTR,1", b"FTR,2"), "wrong_frame"),
        (GOOD_NAME, GOOD.replace(b"\n", b"\r\n"), "bad_dialect"),
        (GOOD_NAME, GOOD[:-1], "bad_dialect"),
        (GOOD_NAME, GOOD.replace("Siân".encode(), "Siân".encode("cp1252")), "bad_dialect"),
        (GOOD_NAME, GOOD.replace(b'O""Neill', b'O"Neill'), "bad_dialect"),
        (GOOD_NAME, GOOD.replace(b'"GMC"', b"GMC"), "bad_dialect"),
        (GOOD_NAME, GOOD.replace(b",20000001,", b',"20000001",'), "bad_dialect"),
        (GOOD_NAME, GOOD.replace(b",19900228,", b",19900230,"), "bad_value"),
        (GOOD_NAME, GOOD.replace(b',"GMC",', b',"XXX",'), "bad_value"),
        (GOOD_NAME, GOOD.replace(b",19900228,", b",,"), "missing_value"),
        (GOOD_NAME, GOOD.replace(b"\nAPP,", b"\nAPQ,"), "unknown_record"),
        (GOOD_NAME, GOOD.replace(b'005"\n', b'005",\n').replace(b'001"\n', b'001",\n'), "wrong_columns"),
        (GOOD_NAME, b"", "bad_dialect"),
        (GOOD_NAME, b"\n".join([GOOD.split(b"\n")[0], b"FTR,0", b""]), "no_records"),
    ],
)
def test_a_file_that_is_not_as_agreed_is_set_aside_with_the_reason(home, name, body, code):
    assert reasons(home, (name, body)) == [code]
    assert (home / "outbound" / "quarantine" / name).read_bytes() == body
    note = (home / "outbound" / "quarantine" / f"{name}.reasons.txt").read_text()
    assert note.startswith(code)
    assert list((home / "inbound").iterdir()) == []


@pytest.mark.parametrize("vpd", ["96", "1234", "A12", "٠٩٦"])
def test_a_vpd_that_is_not_three_digits_costs_the_file(home, vpd):
    bad = notification(next_appointment_current_placement_vpd=vpd)
    assert reasons(home, made(FileType.DNC, notification(), bad)) == ["bad_vpd"]


def test_an_unknown_title_code_costs_the_file(home):
    name, body = made(FileType.DNC, notification())
    assert reasons(home, (name, body.replace(b'NOT,"1"', b'NOT,"6"'))) == ["unknown_title_code"]


@pytest.mark.parametrize(("count", "codes"), [(40, []), (41, ["too_many_of_post"])])
def test_forty_applicants_of_a_post_are_taken_and_one_more_costs_the_file(home, count, codes):
    records = [applicant(number, deanery_number=POST) for number in range(count)]
    assert reasons(home, made(FileType.APP, *records)) == codes


def test_one_applicant_twice_in_a_file_costs_the_file(home):
    assert reasons(home, made(FileType.APP, applicant(1), applicant(1))) == ["doubled_applicant"]


def test_a_number_is_used_once_whatever_the_deanery_and_dnc_and_dnf_share_theirs(home):
    assert reasons(home, made(FileType.DNC, notification()), made(FileType.DNF, notification())) == [
        "sequence_reused"
    ]
    assert reasons(home, made(FileType.APP, applicant(), sequence=7)) == []


def test_a_file_sent_again_is_set_aside_also_after_a_restart_of_esr(home):
    file = made(FileType.APP, applicant())
    assert reasons(home, file) == []
    assert reasons(home, file) == ["sent_twice"]
    again = side_of(home)
    assert [aside.file_name for aside in again.set_aside] == [file[0]]
    assert [len(times) for times in again.applicants().values()] == [1]


def test_a_receipt_names_one_file_of_its_deanery(home):
    other = RECEIPT[0] | {"file_name": "DE_LDN_RMC_20260708_00000102.DAT"}
    assert reasons(home, made(FileType.RTC, other)) == ["bad_receipt"]
    assert reasons(home, made(FileType.RTC, *RECEIPT[1:])) == ["bad_receipt"]


# -- answers


def many(kind: FileType = FileType.APP, count: int = 400) -> tuple[str, bytes]:
    return made(kind, *(applicant(number) for number in range(count)))


def test_an_applicant_s_answer_comes_the_next_day_a_notification_s_the_same(home):
    played = play(home, made(FileType.APP, applicant()), made(FileType.DNC, notification()))
    assert [answer.made.name for answer in played.answers] == [
        "DE_KSS_APC_20260709_00000007.DAT",
        "DE_KSS_DCC_20260708_00000007.DAT",
    ]
    assert {path.name: path.read_bytes() for path in (home / "inbound").iterdir()} == {
        answer.made.name: answer.made.body for answer in played.answers
    }


def test_every_line_is_answered_by_its_ordinal_and_position(home):
    [answer] = play(home, many(), rules=Rules(fail=0, warn=0, inform=0)).answers
    lines = list(csv.reader(answer.made.body.decode().splitlines()))
    assert lines[-1] == ["FTR", "400"]
    assert [(line[1], line[3], line[8]) for line in lines[1:-1]] == [
        (str(number + 1), "SUCCESS", str(20_000_000 + number)) for number in range(400)
    ]


def test_most_succeed_some_do_not_and_messages_hold_unquoted_commas(home):
    [answer] = play(home, many()).answers
    counts = Counter(outcome(one) for one in answer.verdicts)
    assert counts["confirmed"] > 320
    assert min(counts["warnings"], counts["rejected"]) >= 5
    text = answer.made.body.decode()
    assert ",Place of birth Doha, Qatar is not" in text
    assert {one.type for one in answer.verdicts} == {"", "ERROR", "WARNING", "INFO"}


def test_the_same_file_is_answered_the_same_for_ever_and_another_number_may_fare_better(home, tmp_path):
    first, again = play(tmp_path / "a", many()), play(tmp_path / "b", many())
    assert first.answers == again.answers
    records = [applicant(number) for number in range(400)]
    other = play(tmp_path / "c", made(FileType.APP, *records, sequence=8))
    assert [one.status for one in other.answers[0].verdicts] != [
        one.status for one in first.answers[0].verdicts
    ]


def test_a_notification_s_position_is_named_where_esr_has_just_one(home):
    rules = Rules(fail=0, warn=0, inform=0, positions={(POST, "Host Employer"): 20_000_004})
    other = notification(host_lead_employer_status="Lead Employer")
    [answer] = play(home, made(FileType.DNC, notification(), other), rules=rules).answers
    assert [one.position for one in answer.verdicts] == [20_000_004, None]
    lines = answer.made.body.decode().split("\n")
    assert lines[1:3] == [
        f'DCC,1,"{POST}",20000004,"SUCCESS",,""',
        f'DCC,2,"{POST}",,"SUCCESS",,""',
    ]


SOUND = [Verdict(1, POST, position=11), Verdict(2, POST, position=12, status="FAIL", type="ERROR")]


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        (Awkward.WRONG_ORDINAL, [(1_000_001, 11, "SUCCESS"), (2, 12, "FAIL")]),
        (Awkward.WRONG_POSITION, [(1, 999_999_999, "SUCCESS"), (2, 12, "FAIL")]),
        (Awkward.DOUBLED, [(1, 11, "SUCCESS"), (2, 12, "FAIL"), (1, 11, "SUCCESS")]),
        (Awkward.CONTRADICTION, [(1, 11, "SUCCESS"), (2, 12, "FAIL"), (1, 11, "FAIL")]),
        (Awkward.MALFORMED, [(2, 12, "FAIL")]),
        (Awkward.BAD_QUOTES, [(2, 12, "FAIL")]),
    ],
)
def test_an_awkward_answer_has_one_thing_wrong(how, expected):
    lines = spoilt(SOUND, how, at=0, kind="APC")
    assert [(one.ordinal, one.position, one.status) for one in lines if isinstance(one, Verdict)] == expected


def test_the_footer_of_an_awkward_answer_counts_its_lines_all_the_same():
    name = answer_name(Name("KSS", "APP", DAY, 7), DAY)
    answer = make_answer(name, spoilt(SOUND, Awkward.MALFORMED, at=0, kind="APC"))
    assert answer.body.endswith(b"FTR,2\n")
    assert read(answer.name, answer.body).reasons == ["bad_name: no name of a file that goes to ESR"]
