"""Small files of a home: locks between processes, and writes that are private and atomic."""

from __future__ import annotations

import contextlib
import fcntl
import os
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from include.sandbox.stack.errors import StackError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def write_private(path: Path, text: str) -> None:
    """Replace a file by ``text`` in one step, readable by its owner only."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w") as file:  # mkstemp makes it 0600
            file.write(text)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def locked(
    path: Path,
    *,
    shared: bool = False,
    timeout: float = 120,
    on_wait: Callable[[], None] | None = None,
) -> Iterator[None]:
    """Hold a lock between processes; the kernel frees it when the holder dies, however it dies.

    Args:
        path: The lock file, made when missing and never removed.
        shared: Share with other shared holders.
        timeout: Seconds to wait.
        on_wait: Called once when the lock is not free at once.

    Raises:
        StackError: Another process held it for the whole time.
    """
    mode = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    with path.open("a") as file:
        deadline = time.monotonic() + timeout
        while True:
            try:
                fcntl.flock(file, mode | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if on_wait is not None:
                    on_wait()
                    on_wait = None
                if time.monotonic() > deadline:
                    raise StackError(
                        f"another command has been working on {path.parent} for {timeout:.0f} s; "
                        "wait for it to end or stop it, then try again"
                    ) from None
                time.sleep(0.02)
        try:
            yield
        finally:
            fcntl.flock(file, fcntl.LOCK_UN)
