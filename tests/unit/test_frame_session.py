"""Sessions: one at a time uses a home, a wish to stop is one exception, stopping is not interrupted."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from include.sandbox.demo.locks import sole_user
from include.sandbox.demo.signals import StopRequestedError, shielded_from_signals, stoppable
from include.sandbox.stack.errors import StackError

HOLD = """
import sys, time
from pathlib import Path
from include.sandbox.demo.locks import sole_user
with sole_user(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_home_in_use_is_refused_with_the_process_that_uses_it(tmp_path):
    home = tmp_path / "run"
    with subprocess.Popen([sys.executable, "-c", HOLD, home], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        other.stdout.readline()
        with pytest.raises(StackError, match=f"in use by process {other.pid}"), sole_user(home):
            pass
        other.kill()
        other.wait()
        with sole_user(home):  # a killed holder leaves nothing behind
            pass


def test_two_homes_do_not_meet(tmp_path):
    with sole_user(tmp_path / "run"), sole_user(tmp_path / "demo"):
        pass


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_each_wish_to_stop_is_one_exception(number):
    before = signal.getsignal(number)
    with pytest.raises(StopRequestedError, match=signal.Signals(number).name), stoppable():
        os.kill(os.getpid(), number)
    assert signal.getsignal(number) is before


def test_stopping_is_not_interrupted():
    with stoppable(), shielded_from_signals():
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGINT)
