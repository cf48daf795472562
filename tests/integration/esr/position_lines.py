"""POS and POR lines as the reader gives them, and saving them as a file's slice does."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import pyarrow as pa

from include.esr.documents import Source
from include.esr.positions.merging import plan_positions
from include.storage.mongo import IntegrationStore

NOW = datetime(2026, 3, 4, 14, 30, tzinfo=UTC)
NUMBER = "KSS/RXC01/800/GPST/003"
COLUMNS = {
    "POS": (
        *("position_number", "position_title", "occupation_code", "area_of_work", "second_speciality"),
        *("deanery_number", "managing_office", "ods_code", "grade_trust", "grade_payscale", "grade_desc"),
        "workplace_org",
    ),
    "POR": (
        *("position_number", "position_title", "deanery_number", "managing_office", "host_lead_indicator"),
        *("ods_code", "employing_org_vpd_code", "esr_organisation", "esr_location"),
    ),
}


def source(sequence: int = 17, *, deanery: str = "KSS", version: int = 1, day: int | None = None) -> Source:
    """Return a file; a higher sequence is a later day."""
    return Source.of(f"DE_{deanery}_RMC_202603{day or sequence:02d}_{sequence:08d}.DAT#{version}")


def line(position_id: int = 7, **said: Any) -> dict[str, Any]:
    """Return a line's values: a position that is there, unless ``said`` otherwise."""
    return {
        "position_id": position_id,
        "last_update_date": date(2026, 3, 1),
        "indicator": "C",
        "position_number": f"3461{position_id}",
        "deanery_number": NUMBER,
    } | said


def table(code: str, lines: list[dict[str, Any]]) -> pa.Table:
    """Return lines of one record type as the reader's table."""
    text = {name: pa.array([each.get(name) for each in lines], pa.string()) for name in COLUMNS[code]}
    return pa.table(
        {
            "line": pa.array(range(2, len(lines) + 2), pa.int64()),
            "position_id": pa.array([each["position_id"] for each in lines], pa.int64()),
            "last_update_date": pa.array([each["last_update_date"] for each in lines], pa.date32()),
            "indicator": pa.array([each["indicator"] for each in lines], pa.string()),
            **text,
        }
    )


def save(
    store: IntegrationStore,
    file: Source,
    pos: list[dict[str, Any]] | None = None,
    por: list[dict[str, Any]] | None = None,
) -> dict[str, int]:
    """Apply a slice and return its counts."""
    tables = {code: table(code, lines) for code, lines in (("POS", pos), ("POR", por)) if lines}
    return store.commit_plan(file.owner, lambda: plan_positions(store, file, tables, at=NOW))
