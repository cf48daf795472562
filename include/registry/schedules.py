"""From a row's schedule to a five-field cron expression, presets spread over the hour and day."""

from __future__ import annotations

import hashlib
import re
from datetime import UTC, datetime

PRESETS = {
    "@hourly": "{minute} * * * *",
    "@daily": "{minute} {hour} * * *",
    "@weekly": "{minute} {hour} * * 0",
    "@monthly": "{minute} {hour} 1 * *",
}
CRON_FIELDS = 5
_HASHED = re.compile(r"(?<![A-Z])[HR](?![A-Z])", re.IGNORECASE)


def cron_expression(npo_id: str, schedule: str) -> str:
    """Return the cron expression of a row's schedule.

    A preset gets its minute (and, from daily up, its hour) from a stable hash of ``npo_id``:
    a thousand hourly integrations do not all start on the hour. An expression stays as written.

    Raises:
        ValueError: Neither a preset nor a cron expression that ever comes due.
    """
    template = PRESETS.get(schedule)
    if template is None:
        return _checked(schedule)
    spread = int.from_bytes(hashlib.sha256(npo_id.encode()).digest()[:8])
    return template.format(minute=spread % 60, hour=spread // 60 % 24)


def _checked(expression: str) -> str:
    from croniter import CroniterError, croniter  # type: ignore[import-untyped]

    if len(expression.split()) != CRON_FIELDS or _HASHED.search(expression):
        # A sixth field is seconds; H and R are croniter's own, R even random at each parse.
        raise ValueError(f"{expression!r} is neither one of {', '.join(PRESETS)} nor a five-field cron")
    try:
        croniter(expression, datetime(2024, 1, 1, tzinfo=UTC)).get_next()
    except CroniterError as error:  # 30 February is well-formed and stops the scheduler later on
        raise ValueError(f"{expression!r} is no cron expression that comes due: {error}") from error
    return expression
