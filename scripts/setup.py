# ruff: noqa: INP001 - a script, run before anything of the project can be imported
"""Create ``.venv`` with the pinned requirements; do nothing when it is up to date.

Standard library only: it runs before anything is installed. The stamp inside ``.venv`` is written
last and names everything the environment was made from, so that a half-made, moved or outdated one
is seen and made anew.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import TextIO

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
STAMP = VENV / ".spotlight-stamp"
LOG = ROOT / ".local" / "setup.log"
REQUIREMENTS = ("requirements.txt", "requirements-dev.txt", "constraints.txt", "pyproject.toml")
INSTALLS = (
    ("-r", "requirements-dev.txt", "-c", "constraints.txt"),
    ("-e", ".", "--no-deps"),
)
REPORT_EVERY = 10.0  # seconds between two lines when the output is not a terminal


def main() -> int:
    """Set up and return the exit code. One ``make`` at a time sets up; a second one waits for it."""
    LOG.parent.mkdir(exist_ok=True)
    with (LOG.parent / "setup.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if is_current():
            return 0
        try:
            build()
        except (OSError, subprocess.CalledProcessError) as error:
            say(f"setup: failed: {reason(error)}; the whole log is in {LOG.relative_to(ROOT)}\n")
            return 1
        except KeyboardInterrupt:
            say("setup: interrupted; the next make goes on from here\n")
            return 130
    return 0


def is_current() -> bool:
    """Return whether ``.venv`` was finished with exactly these files, at this place, and still starts."""
    try:
        if STAMP.read_text() != fingerprint():
            return False
        return subprocess.run([VENV / "bin" / "python", "-c", ""], check=False).returncode == 0  # noqa: S603
    except OSError:
        return False


def fingerprint() -> str:
    """Return what the environment depends on: the place (scripts name it) and the requirement files."""
    digest = hashlib.sha256(os.fsencode(VENV))
    for name in REQUIREMENTS:
        digest.update((ROOT / name).read_bytes())
    return digest.hexdigest()


def build() -> None:
    """Make the environment, or complete one that is sound, and leave the stamp."""
    started = time.monotonic()
    STAMP.unlink(missing_ok=True)
    LOG.unlink(missing_ok=True)
    if not is_sound():
        say(f"setup: creating .venv with Python {sys.version.split()[0]}\n")
        shutil.rmtree(VENV, ignore_errors=True)
        check([sys.executable, "-m", "venv", str(VENV)])
    say("setup: installing the pinned requirements (1.7 GB, about two minutes the first time)\n")
    for arguments in INSTALLS:
        install(arguments)
    STAMP.write_text(fingerprint())
    say(f"setup: done in {time.monotonic() - started:.0f} s\n")


def is_sound() -> bool:
    """Return whether ``.venv`` has a working pip and lies where it was made."""
    pip = VENV / "bin" / "pip"
    try:
        # A script's first two lines hold the path of the environment it was made for.
        made_here = os.fsencode(VENV) in pip.read_bytes()[:1024]
        probe = [str(VENV / "bin" / "python"), "-c", "import pip, sys; sys.exit(sys.version_info < (3, 11))"]
        return made_here and subprocess.run(probe, check=False, capture_output=True).returncode == 0  # noqa: S603
    except OSError:
        return False


def install(arguments: tuple[str, ...]) -> None:
    """Run pip, its chatter to the log, one line of progress to the terminal."""
    command = [str(VENV / "bin" / "python"), "-m", "pip", "install", "--progress-bar", "off", *arguments]
    environment = os.environ | {"PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_ROOT_USER_ACTION": "ignore"}
    with (
        LOG.open("a") as log,
        subprocess.Popen(  # noqa: S603
            command,
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        ) as pip,
    ):
        try:
            report(tee(pip.stdout or (), log))
        except KeyboardInterrupt:
            pip.terminate()
            raise
    if pip.returncode:
        raise subprocess.CalledProcessError(pip.returncode, command)


def tee(lines: Iterable[str], log: TextIO) -> Iterator[str]:
    """Yield the lines, each also written to the log."""
    for line in lines:
        log.write(line)
        yield line


def report(lines: Iterable[str]) -> None:
    """Show how many packages pip has looked at and what it does now."""
    seen, last = 0, 0.0
    for line in lines:
        match = re.match(r"(Collecting|Installing|Building|Preparing|Successfully) ?(.*)", line.strip())
        if not match:
            continue
        seen += match[1] == "Collecting"
        doing = f"{match[1]} {match[2].split()[0] if match[1] == 'Collecting' and match[2] else ''}".strip()
        text = f"setup: {seen} packages, {doing.lower()}"
        if sys.stderr.isatty():
            say(f"\r\x1b[K{text[:78]}")
        elif time.monotonic() - last > REPORT_EVERY:
            last = time.monotonic()
            say(f"{text}\n")
    if sys.stderr.isatty():
        say("\r\x1b[K")


def check(command: list[str]) -> None:
    """Run a command, its output to the log."""
    with LOG.open("a") as log:
        subprocess.run(command, check=True, cwd=ROOT, stdout=log, stderr=log)  # noqa: S603


def reason(error: OSError | subprocess.CalledProcessError) -> str:
    """Return one line for the person at the keyboard."""
    if isinstance(error, OSError):
        return f"{error.strerror} ({error.filename})"
    errors = [line.strip() for line in LOG.read_text(errors="replace").splitlines() if "ERROR" in line]
    # pip's first error names the package; what follows is advice.
    return errors[0] if errors else f"{' '.join(error.cmd[1:4])} ended with {error.returncode}"


def say(text: str) -> None:
    """Write to standard error: standard output belongs to the command that follows."""
    sys.stderr.write(text)
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
