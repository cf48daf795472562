"""Alarm clocks of the triggerer: each looks at something for ever, and an asset's event wakes a DAG."""

from __future__ import annotations

import asyncio
import logging
from abc import abstractmethod
from typing import TYPE_CHECKING, Any

from airflow.triggers.base import BaseEventTrigger, TriggerEvent

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

log = logging.getLogger(__name__)

LONGEST_WAIT = 60.0


class Alarm(BaseEventTrigger):
    """Fires when a look says so. A lost or doubled alarm costs time only: the run finds out what to do.

    Args:
        every: Seconds between two looks.
    """

    def __init__(self, every: float) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.every = every

    @abstractmethod
    def look(self) -> dict[str, Any] | None:
        """Return what an alarm tells, ``None`` for no alarm. Runs in a thread, never two at once."""

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Look for ever; what does not answer is looked at less and less often."""
        wait = self.every
        while True:
            told = None
            try:
                told = await asyncio.to_thread(self.look)
                wait = self.every
            except Exception as error:  # noqa: BLE001 - an alarm clock that dies is missed by nobody
                wait = min(wait * 2, LONGEST_WAIT)
                log.warning(
                    "%s: %s; looked at again in %.0f s", type(self).__name__, type(error).__name__, wait
                )
            if told is not None:
                yield TriggerEvent(told)  # type: ignore[no-untyped-call]
            await asyncio.sleep(wait)
