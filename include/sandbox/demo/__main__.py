"""``python -m include.sandbox.demo run|demo|stop``: what the Makefile calls."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from include.errors import IntegrationError
from include.sandbox.airflow.config import ADMIN_USER
from include.sandbox.demo import flows, follow
from include.sandbox.demo.locks import sole_user
from include.sandbox.demo.session import Session, local_session
from include.sandbox.demo.signals import StopRequestedError, foreground, stoppable
from include.sandbox.demo.summary import (
    enrolment_line,
    enrolment_table,
    esr_table,
    out_lines,
    out_table,
    problems,
    summarise,
    summary_table,
)
from include.sandbox.stack.errors import StackError
from include.sandbox.stack.processes import ProcessBook
from include.settings import PROJECT_ROOT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from include.sandbox.demo.follow import DagView
    from include.sandbox.demo.received import Received

LOCAL = PROJECT_ROOT / ".local"
LINE_EVERY = 10.0  # seconds between two lines when the output is no terminal


class Screen:
    """Progress on the terminal: lines that stay, and one live table below them."""

    def __init__(self, console: Console, started: float) -> None:
        self._console = console
        self._started = started
        self._live: Live | None = None
        self._last_line = float("-inf")

    def line(self, text: str) -> None:
        """Print a line with the seconds since the start. A terminal that is gone stops nothing."""
        with contextlib.suppress(OSError):
            self.end_live()
            self._console.print(Text(f"{time.monotonic() - self._started:6.1f} s  {text}"), soft_wrap=True)

    def table(self, views: Sequence[DagView], received: Received | None, files: str) -> None:
        """Show the DAGs in place; as a line now and then where nothing can be shown in place."""
        note = f"{len(received.events):,} events received" if received else "Ctrl-C stops everything"
        note = f"{files}; {note}"
        if self._console.is_terminal:
            if self._live is None:
                self._live = Live(console=self._console, auto_refresh=False)
                self._live.start()
            self._live.update(Group(follow.as_table(views), Text(note, style="dim")), refresh=True)
        elif time.monotonic() - self._last_line > LINE_EVERY:
            self._last_line = time.monotonic()
            self.line(f"{follow.as_line(views)}; {note}")

    def end_live(self) -> None:
        """Leave the table where it is; what follows goes below."""
        if self._live is not None:
            self._live.stop()
            self._live = None


def run(home: Path, console: Console, screen: Screen) -> int:
    """Bring everything up, show it at work until Ctrl-C, stop it."""
    try:
        with stoppable(), local_session(home, wipe=False, on_progress=screen.line) as session:
            session.add_partners()
            flows.start_esr(session)
            _invite(session, console)
            flows.follow_runs(session, screen.table)
    except StopRequestedError:
        screen.line("stopped; the data stays, 'make run' goes on from here")
    return 0


def demo(home: Path, console: Console, screen: Screen, *, patience: float, started: float) -> int:
    """Bring everything up from nothing, prove the main job, stop everything, print the summary."""
    os.environ.setdefault("SPOTLIGHT_ESR_RECEIPT_HOUR", "0")  # receipts too, whatever the time of day
    try:
        with stoppable(), local_session(home, wipe=True, on_progress=screen.line) as session:
            outcome = flows.prove(session, screen.table, patience=patience)
            screen.end_live()
    except StopRequestedError as stop:
        screen.line(f"broken off by {stop}")
        return 130
    seconds = time.monotonic() - started
    enrolment = outcome.enrolment
    summary = summarise(
        outcome.views, outcome.received, enrolment.summary, outcome.esr.summary, seconds=seconds
    )
    console.print(summary_table(outcome.views, outcome.received, outcome.truth))
    console.print(enrolment_table(enrolment))
    console.print(Text(f"  {enrolment_line(enrolment)}"), soft_wrap=True)
    console.print(esr_table(outcome.esr.summary, outcome.esr.truth))
    console.print(out_table(outcome.esr.out))
    for line in out_lines(outcome.esr.out):
        console.print(Text(f"  {line}"), soft_wrap=True)
    found = problems(outcome.received, outcome.truth) + enrolment.problems + outcome.esr.problems
    for problem in found:
        console.print(Text(f"not as expected: {problem}", style="red"), soft_wrap=True)
    sys.stdout.write(summary.to_json() + "\n")
    return 1 if found else 0


def stop(home: Path, screen: Screen) -> int:
    """End what is left of a session nobody runs any more."""
    with sole_user(home):
        if home.exists() and (ended := ProcessBook(home).end_leftovers()):
            screen.line(f"{home.name}: ended {len(ended)} processes")
    return 0


def _invite(session: Session, console: Console) -> None:
    console.print()
    console.print(f"  Airflow   {session.airflow.url}", highlight=False, soft_wrap=True)
    console.print(f"  user      {ADMIN_USER}", highlight=False)
    console.print(f"  password  {session.airflow.keys.admin_password}", highlight=False, markup=False)
    console.print()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a flow and return the exit code; every failure is one line on standard error."""
    started = time.monotonic()
    parser = argparse.ArgumentParser(prog="python -m include.sandbox.demo", description=__doc__)
    parser.add_argument("flow", choices=("run", "demo", "stop"))
    parser.add_argument("--home", type=Path, help="folder of the data (default: .local/<flow>)")
    parser.add_argument(
        "--patience", type=float, default=flows.PATIENCE, help="seconds demo waits for events"
    )
    chosen = parser.parse_args(arguments)
    console = Console(highlight=False)
    screen = Screen(console, started)
    home = (chosen.home or LOCAL / chosen.flow).resolve()
    try:
        with foreground():
            if chosen.flow == "run":
                return run(home, console, screen)
            if chosen.flow == "demo":
                return demo(home, console, screen, patience=chosen.patience, started=started)
            return max(stop(folder, screen) for folder in ([home] if chosen.home else _homes()))
    except (StackError, IntegrationError) as error:
        screen.end_live()
        sys.stdout.flush()
        sys.stderr.write(f"{chosen.flow}: {error}\n")
        return 1


def _homes() -> list[Path]:
    return [LOCAL / name for name in ("run", "demo", "e2e")]


if __name__ == "__main__":
    sys.exit(main())
