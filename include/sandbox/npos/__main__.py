"""Command line of the sandbox partners; see ``docs/sandbox-partners.md``."""

from __future__ import annotations

import argparse
import os
import sys
from datetime import UTC, date, datetime
from pathlib import Path

from include.sandbox.loopback import loopback
from include.sandbox.npos.server import Ports, run
from include.sandbox.npos.state import SandboxState

TOKEN_VARIABLE = "SPOTLIGHT_SANDBOX_ADMIN_TOKEN"  # noqa: S105 - a name, not a token


def _scale(text: str) -> float:
    value = float(text)
    if not 0 < value <= 2000:  # noqa: PLR2004 - 1.2 million assignments
        raise argparse.ArgumentTypeError("scale is above 0 and at most 2000")
    return value


def _arguments(given: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m include.sandbox.npos", description="Three invented NPO systems on 127.0.0.1."
    )
    parser.add_argument("--host", type=loopback, default="127.0.0.1")
    for name in ("hopeworks", "codebridge", "mentornet"):
        parser.add_argument(f"--{name}-port", type=int, required=True, help="0: any free port")
    parser.add_argument("--state-dir", type=Path, required=True, help="keeps the simulated day")
    parser.add_argument("--seed", type=int, help="default: the kept one, else 7")
    parser.add_argument("--scale", type=_scale, help="600 x scale assignments; default: the kept one, else 1")
    parser.add_argument(
        "--today", type=date.fromisoformat, help="first simulated day, at the first start only"
    )
    parser.add_argument("--mentornet-rate", type=int, default=40, help="requests a second; 0: any number")
    return parser.parse_args(given)


def main(given: list[str] | None = None) -> int:
    """Serve until told to stop; return the exit code."""
    arguments = _arguments(given)
    admin_token = os.environ.get(TOKEN_VARIABLE, "")
    if not admin_token:
        sys.stderr.write(f"{TOKEN_VARIABLE} is not set: the admin endpoints need a token\n")
        return 2
    state = SandboxState.load(
        arguments.state_dir,
        seed=arguments.seed,
        scale=arguments.scale,
        first_day=arguments.today,
        real_day=datetime.now(UTC).date(),
    )
    ports = Ports(arguments.hopeworks_port, arguments.codebridge_port, arguments.mentornet_port)
    try:
        run(
            state,
            host=arguments.host,
            ports=ports,
            admin_token=admin_token,
            mentornet_rate=arguments.mentornet_rate,
        )
    except OSError as error:
        sys.stderr.write(f"{error.strerror or error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
