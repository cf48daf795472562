"""The stand-in for TCS as one process of the stack."""

from __future__ import annotations

import sys
import urllib.request
from typing import ClassVar

from include.sandbox.stack.server import LOCALHOST, Launch, Server, inherited
from include.settings import PROJECT_ROOT

CLIENT_ID = "spotlight"
PEOPLE = 3_000
HTTP_OK = 200


class Tcs(Server):
    """``python -m include.sandbox.tcs``; what it is told lies in ``<home>/tcs``."""

    name: ClassVar[str] = "tcs"
    port_names: ClassVar[tuple[str, ...]] = ("tcs",)
    addresses: ClassVar[tuple[str, ...]] = ("SPOTLIGHT_TCS_URL",)

    def launch(self) -> Launch:
        """Return the command; the secrets go in by the environment."""
        argv = [sys.executable, "-m", "include.sandbox.tcs", "--host", LOCALHOST]
        argv += ["--port", str(self.port()), "--state-dir", str(self.folder), "--people", str(PEOPLE)]
        env = {
            "SPOTLIGHT_SANDBOX_ADMIN_TOKEN": self.secrets.get("admin"),
            "SPOTLIGHT_TCS_CLIENT_SECRET": self.secrets.get("tcs"),
            "PYTHONPATH": str(PROJECT_ROOT),
        }
        return Launch(tuple(argv), inherited() | env)

    def check(self) -> None:
        """Ask for its health."""
        # A proxy for the outside world is no way to the loopback.
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with direct.open(f"http://{self.address}/_admin/health", timeout=3) as answer:
            if answer.status != HTTP_OK:
                raise ConnectionError(f"tcs answers {answer.status}")

    def values(self) -> dict[str, str]:
        """Return the addresses, the client's credentials and the admin token."""
        return {
            "SPOTLIGHT_TCS_URL": f"http://{self.address}",
            "SPOTLIGHT_TCS_TOKEN_URL": f"http://{self.address}/oauth/token",
            "SPOTLIGHT_TCS_CLIENT_ID": CLIENT_ID,
            "SPOTLIGHT_TCS_CLIENT_SECRET": self.secrets.get("tcs"),
            "SPOTLIGHT_SANDBOX_ADMIN_TOKEN": self.secrets.get("admin"),
        }
