"""Signals and the terminal: every wish to stop becomes one exception, and Ctrl-C reaches only us."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
PR_SET_PDEATHSIG = 1  # linux/prctl.h


class StopRequestedError(BaseException):
    """Somebody asked us to stop; no ``except Exception`` on the way may swallow it."""


@contextlib.contextmanager
def stoppable() -> Iterator[None]:
    """Turn SIGINT, SIGTERM and SIGHUP into ``StopRequestedError`` inside the block."""
    saved = {number: signal.signal(number, _raise) for number in STOPPING}
    try:
        yield
    finally:
        _restore(saved)


@contextlib.contextmanager
def shielded_from_signals() -> Iterator[None]:
    """Ignore the same signals inside the block. Outside the main thread nothing arrives anyway."""
    try:
        saved = {number: signal.signal(number, signal.SIG_IGN) for number in STOPPING}
    except ValueError:
        saved = {}
    try:
        yield
    finally:
        _restore(saved)


@contextlib.contextmanager
def foreground() -> Iterator[None]:
    """Under ``make``: be the terminal's foreground process group inside the block.

    Ctrl-C goes to a whole group. Were make in ours, it would die of it, tell of an error and return
    before everything is stopped. A make that is killed takes us along, in order.
    """
    if "MAKELEVEL" not in os.environ:
        yield
        return
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    group = os.getpgrp()
    if group == os.getpid() or not sys.stdin.isatty() or os.tcgetpgrp(sys.stdin.fileno()) != group:
        yield
        return
    # Giving the terminal back is done from the background, and Ctrl-Z would stop us but not make.
    saved = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGTTOU, signal.SIGTSTP)}
    os.setpgid(0, 0)
    os.tcsetpgrp(sys.stdin.fileno(), os.getpgrp())
    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # the terminal is gone: nothing to give back
            os.tcsetpgrp(sys.stdin.fileno(), group)
        _restore(saved)


def _raise(number: int, _frame: FrameType | None) -> None:
    raise StopRequestedError(signal.Signals(number).name)


def _restore(saved: dict[signal.Signals, signal._HANDLER]) -> None:
    for number, handler in saved.items():
        signal.signal(number, handler)
