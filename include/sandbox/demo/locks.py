"""One session at a time uses a home."""

from __future__ import annotations

import contextlib
import fcntl
import os
from typing import TYPE_CHECKING

from include.sandbox.stack.errors import StackError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextlib.contextmanager
def sole_user(home: Path) -> Iterator[None]:
    """Hold the home for this process; the kernel lets go of it when the process dies, however it dies.

    The lock lies beside the home, since a home may be wiped.

    Raises:
        StackError: Another living process holds it.
    """
    home.parent.mkdir(parents=True, exist_ok=True)
    with home.with_name(f"{home.name}.lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise StackError(
                f"{home} is in use by process {lock.read().strip() or '?'}: a session runs there already; "
                "stop it with Ctrl-C first"
            ) from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield
