"""The gate: which rows a suite refuses and whether it refuses the batch, with the reasons."""

from __future__ import annotations

import pandas as pd
import pytest

from include.errors import DataQualityError, FatalError
from include.quality.gate import run_suite

SUITE = "npo_canonical_assignments"


def frame(rows=30, **columns):
    given = {
        "entity_id": [f"e{row}" for row in range(rows)],
        "status_known": [True] * rows,
        "percent": [50.0] * rows,
        "started_at": [1.0] * rows,
        "completed_at": [2.0] * rows,
    }
    return pd.DataFrame(given | columns)


def test_a_clean_batch_has_no_reasons():
    result = run_suite(SUITE, frame())
    assert (result.rows, result.row_failures, result.batch_failures) == (30, {}, ())


def test_each_refused_row_is_named_by_its_place_with_every_reason():
    percent, completed = [50.0] * 30, [2.0] * 30
    percent[3] = percent[7] = 101.0
    completed[7] = 0.5
    result = run_suite(SUITE, frame(percent=percent, completed_at=completed))
    codes = {at: sorted(reason.code for reason in why) for at, why in result.row_failures.items()}
    assert codes == {3: ["percent_out_of_range"], 7: ["completed_before_start", "percent_out_of_range"]}
    assert result.batch_failures == ()


def test_a_batch_and_its_rows_can_be_refused_at_once():
    percent = [50.0] * 29 + [-1.0]
    result = run_suite(SUITE, frame(status_known=[False] * 30, percent=percent))
    assert [reason.code for reason in result.batch_failures] == ["statuses_unknown"]
    assert list(result.row_failures) == [29]
    with pytest.raises(DataQualityError, match="statuses_unknown"):
        result.require_batch(subject="x", stage="transform")


@pytest.mark.parametrize(("rows", "refused"), [(19, False), (20, True)])
def test_a_batch_is_refused_for_a_share_only_from_its_least_number_of_rows_on(rows, refused):
    result = run_suite(SUITE, frame(rows, status_known=[False] * rows))
    assert bool(result.batch_failures) is refused


def test_of_expectations_that_share_a_code_only_the_one_that_fails_is_told():
    shares = {"bad_share": [0.0], "filled_position_number": [0.9], "filled_deanery_number": [0.1]}
    (reason,) = run_suite("esr_pos", pd.DataFrame(shares)).batch_failures
    assert reason.code == "column_empty"
    assert "deanery_number" in reason.message


def test_an_expectation_without_its_column_is_our_fault():
    with pytest.raises(FatalError, match="could not be evaluated"):
        run_suite(SUITE, frame().drop(columns=["percent"]))


def test_no_rows_are_not_looked_at():
    assert run_suite(SUITE, frame(0)).rows == 0
