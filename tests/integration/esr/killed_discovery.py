"""One look at the SFTP server that kills its own process right after a named side effect."""

from __future__ import annotations

import os
import signal
import sys
from datetime import UTC, datetime
from typing import Any

from include.esr.context import EsrContext
from include.esr.files import discovery, ledger
from include.esr.files.sftp import EsrFolder
from include.settings import Settings
from include.storage.gzip_streams import Compressed
from include.storage.landing import LandingZone
from include.storage.mongo import IntegrationStore

SIDE_EFFECTS: dict[str, tuple[Any, str]] = {
    "sighting": (discovery, "has_settled"),
    "fetch": (EsrFolder, "fetch"),
    "half of the object": (Compressed, "readinto"),
    "object": (LandingZone, "put_file"),
    "ledger": (discovery, "admit"),
    "move": (EsrFolder, "move"),
    "note of the move": (ledger, "note_remote"),
}


def look(at: datetime) -> None:
    """Look once, as a task does."""
    settings = Settings()
    store = IntegrationStore(settings)
    store.prepare()
    discovery.discover(EsrContext("test__esr", store, LandingZone(settings), settings, now=lambda: at))


def die_after(side_effect: str, times: int) -> None:
    """Have the process killed when the side effect has happened so often."""
    owner, name = SIDE_EFFECTS[side_effect]
    original, left = getattr(owner, name), times

    def fatal(*args: Any, **kwargs: Any) -> Any:
        nonlocal left
        answer = original(*args, **kwargs)
        left -= 1
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)
        return answer

    setattr(owner, name, fatal)


if __name__ == "__main__":
    _, effect, count = sys.argv
    die_after(effect, int(count))
    look(datetime(2026, 3, 4, 12, tzinfo=UTC))
