"""Command line of the stand-in for TCS; see ``docs/sandbox-tcs.md``."""

from __future__ import annotations

import argparse
import os
import sys
from datetime import date
from pathlib import Path

from include.sandbox.esr.world import TURNOVER, World
from include.sandbox.loopback import loopback
from include.sandbox.tcs.admin import application
from include.sandbox.tcs.journal import Journal
from include.sandbox.tcs.server import run
from include.sandbox.tcs.state import TcsState
from include.sandbox.tcs.tokens import Tokens

CLIENT_ID = "spotlight"
ADMIN_VARIABLE = "SPOTLIGHT_SANDBOX_ADMIN_TOKEN"
SECRET_VARIABLE = "SPOTLIGHT_TCS_CLIENT_SECRET"  # noqa: S105 - a name, not a secret
MOST_PEOPLE = 1_000_000


def _people(text: str) -> int:
    value = int(text)
    if not 1 <= value <= MOST_PEOPLE:
        raise argparse.ArgumentTypeError(f"people are 1 to {MOST_PEOPLE}")
    return value


def _arguments(given: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m include.sandbox.tcs", description="A stand-in for TCS on 127.0.0.1."
    )
    parser.add_argument("--host", type=loopback, default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True, help="0: any free port")
    parser.add_argument("--state-dir", type=Path, required=True, help="keeps what TCS is told")
    parser.add_argument("--people", type=_people, default=3_000, help="people, and as many posts")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument(
        "--turnover", type=date.fromisoformat, default=TURNOVER, help="first day of the next placements"
    )
    parser.add_argument("--token-seconds", type=float, default=300, help="how long a token is good")
    return parser.parse_args(given)


def _identity(world: World) -> dict[str, object]:
    """Return what a journal belongs to; the usual turnover is left out, as in journals of old."""
    turnover = {"turnover": world.turnover.isoformat()} if world.turnover != TURNOVER else {}
    return {"seed": world.seed, "people": world.people, **turnover}


def main(given: list[str] | None = None) -> int:
    """Serve until told to stop; return the exit code."""
    arguments = _arguments(given)
    admin_token, client_secret = os.environ.get(ADMIN_VARIABLE, ""), os.environ.get(SECRET_VARIABLE, "")
    if not admin_token or not client_secret:
        sys.stderr.write(f"{ADMIN_VARIABLE} and {SECRET_VARIABLE} must be set\n")
        return 2
    world = World(arguments.seed, arguments.people, arguments.turnover)
    journal = Journal(arguments.state_dir, _identity(world))
    tokens = Tokens(CLIENT_ID, client_secret, arguments.token_seconds)
    try:
        run(
            application(TcsState(world, journal), tokens, admin_token),
            host=arguments.host,
            port=arguments.port,
        )
    except OSError as error:
        sys.stderr.write(f"{error.strerror or error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
