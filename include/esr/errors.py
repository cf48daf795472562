"""Failures of the exchange that the taxonomy does not name."""

from __future__ import annotations

from include.errors import DataQualityError


class FileRejectedError(DataQualityError):
    """A file as a whole cannot be used: it is kept, rejected on the ledger and answered with an RTC.

    Args:
        code: Short stable reason, kept on the ledger (``bad_name``, ``missing_footer`` ...).
    """

    def __init__(self, message: str, *, code: str, subject: str = "", stage: str = "") -> None:
        super().__init__(message, subject=subject, stage=stage)
        self.code = code
