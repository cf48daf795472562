"""Tables of people as the reader gives them, written down line by line."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from include.esr.documents import Source
from include.esr.people.parts import COLUMNS

TYPES = {
    "line": pa.int64(),
    "person_id": pa.int64(),
    "assignment_id": pa.int64(),
    "position_id": pa.int64(),
    "absence_id": pa.int64(),
    "dob": pa.date32(),
    "last_update_date": pa.date32(),
    "absence_start": pa.date32(),
    "absence_end": pa.date32(),
    "absence_duration": pa.float64(),
}


def source(sequence, deanery="NTH", day="20260304"):
    """Return a file of a deanery, by its sequence."""
    return Source.of(f"DE_{deanery}_RMC_{day}_{sequence:08d}.DAT#1")


def tables_of(*lines):
    """Return tables by record type; a line's number is its place in the file."""
    by_code: dict[str, list[dict[str, Any]]] = {}
    for number, (code, values) in enumerate(lines, start=2):
        by_code.setdefault(code, []).append({"indicator": "C"} | values | {"line": number})
    tables = {}
    for code, rows in by_code.items():
        names = ("line", "person_id", "last_update_date", "indicator", *COLUMNS[code])
        tables[code] = pa.table(
            {
                name: pa.array([row.get(name) for row in rows], type=TYPES.get(name, pa.string()))
                for name in names
            }
        )
    return tables
