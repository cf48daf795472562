"""The failure taxonomy: six ways a pipeline can fail, each deciding what happens next.

The class decides, never the text: Airflow's retry policy (``dags/``) and the stages look only at
the type. A message names what failed, for whom, what was kept and what to do next, and holds no
personal data and no secret.
"""

from __future__ import annotations


class IntegrationError(Exception):
    """Base of the taxonomy.

    Args:
        message: One line the person on call can act on.
        subject: The NPO or file it happened to (``hopeworks``, ``DE_KSS_RMF_20260101_00000001.DAT``).
        stage: The stage that failed (``extract``, ``land_raw`` ...).
    """

    def __init__(self, message: str, *, subject: str = "", stage: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.subject = subject
        self.stage = stage

    def __str__(self) -> str:
        """Return ``subject/stage: message``, leaving out what is not known."""
        where = "/".join(part for part in (self.subject, self.stage) if part)
        return f"{where}: {self.message}" if where else self.message

    def located(self, *, subject: str = "", stage: str = "") -> IntegrationError:
        """Return the same error with subject and stage filled in where they were empty."""
        self.subject = self.subject or subject
        self.stage = self.stage or stage
        return self


class TransientError(IntegrationError):
    """The other side is unwell (time-out, reset, 5xx): try again with back-off."""


class RateLimitedError(TransientError):
    """The other side asks us to slow down: try again when told.

    Args:
        retry_after: Seconds to wait, as told by the partner; ``None`` when it did not say.
    """

    def __init__(
        self, message: str, *, retry_after: float | None = None, subject: str = "", stage: str = ""
    ) -> None:
        super().__init__(message, subject=subject, stage=stage)
        self.retry_after = retry_after


class NotYetError(TransientError):
    """What this needs is not there yet (a file's predecessor, a service that is down): wait, use up no try.

    Args:
        retry_after: Seconds until looking again makes sense.
    """

    def __init__(self, message: str, *, retry_after: float, subject: str = "", stage: str = "") -> None:
        super().__init__(message, subject=subject, stage=stage)
        self.retry_after = retry_after


class ConfigurationError(IntegrationError):
    """Set-up is wrong (credential refused, unknown path, bad manifest): do not retry, alert the owner.

    Args:
        pauses: Whether the partner refused the set-up, so that asking again before a person has looked
            would only annoy: the integration is then paused.
    """

    def __init__(self, message: str, *, pauses: bool = False, subject: str = "", stage: str = "") -> None:
        super().__init__(message, subject=subject, stage=stage)
        self.pauses = pauses


class DataQualityError(IntegrationError):
    """A batch as a whole cannot be trusted: do not retry, keep the evidence, publish nothing of it."""


class RecordError(IntegrationError):
    """One record is bad: it goes to quarantine with this reason, the others go on.

    Args:
        code: Short stable reason (``missing_id``, ``duplicate_id``, ``bad_datetime`` ...) to count by.
    """

    def __init__(self, message: str, *, code: str, subject: str = "", stage: str = "") -> None:
        super().__init__(message, subject=subject, stage=stage)
        self.code = code


class FatalError(IntegrationError):
    """A broken invariant of our own: do not retry, a developer must look."""
