"""The quality gate of a file of ours: read again as ESR would, and judged before the first byte leaves.

What is judged is one row of facts about the file, by the suites ``esr_app``, ``esr_dnc`` (DNC and DNF) and
``esr_rtc``: a mistake of ours shows here, not in ESR's quarantine.
"""

from __future__ import annotations

import io
from collections import Counter
from typing import TYPE_CHECKING, Any

from include.errors import DataQualityError
from include.esr.formats.frame import is_named
from include.esr.formats.layout import load_format
from include.esr.formats.reader import read_chunks
from include.esr.names import FileType
from include.esr.notifications.vpd import VPD_COLUMNS, is_vpd
from include.esr.outbound import Window
from include.quality.gate import run_suite

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from include.esr.exports.ledger import Export
    from include.esr.formats.reader import Footer, Header
    from include.settings import Settings

STAGE = "check"
_SUITES = {FileType.APP: "esr_app", FileType.DNC: "esr_dnc", FileType.DNF: "esr_dnc", FileType.RTC: "esr_rtc"}
_CHUNK_BYTES, _LINE_BYTES = 2**20, 2**20

Row = dict[str, Any]


def require_sound(
    export: Export, body: bytes, records: Sequence[Mapping[str, Any]], settings: Settings
) -> None:
    """Raise unless a finished file is what it is to be.

    Args:
        export: What the ledger says of it.
        body: Its bytes.
        records: The records in the order of their lines; none of a receipt.
        settings: The window and the bounds.

    Raises:
        DataQualityError: Names every reason and what to do.
    """
    import pandas as pd

    facts = facts_of(export, body, records, settings)
    failures = run_suite(_SUITES[export.type], pd.DataFrame([facts])).batch_failures
    if not failures:
        return
    reasons = "; ".join(f"{reason.code}: {reason.message}" for reason in failures)
    raise DataQualityError(
        f"the finished file is not sound and was not sent: {reasons}. Its {export.records} records wait in "
        "it: mend the cause and run the export again, or give the file up, which makes them due again",
        subject=export.id,
        stage=STAGE,
    )


def facts_of(
    export: Export, body: bytes, records: Sequence[Mapping[str, Any]], settings: Settings
) -> dict[str, bool]:
    """Return what is so of a finished file."""
    rows, bad, header, footer = _read(export.type, body)
    return {
        "readable": bad == 0,
        "header_is_name": header is not None
        and is_named(export.name, header.stem)
        and (header.deanery, header.sequence) == (export.deanery, export.name.sequence),
        "footer_counts": footer is not None and footer.count == len(rows) + bad,
        "counts_are_the_ledgers": len(rows) == export.records,
        **_content(export, rows, records, settings),
    }


def _content(
    export: Export, rows: Sequence[Row], records: Sequence[Mapping[str, Any]], settings: Settings
) -> dict[str, bool]:
    if export.type is FileType.RTC:
        return {}
    placed = [record["ordinal"] for record in records] == list(range(1, len(records) + 1))
    if export.type is FileType.APP:
        of_post = Counter(row["deanery_number"] for row in rows)
        return {
            "same_records": placed and _same(rows, "position_id", [each["position_id"] for each in records]),
            "in_window": _in_window(export, rows, records, settings),
            "few_of_a_post": max(of_post.values(), default=0) <= settings.esr_applicants_of_a_post,
        }
    numbers = [each["post_number"].strip() for each in records]  # as its column is
    return {
        "same_records": placed and _same(rows, "deanery_post_number", numbers),
        "vpds_have_three_digits": all(
            row[name] is None or is_vpd(row[name]) for row in rows for name in VPD_COLUMNS
        ),
    }


def _same(rows: Sequence[Row], column: str, wanted: Sequence[object]) -> bool:
    found = [row[column].strip() if isinstance(row[column], str) else row[column] for row in rows]
    return found == list(wanted)


def _in_window(
    export: Export, rows: Sequence[Row], records: Sequence[Mapping[str, Any]], settings: Settings
) -> bool:
    """Tell whether every placement starts in the window of the file's day, or a person sends it late."""
    window = Window.on(export.day, settings)
    late = {record["ordinal"] for record in records if record.get("resends")}
    return all(
        row["effective_date"] <= window.last and (row["effective_date"] >= window.first or ordinal in late)
        for ordinal, row in enumerate(rows, start=1)
    )


def _read(file_type: FileType, body: bytes) -> tuple[list[Row], int, Header | None, Footer | None]:
    """Return the good lines in order, how many are bad, and the frame."""
    rows: list[Row] = []
    bad, header, footer = 0, None, None
    chunks = read_chunks(
        io.BytesIO(body),
        load_format(file_type),
        encoding="utf-8",
        chunk_bytes=_CHUNK_BYTES,
        max_line_bytes=_LINE_BYTES,
    )
    for chunk in chunks:
        rows += (row for table in chunk.tables.values() for row in table.to_pylist())
        bad += len(chunk.bad)
        header, footer = header or chunk.header, footer or chunk.footer
    rows.sort(key=lambda row: row["line"])
    return rows, bad, header, footer
