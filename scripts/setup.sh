#!/bin/sh
# Find a Python that can make virtual environments and let setup.py do the rest.
# PYTHON=/path/to/python chooses one. Needs nothing but a POSIX shell.
set -eu
cd "$(dirname "$0")/.."

# The pins were resolved on 3.11, so it comes first; anything newer will do.
candidates="${PYTHON:-python3.11 python3.12 python3.13 python3.14 python3 python}"
reason="no Python 3.11 or newer found"
for candidate in $candidates; do
    command -v "$candidate" >/dev/null 2>&1 || continue
    "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 || continue
    if "$candidate" -c 'import ensurepip, ssl, venv' >/dev/null 2>&1; then
        exec "$candidate" scripts/setup.py
    fi
    reason="$(command -v "$candidate") has no venv module (Debian, Ubuntu: apt-get install python3-venv)"
done
echo "setup: $reason; install one, or name one with: make setup PYTHON=/path/to/python3.11" >&2
exit 1
