"""Tells of files a person should know of: one structured log line each, ready for any log-based alert."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from include.esr.files.entry import Entry


def tell(entry: Entry, *, since: datetime) -> None:
    """Write ``esr_file_rejected`` and ``esr_file_alert`` for what came onto the ledger from ``since`` on.

    Lines hold the file's name, a code and its sentence, nothing of what is in the file.
    """
    log = structlog.get_logger("spotlight.alerts")
    rejected_at = entry.states.get("rejected")
    if entry.reason is not None and rejected_at is not None and rejected_at >= since:
        log.error(
            "esr_file_rejected", file=entry.file_id, code=entry.reason.code, message=entry.reason.message
        )
    for alert in entry.alerts:
        if alert.at >= since:
            log.warning("esr_file_alert", file=entry.file_id, code=alert.code, message=alert.message)


def tell_failed(files: Sequence[tuple[str, str]]) -> None:
    """Write ``esr_file_failed`` for each file on the SFTP server that could not be taken or put away.

    Args:
        files: Name, as the partner has it, and what failed.
    """
    log = structlog.get_logger("spotlight.alerts")
    for name, message in files:
        # The partner's text: nothing in it may look like the end of a line or colour a terminal.
        log.error("esr_file_failed", file=ascii(name)[1:-1], message=message)
