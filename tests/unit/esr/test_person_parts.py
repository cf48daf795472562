"""A person's parts: the newest line counts, whatever comes in which order."""

from __future__ import annotations

from datetime import date
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from include.esr import records
from include.esr.people.mapping import composite_of
from include.esr.people.parts import MAX_ENTRIES, Parts
from include.esr.people.saving import lines_of_people, touched_ids
from tests.unit.esr.person_tables import source, tables_of


def follow(kept, source, tables):
    """Apply one slice to the kept parts of people."""
    for person_id, lines in lines_of_people(source, tables).items():
        parts = Parts.from_dict(kept.get(person_id, {}))
        for code, stamp, row in lines:
            parts.take(code, stamp, row)
        kept[person_id] = parts.to_dict()
    return kept


def after(*files):
    kept: dict[int, dict[str, Any]] = {}
    for of, tables in files:
        follow(kept, of, tables)
    return kept


def per(**values):
    return "PER", {"person_id": 1} | values


def test_an_older_file_never_overwrites_a_newer_value():
    old, new = tables_of(per(last_name="Old")), tables_of(per(last_name="New"))
    kept = after((source(2), new), (source(1), old))
    assert composite_of(kept[1]).contact == {"legalSurname": "New"}


def test_a_file_of_an_earlier_day_is_older_whatever_its_sequence():
    old, new = tables_of(per(last_name="Old")), tables_of(per(last_name="New"))
    kept = after((source(1, day="20260305"), new), (source(9, day="20260304"), old))
    assert composite_of(kept[1]).contact == {"legalSurname": "New"}


@pytest.mark.parametrize("empty", [None, "", "  "])
def test_an_empty_value_leaves_what_was_known(empty):
    first, second = tables_of(per(last_name="Ito", title="Dr")), tables_of(per(last_name="Ito", title=empty))
    for files in ([(source(1), first), (source(2), second)], [(source(2), second), (source(1), first)]):
        assert composite_of(after(*files)[1]).contact == {"legalSurname": "Ito", "title": "Dr"}


def test_what_a_person_had_before_being_deleted_does_not_come_back():
    kept = after(
        (source(1), tables_of(per(last_name="Ito", title="Dr"))),
        (source(2), tables_of(per(indicator="D"))),
        (source(3), tables_of(per(last_name="Ito"))),
    )
    assert composite_of(kept[1]).contact == {"legalSurname": "Ito"}


def test_a_person_deleted_and_there_again_in_one_file_is_there():
    kept = after((source(1), tables_of(per(indicator="D"), per(last_name="Ito"))))
    assert composite_of(kept[1]).contact == {"legalSurname": "Ito"}


def test_only_the_primary_address_is_kept():
    kept = after(
        (
            source(1),
            tables_of(
                ("ADD", {"person_id": 1, "primary_flag": "Y", "town": "Leeds"}),
                ("ADD", {"person_id": 1, "primary_flag": "N", "town": "York"}),
                ("ADD", {"person_id": 1, "town": "Hull"}),
            ),
        )
    )
    assert composite_of(kept[1]).contact == {"address4": "Leeds"}
    assert "York" not in str(kept)


def test_lines_of_two_addresses_are_never_mixed():
    kept = after(
        (
            source(1),
            tables_of(
                ("ADD", {"person_id": 1, "primary_flag": "Y", "address1": "1 Hill", "address3": "Flat 2"})
            ),
        ),
        (source(2), tables_of(("ADD", {"person_id": 1, "primary_flag": "Y", "address1": "9 Lane"}))),
    )
    assert composite_of(kept[1]).contact == {"address1": "9 Lane"}


def test_a_deleted_secondary_address_leaves_the_primary_one():
    kept = after(
        (source(1), tables_of(("ADD", {"person_id": 1, "primary_flag": "Y", "town": "Leeds"}))),
        (source(2), tables_of(("ADD", {"person_id": 1, "primary_flag": "N", "indicator": "D"}))),
    )
    assert composite_of(kept[1]).contact == {"address4": "Leeds"}


def test_a_deleted_absence_stays_deleted_when_an_older_file_comes_late():
    absence = ("ABS", {"person_id": 1, "absence_id": 7, "absence_start": date(2026, 1, 1)})
    gone = ("ABS", {"person_id": 1, "absence_id": 7, "indicator": "D"})
    kept = after((source(2), tables_of(gone)), (source(1), tables_of(absence)))
    assert composite_of(kept[1]).absences == {}


def test_an_absence_of_an_older_file_that_comes_late_is_not_lost():
    late = tables_of(("ABS", {"person_id": 1, "absence_id": 6, "absence_duration": 2.0}))
    newer = tables_of(("ABS", {"person_id": 1, "absence_id": 7, "absence_duration": 3.0}))
    kept = after((source(2), newer), (source(1), late))
    assert set(composite_of(kept[1]).absences) == {"6", "7"}


def test_a_number_given_up_and_a_new_one_in_one_file_is_the_new_one():
    kept = after(
        (source(1), tables_of(("PBD", {"person_id": 1, "body": "GMC", "reg_number": "7000009"}))),
        (
            source(2),
            tables_of(
                ("PBD", {"person_id": 1, "body": "GMC", "reg_number": "7000009", "indicator": "D"}),
                ("PBD", {"person_id": 1, "body": "GMC", "reg_number": "7000001"}),
            ),
        ),
    )
    assert composite_of(kept[1]).registrations == {"GMC": "7000001"}


def test_a_registration_number_never_becomes_a_path_in_the_store():
    hostile = tables_of(("PBD", {"person_id": 1, "body": "GMC", "reg_number": "a.$b" + "x" * 500}))
    (key,) = after((source(1), hostile))[1]["PBD"]
    assert "." not in key
    assert "$" not in key
    assert len(key) < 50


def test_days_are_kept_as_iso_text():
    kept = after((source(1), tables_of(per(dob=date(1990, 1, 31)))))
    assert composite_of(kept[1]).personal == {"dateOfBirth": "1990-01-31"}


def test_no_file_makes_a_person_too_large_for_the_store():
    lines = [("ABS", {"person_id": 1, "absence_id": number}) for number in range(MAX_ENTRIES + 50)]
    parts = Parts()
    for code, stamp, row in lines_of_people(source(1), tables_of(*lines))[1]:
        parts.take(code, stamp, row)
    parts.bound()
    assert len(parts.absences) == MAX_ENTRIES


def test_of_two_deaneries_on_one_day_who_holds_the_value_keeps_it():
    one, other = tables_of(per(last_name="One")), tables_of(per(last_name="Other"))
    kept = after((source(17, "KSS"), one), (source(900, "NTH"), other))
    assert composite_of(kept[1]).contact == {"legalSurname": "One"}


@pytest.mark.parametrize(("deanery", "wins"), [("KSS", "Late"), ("NTH", "Early")])
def test_of_two_deaneries_the_later_day_counts_whatever_the_counters(deanery, wins):
    early, late = tables_of(per(last_name="Early")), tables_of(per(last_name="Late"))
    kept = after(
        (source(900, "NTH", day="20260305" if deanery == "NTH" else "20260303"), early),
        (source(17, "KSS", day="20260304"), late),
    )
    assert composite_of(kept[1]).contact == {"legalSurname": wins}


def test_of_two_deaneries_on_one_day_the_later_update_counts():
    one = tables_of(per(last_name="One", last_update_date=date(2026, 3, 1)))
    other = tables_of(per(last_name="Other", last_update_date=date(2026, 3, 2)))
    for files in ([("KSS", one), ("NTH", other)], [("NTH", other), ("KSS", one)]):
        kept = after(*((source(1, deanery), said) for deanery, said in files))
        assert composite_of(kept[1]).contact == {"legalSurname": "Other"}


@pytest.mark.parametrize(
    ("code", "values"),
    [
        ("PER", {"last_name": "Ito"}),
        ("ADD", {"primary_flag": "Y", "town": "Leeds"}),
        ("PBD", {"body": "GMC", "reg_number": "7000001"}),
        ("ASG", {"assignment_id": 4, "deanery_number": "KSS/1"}),
        ("ABS", {"absence_id": 7, "absence_duration": 2.0}),
    ],
)
@pytest.mark.parametrize("leaves_first", [True, False])
def test_a_d_of_a_deanery_that_does_not_hold_the_part_takes_nothing_away(code, values, leaves_first):
    said = {"person_id": 1, "last_update_date": date(2026, 3, 1)} | values
    gone = said | {"indicator": "D", "last_update_date": date(2026, 3, 5)}
    held = source(900, "NTH", day="20260304"), tables_of((code, said))
    moves = [
        (source(901, "NTH", day="20260305"), tables_of((code, gone))),
        (source(17, "KSS", day="20260305"), tables_of((code, said))),
    ]
    kept = after(held, *(moves if leaves_first else reversed(moves)))
    later = after(held, *moves, (source(902, "NTH", day="20260306"), tables_of((code, gone))))
    for parts in (kept, later):
        composite = composite_of({"PER": {"gone": False, "values": {}}} | parts[1])
        assert composite != composite_of({})


def test_who_holds_a_person_deletes_what_another_deanery_said_until_then():
    kept = after(
        (source(900, "NTH", day="20260303"), tables_of(per(last_name="Ito", title="Dr"))),
        (source(17, "KSS", day="20260304"), tables_of(per(last_name="Ito"))),
        (source(18, "KSS", day="20260305"), tables_of(per(indicator="D"))),
        (source(19, "KSS", day="20260306"), tables_of(per(last_name="Ito"))),
    )
    assert composite_of(kept[1]).contact == {"legalSurname": "Ito"}


def in_slices(tables, size):
    """Return a file's tables as they are saved: in runs of so many lines."""
    return [run for _, run in records.slices(tables, size)]


def people(name, lines):
    """Return the PER and ABS lines of a person each; the others were set aside."""
    whole = [
        line
        for number in range(10)
        for line in (
            ("PER", {"person_id": number, "last_name": name, "title": name}),
            ("ABS", {"person_id": number, "absence_id": 100 + number, "absence_duration": float(len(name))}),
        )
    ]
    return {
        code: table.filter(pc.is_in(table["line"], pa.array(list(lines), pa.int64())))
        for code, table in tables_of(*whole).items()
    }


@pytest.mark.parametrize(("first", "second"), [(20, 7), (7, 20), (5, 5), (1, 20)])
@pytest.mark.parametrize("good", [range(2, 22), range(2, 22, 3)])
def test_a_replay_in_other_slices_with_a_corrected_layout_ends_as_a_fresh_reading(first, second, good):
    """The reading that went wrong set other lines aside and read wrong values from the others."""
    kept: dict[int, dict[str, Any]] = {}
    for piece in in_slices(people("WRONG", good), first):
        follow(kept, source(1), piece)
    right = people("Right!", range(2, 22))
    for piece in in_slices(right, second):
        follow(kept, source(1), piece)
    assert kept == after((source(1), right))


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        (per(last_name="Ito", title="no title"), per(last_name="Ito")),
        (per(indicator="D"), per(last_name="Ito")),
        (per(last_name="Ito"), per(indicator="D")),
        (per(last_update_date=date(2026, 3, 1)), per(last_update_date=date(2026, 1, 3))),
        (
            ("ADD", {"person_id": 1, "primary_flag": "Y", "town": "Leeds"}),
            ("ADD", {"person_id": 1, "primary_flag": "N", "town": "Leeds"}),
        ),
        (("ABS", {"person_id": 1, "absence_id": 7}), ("ABS", {"person_id": 1, "absence_id": 8})),
        (
            ("PBD", {"person_id": 1, "body": "GMC", "reg_number": "7"}),
            ("PBD", {"person_id": 1, "body": "GDC", "reg_number": "7"}),
        ),
    ],
)
def test_a_line_read_again_takes_back_what_it_said_wrongly(wrong, right):
    kept = after((source(1), tables_of(wrong)), (source(1), tables_of(right)))
    assert kept == after((source(1), tables_of(right)))


def test_the_people_of_all_record_types_are_touched():
    tables = tables_of(per(), ("ASG", {"person_id": 2, "assignment_id": 1}), ("ADD", {"person_id": 3}))
    assert touched_ids(tables) == {1, 2, 3}


TEXT = st.sampled_from([None, "", "a", "b"])
DAYS = st.sampled_from([None, date(2026, 1, 1), date(2026, 1, 2)])
LINE = st.one_of(
    st.tuples(
        st.just("PER"),
        st.fixed_dictionaries({"last_name": TEXT, "title": TEXT, "dob": DAYS}),
    ),
    st.tuples(
        st.just("ADD"),
        st.fixed_dictionaries(
            {"primary_flag": st.sampled_from(["Y", "N", None]), "town": TEXT, "address1": TEXT}
        ),
    ),
    st.tuples(
        st.just("PBD"),
        st.fixed_dictionaries(
            {"body": st.sampled_from(["GMC", "GDC"]), "reg_number": st.sampled_from(["1", "2", None])}
        ),
    ),
    st.tuples(
        st.just("ASG"),
        st.fixed_dictionaries({"assignment_id": st.integers(1, 2), "deanery_number": TEXT}),
    ),
    st.tuples(
        st.just("ABS"),
        st.fixed_dictionaries({"absence_id": st.integers(1, 2), "absence_start": DAYS}),
    ),
)
WHO = st.fixed_dictionaries({"person_id": st.integers(1, 2), "indicator": st.sampled_from("CCCD")})


@st.composite
def histories(draw):
    """Return files as lists of slices in sequence, and an order to read them in with repetitions."""
    files = []
    for sequence in range(1, draw(st.integers(1, 4)) + 1):
        lines = [
            (code, values | who) for (code, values), who in draw(st.lists(st.tuples(LINE, WHO), max_size=8))
        ]
        cut = draw(st.integers(0, len(lines)))
        first, whole = tables_of(*lines[:cut]), tables_of(*lines)
        second = {
            code: rest
            for code, table in whole.items()
            if (rest := table.filter(pc.greater(table["line"], cut + 1))).num_rows
        }
        files.append((source(sequence), [first, second]))
    order = draw(st.permutations(range(len(files))))
    again = draw(st.lists(st.integers(0, len(files) - 1), max_size=3))
    # A reading that was killed after the first slice starts again.
    killed = draw(st.sets(st.integers(0, len(files) - 1)))
    return files, [*order, *again], killed


@given(histories())
@settings(max_examples=300, deadline=None)
def test_files_in_any_order_and_repetition_give_the_parts_of_files_in_sequence(history):
    files, order, killed = history
    expected = after(*((of, piece) for of, slices in files for piece in slices))
    kept: dict[int, dict[str, Any]] = {}
    for at in order:
        of, slices = files[at]
        for piece in [*(slices[:1] if at in killed else []), *slices]:
            follow(kept, of, piece)
    assert kept == expected


@given(histories())
@settings(max_examples=50, deadline=None)
def test_what_is_kept_is_read_back_as_it_was(history):
    files, _order, _killed = history
    for kept in after(*((of, piece) for of, slices in files for piece in slices)).values():
        assert Parts.from_dict(kept).to_dict() == kept
