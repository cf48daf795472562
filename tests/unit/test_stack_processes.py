"""What the process book starts it can end, and it ends nothing else."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from include.sandbox.stack import proc
from include.sandbox.stack.errors import StackError, last_meaningful_line
from include.sandbox.stack.files import locked
from include.sandbox.stack.processes import ProcessBook

if TYPE_CHECKING:
    from collections.abc import Callable

SLEEP = ["sleep", "60"]


@pytest.fixture
def book(tmp_path):
    book = ProcessBook(tmp_path / "a home")
    yield book
    book.end_leftovers(timeout=1)


@pytest.fixture
def bystander(book):
    """A process of somebody else that works in our home."""
    with subprocess.Popen(SLEEP, cwd=book.home, start_new_session=True) as process:
        yield process
        process.kill()


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def wait_for(condition: Callable[[], object], timeout: float = 10) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def running(pid: int) -> bool:
    seen = proc.look(pid)
    return seen is not None and seen.running


def test_a_started_process_is_known_to_another_book_of_the_same_home(book):
    record = book.spawn("sleeper", SLEEP)
    other = ProcessBook(book.home)
    assert other.names() == ["sleeper"]
    assert other.get("sleeper") == record
    assert other.stop("sleeper") is True
    assert not running(record.pid)
    assert book.names() == []


def test_one_name_runs_once(book):
    book.spawn("sleeper", SLEEP)
    with pytest.raises(StackError, match="already runs"):
        book.spawn("sleeper", SLEEP)


def test_an_unknown_program_is_one_clear_line(book):
    with pytest.raises(StackError, match="cannot start /nowhere/prog"):
        book.spawn("gone", ["/nowhere/prog"])


def test_a_working_folder_outside_of_the_home_is_refused(book, tmp_path):
    with pytest.raises(StackError, match="not inside"):
        book.spawn("sleeper", SLEEP, cwd=tmp_path / "elsewhere")


def test_a_process_that_ignores_the_stop_signal_is_killed(book):
    code = (
        "import signal,time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
        "print(1, flush=True); time.sleep(60)"
    )
    record = book.spawn("stubborn", python(code))
    wait_for(lambda: "1" in book.log_path("stubborn").read_text())
    assert book.stop("stubborn", timeout=0.3) is True
    assert not running(record.pid)


def test_the_given_stop_signal_is_used(book):
    code = (
        "import signal,sys,time; signal.signal(signal.SIGINT, lambda *_: sys.exit(print('in order')));"
        "print('up', flush=True); time.sleep(60)"
    )
    book.spawn("polite", python(code), stop_signal=signal.SIGINT)
    wait_for(lambda: "up" in book.log_path("polite").read_text())
    book.stop("polite")
    assert "in order" in book.log_path("polite").read_text()


def test_the_children_of_a_stopped_process_end_too(book):
    book.spawn("parent", ["sh", "-c", "sleep 61 & echo $! ; wait"])
    wait_for(lambda: book.log_path("parent").read_text().strip())
    child = int(book.log_path("parent").read_text())
    book.stop("parent")
    wait_for(lambda: not running(child))


def test_an_orphan_of_a_killed_process_is_found_by_its_session(book):
    # env -i: no marker in its environment, like Airflow and PostgreSQL that overwrite theirs.
    record = book.spawn("parent", ["sh", "-c", "env -i sleep 62 & echo $! ; wait"])
    wait_for(lambda: book.log_path("parent").read_text().strip())
    child = int(book.log_path("parent").read_text())
    os.kill(record.pid, signal.SIGKILL)
    wait_for(lambda: not book.alive("parent"))
    assert running(child)
    assert book.end_leftovers() == [child]
    assert not running(child)


def test_an_orphan_in_a_session_of_its_own_is_found_by_the_marker(book):
    record = book.spawn("parent", ["sh", "-c", "cd / ; setsid sleep 63 & echo $! ; wait"])
    wait_for(lambda: book.log_path("parent").read_text().strip())
    child = int(book.log_path("parent").read_text())
    os.kill(record.pid, signal.SIGKILL)
    wait_for(lambda: not book.alive("parent"))
    assert book.end_leftovers() == [child]


def test_leftovers_are_found_without_the_record_file(book):
    record = book.spawn("sleeper", SLEEP)
    (book.home / "processes.json").unlink()
    assert ProcessBook(book.home).end_leftovers() == [record.pid]


def test_leftovers_of_one_name_leave_the_other_names_alone(book):
    book.spawn("one", SLEEP)
    two = book.spawn("two", SLEEP)
    book.end_leftovers({"one"})
    assert book.names() == ["two"]
    assert running(two.pid)


def test_a_bystander_in_the_home_is_left_alone(book, bystander):
    book.spawn("sleeper", SLEEP)
    book.stop("sleeper")
    book.end_leftovers()
    assert bystander.poll() is None


def test_a_process_of_another_home_is_left_alone(book, tmp_path):
    # The other home's path begins like ours: a prefix is not enough.
    other = ProcessBook(tmp_path / "a home 2")
    try:
        theirs = other.spawn("sleeper", SLEEP)
        book.spawn("sleeper", SLEEP)
        book.end_leftovers()
        assert running(theirs.pid)
    finally:
        other.end_leftovers()


@pytest.mark.parametrize("change", [{"started_ticks": 1}, {"boot_id": "another boot"}])
def test_a_recorded_pid_that_is_now_somebody_else_is_left_alone(book, bystander, change):
    record = book.spawn("sleeper", SLEEP)
    book.stop("sleeper")
    row = {
        "name": "sleeper",
        "pid": bystander.pid,
        "started_ticks": proc.started_ticks(bystander.pid),
        "boot_id": record.boot_id,
        "sid": record.sid,
        "stop_signal": 15,
    }
    (book.home / "processes.json").write_text(json.dumps([row | change]))
    assert not book.alive("sleeper")
    assert book.stop("sleeper") is False
    assert book.end_leftovers() == []
    assert bystander.poll() is None


def test_the_caller_and_its_parents_are_never_leftovers(book):
    code = (
        "from pathlib import Path; from include.sandbox.stack.processes import ProcessBook;"
        f"print(ProcessBook(Path({str(book.home)!r})).end_leftovers())"
    )
    root = Path(__file__).resolve().parents[2]
    record = book.spawn(
        "caller", ["sh", "-c", f'cd "{root}"; "{sys.executable}" -c "{code}"; echo done; sleep 64']
    )
    wait_for(lambda: "done" in book.log_path("caller").read_text())
    assert "[]" in book.log_path("caller").read_text()
    assert running(record.pid)


def test_a_torn_record_file_is_no_obstacle(book):
    (book.home / "processes.json").write_text('[{"name": "sle')
    assert book.names() == []
    book.spawn("sleeper", SLEEP)
    assert book.names() == ["sleeper"]


def test_a_held_lock_gives_up_with_a_clear_line(tmp_path):
    path = tmp_path / "lock"
    with (
        locked(path),
        pytest.raises(StackError, match="another command has been working"),
        locked(path, timeout=0.1),
    ):
        pass


def test_a_lock_is_free_once_its_holder_is_killed(tmp_path):
    code = (
        "import sys,time; from pathlib import Path; from include.sandbox.stack.files import locked\n"
        "with locked(Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"
    )
    root = Path(__file__).resolve().parents[2]
    argv = [*python(code), str(tmp_path / "lock")]
    with subprocess.Popen(argv, cwd=root, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        holder.kill()
        with locked(tmp_path / "lock", timeout=5):
            pass


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("starting\nFATAL:  could not open\nbye\n", "FATAL:  could not open"),
        ("one\ntwo\n", "two"),
        ("", "its log is empty"),
        ('{"msg":"Failed to start up","attr":{"error":"no space"}}\n', "Failed to start up: no space"),
    ],
)
def test_the_telling_line_of_a_log_is_quoted(tmp_path, text, expected):
    log = tmp_path / "x.log"
    log.write_text(text)
    assert last_meaningful_line(log) == expected


def test_a_log_that_was_never_written_is_said_so(tmp_path):
    assert last_meaningful_line(tmp_path / "none.log") == "it wrote no log"
