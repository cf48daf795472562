"""The quality gate: runs one Great Expectations suite over one batch and says what it means.

Suites are plain GX JSON in ``suites/``. Each expectation says in its ``meta`` what a failure does:

    ``scope``  ``row``: the rows that fail go to quarantine; ``batch``: the batch is refused.
    ``min_rows`` with scope ``batch``: a share of fewer rows says nothing, the rows are judged one by one.
    ``code``   short stable reason to count by.
    ``message`` what a data engineer reads.

``import great_expectations`` costs seconds: only this module does it, inside functions.
"""

from __future__ import annotations

import json
import logging
import os
import threading
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from include.errors import DataQualityError, FatalError

if TYPE_CHECKING:
    import pandas as pd

# Great Expectations keeps the batch it looks at in the data source: two threads would mix theirs up.
_ONE_AT_A_TIME = threading.Lock()

SUITES = Path(__file__).parent / "suites"


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a record was set aside: a code to count by and a sentence to read, no values."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class GateResult:
    """What a suite found.

    Attributes:
        suite: Name of the suite.
        rows: Rows looked at.
        row_failures: Reasons by row position (0-based).
        batch_failures: Reasons why the batch as a whole cannot be trusted.
    """

    suite: str
    rows: int
    row_failures: dict[int, tuple[Reason, ...]]
    batch_failures: tuple[Reason, ...]

    def require_batch(self, *, subject: str, stage: str) -> None:
        """Raise if the batch as a whole was refused.

        Raises:
            DataQualityError: Names the suite and every failed batch expectation.
        """
        if self.batch_failures:
            reasons = "; ".join(f"{reason.code}: {reason.message}" for reason in self.batch_failures)
            raise DataQualityError(
                f"suite '{self.suite}' refused a batch of {self.rows} records: {reasons}. What was fetched "
                "is kept in the landing zone, nothing of this batch was committed or published",
                subject=subject,
                stage=stage,
            )


def run_suite(name: str, frame: pd.DataFrame) -> GateResult:
    """Validate ``frame`` with suite ``name``.

    Args:
        name: A file of ``suites/`` without its extension.
        frame: One row a record; its index is ignored.

    Raises:
        FatalError: An expectation could not be evaluated (a column the suite names is missing).
    """
    if frame.empty:
        return GateResult(name, 0, {}, ())
    with _ONE_AT_A_TIME:
        definition = _batch_definition(name)
        batch = definition.get_batch(batch_parameters={"dataframe": frame.reset_index(drop=True)})
        # Which rows fail is asked of the expectations that do fail: for all of them it costs twice as much.
        told = batch.validate(_suite(name), result_format="BOOLEAN_ONLY").results
        failed = tuple(sorted(_code(result) for result in told if not result.success))
        results = batch.validate(_suite(name, failed), result_format="COMPLETE").results if failed else ()
    rows: dict[int, list[Reason]] = {}
    batch_failures: list[Reason] = []
    for result in results:
        if result.success:
            continue  # it shares its code with one that failed
        _require_evaluated(name, result)
        reason, scope, min_rows = _reason(result.expectation_config)
        if scope == "batch":
            if len(frame) >= min_rows:
                batch_failures.append(reason)
        else:
            for position in result.result["unexpected_index_list"]:
                rows.setdefault(int(position), []).append(reason)
    return GateResult(
        name, len(frame), {at: tuple(reasons) for at, reasons in sorted(rows.items())}, tuple(batch_failures)
    )


def _require_evaluated(name: str, result: Any) -> None:
    failed = result.exception_info
    details = (
        [failed]
        if "raised_exception" in failed
        else [entry for entry in failed.values() if isinstance(entry, dict)]
    )
    for entry in details:
        if entry.get("raised_exception"):
            raise FatalError(
                f"suite '{name}': {result.expectation_config.type} could not be evaluated: "
                f"{str(entry.get('exception_message')).splitlines()[0][:200]}"
            )


def _code(result: Any) -> str:
    return str(result.expectation_config.meta["code"])


def _reason(config: Any) -> tuple[Reason, str, int]:
    meta = config.meta or {}
    return Reason(str(meta["code"]), str(meta["message"])), str(meta["scope"]), int(meta.get("min_rows", 1))


@lru_cache(maxsize=1)
def _context() -> Any:
    # Neither may call home, and a progress bar a batch would fill the task's log.
    os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
    # It tells a dozen lines at start about itself; a task's log is for what the task did.
    logging.getLogger("great_expectations").setLevel(logging.WARNING)
    import great_expectations as gx
    from great_expectations.data_context.types.base import ProgressBarsConfig

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    return context


@lru_cache(maxsize=32)
def _batch_definition(name: str) -> Any:
    source = _context().data_sources.add_pandas(f"batch of {name}")
    return source.add_dataframe_asset(name).add_batch_definition_whole_dataframe("whole")


@lru_cache(maxsize=128)
def _suite(name: str, codes: tuple[str, ...] | None = None) -> Any:
    """Return a suite, or the part of it whose expectations have these codes."""
    import great_expectations as gx

    definition = json.loads((SUITES / f"{name}.json").read_text("utf-8"))
    if codes is not None:
        wanted = [one for one in definition["expectations"] if one["meta"]["code"] in codes]
        definition["expectations"] = wanted
    _context()
    return gx.ExpectationSuite(**definition)
