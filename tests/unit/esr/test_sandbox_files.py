"""Files made for the exchange are what ESR would send, and the truth told with them is true.

The files are read here by Python's own csv module and by nothing of ours.
"""

from __future__ import annotations

import csv
import gzip
from collections import Counter
from collections.abc import Iterator
from datetime import date

import pytest

from include.sandbox.esr import words
from include.sandbox.esr.dirt import CONDEMNS, LINES, LONG_LINE_BYTES, Dirt
from include.sandbox.esr.files import MadeFile, rmc, rmf, write_rmf
from include.sandbox.esr.truth import final_fields, post_events
from include.sandbox.esr.world import FIRST_PERSON, FIRST_POST, World

WORLD = World(people=1_300)
DAY = date(2026, 3, 4)
COLUMNS = {"POS": 16, "POR": 13, "ASG": 12, "PER": 33, "ADD": 13, "ABS": 8, "PBD": 7}
PER = {
    "contact": {
        8: "legalSurname",
        9: "legalForenames",
        12: "title",
        16: "telephoneNumber",
        17: "mobileNumber",
        20: "workEmail",
    },
    "personal": {
        7: "nationalInsuranceNumber",
        13: "gender",
        14: "dateOfBirth",
        21: "ethnicOrigin",
        31: "religiousBelief",
        32: "sexualOrientation",
        33: "disabilityDetails",
    },
}
ADDRESS = {7: "address1", 8: "address2", 9: "address3", 10: "address4", 12: "postCode", 13: "country"}


@pytest.fixture(scope="module")
def full() -> MadeFile:
    return rmf("KSS", DAY, 17, world=WORLD)


def rows(made: MadeFile) -> list[list[str]]:
    """The data lines as Python's csv module reads them, nothing escaped by a backslash."""
    lines = made.body.decode("utf-8").split("\n")[1:-2]
    return list(csv.reader(lines, strict=True))


def of(made: MadeFile, code: str) -> Iterator[list[str]]:
    return (row for row in rows(made) if row[0] == code)


def iso(day: str) -> str:
    return f"{day[:4]}-{day[4:6]}-{day[6:]}"


def test_the_frame_names_the_file_and_counts_its_lines(full):
    lines = full.body.decode().split("\n")
    assert full.name == "DE_KSS_RMF_20260304_00000017.DAT"
    assert lines[0] == 'HDR,"DE_KSS_RMF_20260304_00000017",20260304,143000,"KSS",17'
    assert lines[-2:] == [f"FTR,{len(lines) - 3}", ""]
    assert full.truth.lines == len(lines) - 1


def test_every_line_has_the_columns_of_its_record(full):
    assert {row[0]: len(row) for row in rows(full)} == COLUMNS
    assert Counter(row[0] for row in rows(full)) == full.truth.records
    assert not full.truth.bad


def test_a_file_has_the_hard_lines_of_the_real_one(full):
    text = full.body.decode()
    assert '"Medical and Dental\\",' in text
    assert '""Acute"", nights' in text
    assert "ü" in text or "á" in text or "Ó" in text


def test_the_mix_is_that_of_a_real_deanery():
    made = rmf("LDN", DAY, 1, world=World(people=60_000), lines=20_000)
    records = made.truth.records
    assert records["POS"] == pytest.approx(records["POR"], abs=10)
    for code in ("PER", "ASG", "PBD"):
        assert records[code] / records["POS"] == pytest.approx(0.7, abs=0.05)
    assert 0.1 < records["ABS"] / records["PER"] < 0.5
    assert len(made.truth.matched) > 0.9 * records["POS"]
    assert len(made.truth.fields) > 2_000


def test_positions_match_the_posts_of_the_world(full):
    posts = {WORLD.post_number(post): FIRST_POST + post for post in range(WORLD.people)}
    matched, unmatched, deleted = {}, set(), set()
    for row in of(full, "POS"):
        position, number = int(row[1]), row[9]
        assert len(number) <= 30
        if row[3] == "D":
            deleted.add(position)
        elif number in posts:
            matched[position] = posts[number]
        else:
            unmatched.add(position)
    assert (matched, unmatched, deleted) == (full.truth.matched, full.truth.unmatched, full.truth.deleted)
    assert len(matched) > 80
    assert unmatched
    assert deleted


def test_pos_and_por_of_a_position_agree(full):
    numbers = {row[1]: (row[9], row[3]) for row in of(full, "POS")}
    assert {row[1]: (row[6], row[3]) for row in of(full, "POR")} == numbers
    assert {row[8] for row in of(full, "POR")} == {"Host Employer", "Lead Employer"}
    assert all(len(row[10]) == 3 for row in of(full, "POR"))


def people_by_number() -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for index in range(WORLD.people):
        for number in (WORLD.gmc_number(index), WORLD.gdc_number(index)):
            if number is not None:
                found.setdefault(number, []).append(index)
    return found


def test_people_to_update_are_those_with_one_registration_and_a_placement_at_the_post(full):
    known, wanted, alone = people_by_number(), set(), set()
    assignments = {row[4]: row for row in of(full, "ASG")}
    for row in of(full, "PBD"):
        holders, assignment = known.get(row[5], []), assignments[row[1]]
        numbers = {
            WORLD.post_number(one.post) for holder in holders for one in WORLD.placements_of_person(holder)
        }
        if len(holders) == 1 and assignment[3] == "C" and assignment[7] in numbers:
            wanted.add(FIRST_PERSON + holders[0])
        else:
            alone.add(int(row[1]))
    assert wanted == set(full.truth.fields)
    assert alone == set(full.truth.left_alone)
    assert set(full.truth.left_alone.values()) == {"unknown", "ambiguous", "no placement"}


def test_the_fields_told_are_those_of_the_lines_and_changed_those_that_tcs_has_not(full):
    contact: dict[str, dict[str, str]] = {}
    personal: dict[str, dict[str, str]] = {}
    for row in of(full, "PER"):
        contact[row[1]] = {name: row[at - 1] for at, name in PER["contact"].items() if row[at - 1]}
        personal[row[1]] = {
            name: iso(row[at - 1]) if name == "dateOfBirth" else row[at - 1]
            for at, name in PER["personal"].items()
            if row[at - 1]
        }
    for row in of(full, "ADD"):
        if row[5] == "Y":
            contact[row[1]] |= {name: row[at - 1] for at, name in ADDRESS.items() if row[at - 1]}
    for row in of(full, "PBD"):
        (index, *others) = people_by_number().get(row[5], [-1])
        key = FIRST_PERSON + index
        if others or key not in full.truth.fields:
            continue
        assert full.truth.fields[key] == {"contact": contact[row[1]], "personal": personal[row[1]]}
        known = WORLD.contact(index)
        changed = {name: value for name, value in contact[row[1]].items() if known[name] != value}
        assert full.truth.changed[key]["contact"] == changed


def test_a_second_address_is_no_concern_of_tcs(full):
    assert [row for row in of(full, "ADD") if row[5] == "N"]
    assert all(given["contact"].get("postCode") != "CT9 1AA" for given in full.truth.fields.values())


def test_absences_told_are_those_of_people_to_update(full):
    told = {}
    people = {row[1]: people_by_number().get(row[5], []) for row in of(full, "PBD")}
    for row in of(full, "ABS"):
        keys = [FIRST_PERSON + index for index in people[row[1]]]
        if len(keys) == 1 and keys[0] in full.truth.fields:
            told[row[7]] = {
                "personId": keys[0],
                "startDate": iso(row[4]),
                "endDate": iso(row[5]),
                "durationInDays": int(row[6]),
            }
    assert told == full.truth.absences
    assert told


def test_the_same_arguments_make_the_same_file(full):
    assert rmf("KSS", DAY, 17, world=WORLD) == full
    assert rmf("KSS", DAY, 17, world=World(seed=8, people=1_300)).body != full.body


def test_the_days_changes_lead_from_one_full_file_to_the_next():
    before = rmf("KSS", DAY, 17, world=WORLD)
    changes = rmc("KSS", date(2026, 3, 5), 18, world=WORLD)
    after = rmf("KSS", date(2026, 3, 5), 18, world=WORLD)
    old, new = ({row[1]: row for row in of(made, "POS")} for made in (before, after))
    assert {row[1] for row in of(changes, "POS")} >= {key for key in new if new[key][3:] != old[key][3:]}
    assert before.truth.lines / 40 < changes.truth.lines < before.truth.lines / 4
    merged = {**before.truth.matched, **changes.truth.matched}
    gone = changes.truth.deleted | changes.truth.unmatched
    assert {key: post for key, post in merged.items() if key not in gone} == after.truth.matched
    final = final_fields([before.truth, changes.truth])
    assert {key: final[key] for key in after.truth.fields} == after.truth.fields


def test_over_some_days_positions_move_and_are_deleted_and_come_back():
    days = [date(2026, 3, n) for n in range(1, 25)]
    world = World(people=13_000)
    truths = [rmf("KSS", days[0], 1, world=world).truth]
    truths += [rmc("KSS", day, n, world=world).truth for n, day in enumerate(days[1:], 2)]
    by_position: dict[int, list[tuple[int, str]]] = {}
    for post, events in post_events(truths).items():
        for position, status in events:
            by_position.setdefault(position, []).append((post, status))
    kinds = Counter(tuple(sorted(status for _, status in events)) for events in by_position.values())
    assert kinds["RECONCILED",] > 900
    assert kinds["DELETED", "RECONCILED"]
    assert kinds["DELETED", "RECONCILED", "RECONCILED"]
    assert any(len({post for post, _ in events}) == 2 for events in by_position.values())


@pytest.mark.parametrize("lines", [100, 101, 102, 103, 104, 105])
def test_a_file_has_exactly_the_lines_asked_for(lines):
    made = rmf("SEV", DAY, 1, world=WORLD, lines=lines)
    assert made.truth.lines == made.body.count(b"\n") == lines
    assert sum(made.truth.records.values()) == lines - 2 == sum(len(row) > 0 for row in rows(made))


def test_a_file_may_tell_of_more_posts_than_tcs_has():
    made = rmf("SEV", DAY, 1, world=WORLD, lines=2_000)
    assert len(made.truth.matched) <= 100 + 20
    assert len(made.truth.unmatched) > 100


def test_a_large_file_is_written_as_it_is_made(tmp_path):
    name = write_rmf(tmp_path, "KSS", DAY, 17, world=WORLD, lines=3_000)
    assert (tmp_path / name).read_bytes() == rmf("KSS", DAY, 17, world=WORLD, lines=3_000).body


def test_all_deaneries_share_the_posts_among_them():
    seen: Counter[int] = Counter()
    for deanery in words.DEANERIES:
        seen.update(set(rmf(deanery, date(2026, 1, 1), 1, world=WORLD).truth.matched.values()))
    assert set(seen.values()) == {1}
    assert len(seen) > 0.9 * WORLD.people


SPOILED = {
    Dirt.BAD_QUOTES: lambda line: line.count('"') % 2 == 1,
    Dirt.STRAY_QUOTE: lambda line: '"Specialty "Registrar" grade"' in line,
    Dirt.EMBEDDED_NEWLINE: lambda line: line.count('"') % 2 == 1,
    Dirt.NUL_BYTE: lambda line: "\0" in line,
    Dirt.LONG_LINE: lambda line: len(line) > LONG_LINE_BYTES,
    Dirt.UNKNOWN_RECORD: lambda line: line.startswith("XYZ,"),
    Dirt.TOO_FEW: lambda line: len(next(csv.reader([line]))) == 13,
    Dirt.TOO_MANY: lambda line: len(next(csv.reader([line]))) == 17,
    Dirt.BAD_INDICATOR: lambda line: next(csv.reader([line]))[3] not in {"C", "D"},
    Dirt.BAD_ID: lambda line: not next(csv.reader([line]))[1].isdecimal(),
    Dirt.MISSING_ID: lambda line: not next(csv.reader([line]))[1],
    Dirt.BAD_DATE: lambda line: next(csv.reader([line]))[2] == "20260231",
    Dirt.DUPLICATE_POSITION: lambda line: line.startswith("POS,2"),
    Dirt.LONG_NUMBER: lambda line: len(next(csv.reader([line]))[9]) > 30,
    Dirt.BLANK_LINE: lambda line: not line,
}


@pytest.mark.parametrize("dirt", sorted(LINES))
def test_dirt_of_a_line_is_that_line_and_no_other(dirt):
    clean, made = (rmf("KSS", DAY, 17, world=WORLD, posts=20, dirt=some) for some in ((), {dirt: 3}))
    lines = made.body.decode().split("\n")[:-1]
    bad = {entry.line for entry in made.truth.bad}
    assert len(bad) == (6 if dirt is Dirt.EMBEDDED_NEWLINE else 3)
    assert all(SPOILED[dirt](lines[number - 1]) for number in bad)
    good = [line for number, line in enumerate(lines, 1) if number not in bad]
    assert good[:-1] == clean.body.decode().split("\n")[:-2]
    assert lines[-1] == f"FTR,{len(lines) - 2}"
    assert made.truth.records == clean.truth.records
    assert made.truth.matched == clean.truth.matched
    assert made.truth.rejected is None


def test_a_duplicate_position_comes_after_the_one_it_repeats_and_says_something_else():
    made = rmf("KSS", DAY, 17, world=WORLD, posts=20, dirt=[Dirt.DUPLICATE_POSITION])
    lines = made.body.decode().split("\n")
    (bad,) = made.truth.bad
    repeated = next(csv.reader([lines[bad.line - 1]]))
    firsts = [row for row in csv.reader(lines[1 : bad.line - 1]) if row[:2] == repeated[:2]]
    assert [row[3] for row in firsts] == ["C" if repeated[3] == "D" else "D"]


@pytest.mark.parametrize("dirt", sorted(CONDEMNS))
def test_a_condemned_file_tells_tcs_nothing(dirt):
    truth = rmf("KSS", DAY, 17, world=WORLD, dirt=[dirt]).truth
    assert truth.rejected == CONDEMNS[dirt]
    assert not truth.matched
    assert not truth.fields
    assert not truth.absences


def whole(dirt: Dirt) -> bytes:
    return rmf("KSS", DAY, 17, world=WORLD, dirt=[dirt]).body


def test_dirt_of_the_frame(full):
    header, *data, footer = full.body.splitlines(keepends=True)
    assert whole(Dirt.MISSING_HEADER) == b"".join([*data, footer])
    assert whole(Dirt.WRONG_HEADER) == full.body.replace(b"KSS_RMF", b"KSS_RMC", 1)
    assert whole(Dirt.MISSING_FOOTER) == b"".join([header, *data])
    assert whole(Dirt.WRONG_FOOTER).splitlines()[-1] not in {footer.strip(), b""}
    assert whole(Dirt.HEADER_ONLY) == header
    assert whole(Dirt.NO_RECORDS) == header + b"FTR,0\n"
    assert whole(Dirt.EMPTY) == b""
    cut = whole(Dirt.TRUNCATED)
    assert full.body.startswith(cut)
    assert not cut.endswith(b"\n")


def test_dirt_of_the_bytes(full):
    assert whole(Dirt.CRLF) == full.body.replace(b"\n", b"\r\n")
    windows = whole(Dirt.CP1252)
    assert windows.decode("cp1252") == full.body.decode()
    with pytest.raises(UnicodeDecodeError):
        windows.decode()
    for charset in ("utf-8", "cp1252"):
        with pytest.raises(UnicodeDecodeError):
            whole(Dirt.UNDECODABLE).decode(charset)
    bomb = whole(Dirt.GZIP_BOMB)
    assert len(bomb) < 100_000
    assert len(gzip.decompress(bomb)) > 60_000_000
