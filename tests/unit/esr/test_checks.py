"""The gate of a whole file: what condemns it and what does not."""

from __future__ import annotations

import re
from typing import Any

import pytest

from include.esr.checks import PastFile, require_frame, require_history, require_types
from include.esr.errors import FileRejectedError
from include.esr.names import FileName
from include.esr.tally import Tally, TypeTally

RMF = FileName.parse("DE_KSS_RMF_20260304_00000017.DAT")
RMC = FileName.parse("DE_KSS_RMC_20260304_00000017.DAT")


def whole(name: FileName = RMF, lines: int = 1_000, **changes: Any) -> Tally:
    """Return the tally of a file that is in order, with changes."""
    header = {"stem": name.stem, "day": name.day.isoformat(), "deanery": "KSS", "sequence": name.sequence}
    filled = {"position_number": lines, "deanery_number": lines}
    tally = Tally(header, lines, lines, {"POS": TypeTally(lines, 0, 0, filled)}, {})
    for field, value in changes.items():
        setattr(tally, field, value)
    return tally


def code_of(check: Any, *arguments: Any) -> str:
    with pytest.raises(FileRejectedError) as caught:
        check(*arguments)
    assert re.search("nothing of it was applied", str(caught.value))
    return caught.value.code


def test_a_file_in_order_passes():
    require_frame(RMF, whole())
    require_types(RMF, whole())
    require_history(RMF, whole(), 0.02, [PastFile(1_000, 0.0, 0.02)] * 3)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"header": None}, "missing_header"),
        ({"footer": None}, "missing_footer"),
        ({"footer": 999}, "footer_count"),
        ({"footer": 1_001}, "footer_count"),
        ({"codes": {"bad_integer": 501}}, "mostly_bad_lines"),
        ({"header": None, "footer": None, "data_lines": 0}, "empty_file"),
    ],
)
def test_a_broken_frame_condemns_the_file(changes: dict[str, Any], code: str):
    assert code_of(require_frame, RMF, whole(**changes)) == code


@pytest.mark.parametrize(
    "header",
    [
        {"stem": "DE_LDN_RMF_20260304_00000017", "deanery": "KSS", "sequence": 17},
        {"stem": "DE_KSS_RMC_20260304_00000017", "deanery": "KSS", "sequence": 17},
        {"stem": "DE_KSS_RMF_20260305_00000017", "deanery": "KSS", "sequence": 17},
        {"stem": RMF.stem, "deanery": "LDN", "sequence": 17},
        {"stem": RMF.stem, "deanery": "KSS", "sequence": 18},
    ],
)
def test_a_header_that_names_another_file_condemns_it(header: dict[str, Any]):
    assert code_of(require_frame, RMF, whole(header={"day": "2026-03-04"} | header)) == "header_mismatch"


def test_a_header_may_give_the_sequence_with_seven_digits():
    header = {"stem": "DE_KSS_RMF_20260304_0000017", "day": "2026-03-04", "deanery": "KSS", "sequence": 17}
    require_frame(RMF, whole(header=header))


def test_a_full_file_without_records_is_condemned_and_a_day_without_changes_is_not():
    assert code_of(require_frame, RMF, whole(footer=0, data_lines=0)) == "no_records"
    require_frame(RMC, whole(RMC, footer=0, data_lines=0))


def test_a_record_broken_in_two_by_a_newline_does_not_condemn_the_file():
    require_frame(RMF, whole(footer=1_000, data_lines=1_001, uncounted=1))


def test_half_of_a_types_lines_may_be_bad_and_no_more():
    require_types(
        RMF, Tally(types={"POR": TypeTally(50, 50, 0, {"position_number": 50, "deanery_number": 50})})
    )
    assert code_of(require_types, RMF, Tally(types={"POR": TypeTally(49, 51)})) == "mostly_bad_lines"


def test_a_column_that_is_suddenly_empty_condemns_the_file():
    moved = TypeTally(1_000, 0, 0, {"position_number": 400, "deanery_number": 1_000})
    assert code_of(require_types, RMF, Tally(types={"POS": moved})) == "column_empty"


def test_a_handful_of_lines_says_nothing():
    require_types(RMF, Tally(types={"POS": TypeTally(1, 18)}))
    require_frame(RMF, whole(lines=19, codes={"bad_integer": 19}))


PAST = [PastFile(1_000, 0.01, 0.02)] * 3


@pytest.mark.parametrize(
    ("lines", "deleted", "unmatched", "code"),
    [
        (499, 0, 0.02, "unusual_volume"),
        (2_001, 0, 0.02, "unusual_volume"),
        (1_000, 211, 0.02, "unusual_deletes"),
        (1_000, 0, 0.23, "unusual_unmatched"),
    ],
)
def test_a_full_file_unlike_the_last_ones_is_condemned(lines: int, deleted: int, unmatched: float, code: str):
    tally = whole(lines=lines)
    tally.types["POS"].deleted = deleted
    assert code_of(require_history, RMF, tally, unmatched, PAST) == code


def test_a_day_of_few_changes_is_not_judged_by_its_volume():
    require_history(RMC, whole(RMC, lines=300), 0.02, PAST)


@pytest.mark.parametrize("past", [[], PAST[:2]])
def test_the_first_files_of_a_deanery_have_no_history_to_be_judged_by(past: list[PastFile]):
    require_history(RMF, whole(lines=300), 0.9, past)
