"""The sandbox partners (three NPO systems) as one process of the stack."""

from __future__ import annotations

import sys
import urllib.request
from typing import ClassVar

from include.sandbox.stack.server import LOCALHOST, Launch, Server, inherited
from include.settings import PROJECT_ROOT

SYSTEMS = ("hopeworks", "codebridge", "mentornet")
HTTP_OK = 200


class Partners(Server):
    """``python -m include.sandbox.npos``: one port a partner."""

    name: ClassVar[str] = "partners"
    port_names: ClassVar[tuple[str, ...]] = SYSTEMS
    addresses: ClassVar[tuple[str, ...]] = tuple(f"SPOTLIGHT_SANDBOX_{name.upper()}_URL" for name in SYSTEMS)

    def launch(self) -> Launch:
        """Return the command; the admin token goes in by the environment."""
        argv = [sys.executable, "-m", "include.sandbox.npos", "--host", LOCALHOST]
        for name in SYSTEMS:
            argv += [f"--{name}-port", str(self.port(name))]
        argv += ["--state-dir", str(self.folder)]
        env = {"SPOTLIGHT_SANDBOX_ADMIN_TOKEN": self.secrets.get("admin"), "PYTHONPATH": str(PROJECT_ROOT)}
        return Launch(tuple(argv), inherited() | env)

    def check(self) -> None:
        """Ask each partner for its health."""
        # A proxy for the outside world is no way to the loopback.
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        for name in SYSTEMS:
            with direct.open(f"{self._url(name)}/_admin/health", timeout=3) as answer:
                if answer.status != HTTP_OK:
                    raise ConnectionError(f"{name} answers {answer.status}")

    def values(self) -> dict[str, str]:
        """Return the URLs, the admin token, and that partners may live on this machine."""
        urls = {f"SPOTLIGHT_SANDBOX_{name.upper()}_URL": self._url(name) for name in SYSTEMS}
        return urls | {
            "SPOTLIGHT_SANDBOX_ADMIN_TOKEN": self.secrets.get("admin"),
            "SPOTLIGHT_ALLOW_LOOPBACK": "true",
        }

    def _url(self, name: str) -> str:
        return f"http://{LOCALHOST}:{self.port(name)}"
