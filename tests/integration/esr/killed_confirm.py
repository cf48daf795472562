"""Applies answers in processes that are killed right after a chosen side effect; see ``killed``."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import traceback
from collections import Counter

from include.settings import PROJECT_ROOT
from tests.integration.esr import killed

POINTS = {name: killed.POINTS[name] for name in ("landed", "committed", "moved", "told", "sent")}
SMALL = {"batch_size": 20, "esr_chunk_bytes": 4096, "tcs_timeout": 2, "tcs_lease_seconds": 4}


class ConfirmNursery(killed.Nursery):
    """The warm process; ``run`` has it fork a child that looks for answers and applies each."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.integration.esr.killed_confirm"],
            cwd=PROJECT_ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )


def child(environment: dict[str, str], fatal: tuple[str, int], writing: int) -> None:
    from include.esr.confirmations.run import confirm, discover_answers
    from include.settings import Settings
    from include.storage.mongo import IntegrationStore
    from tests.integration.esr.answering import context

    try:
        os.environ.update(environment)
        passed: Counter[str] = Counter()
        for name, (module, owner, method) in POINTS.items():
            killed._watch(getattr(importlib.import_module(module), owner), method, name, passed, fatal)
        settings = Settings()
        ctx = context(settings.model_copy(update=SMALL), IntegrationStore(settings))
        for subject in discover_answers(ctx)[0]:
            confirm(ctx, subject)
        os.write(writing, json.dumps({"passed": passed}).encode())
    except BaseException:  # noqa: BLE001 - a forked child must not go on as its parent
        os.write(writing, json.dumps({"crashed": traceback.format_exc()}).encode())
    finally:
        os._exit(0)


if __name__ == "__main__":
    importlib.import_module("include.esr.confirmations.run")
    killed._child = child
    killed.main()
