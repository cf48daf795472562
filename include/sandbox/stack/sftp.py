"""SFTP server of the stack, as a process."""

from __future__ import annotations

import asyncio
import sys
from typing import ClassVar

import asyncssh

from include.sandbox.stack.server import LOCALHOST, Launch, Server, inherited
from include.settings import PROJECT_ROOT

USER = "esr"


class Sftp(Server):
    """Our asyncssh server (``sftp_server.py``); its files lie in ``<home>/sftp/files``."""

    name: ClassVar[str] = "sftp"
    port_names: ClassVar[tuple[str, ...]] = ("sftp",)
    addresses: ClassVar[tuple[str, ...]] = ("SPOTLIGHT_SFTP_HOST",)

    def prepare(self) -> None:
        """Make the folder that clients see as ``/``."""
        super().prepare()
        (self.folder / "files").mkdir(exist_ok=True)

    def launch(self) -> Launch:
        """Return the command; the password goes in by the environment."""
        argv = [sys.executable, "-m", "include.sandbox.stack.sftp_server", "--host", LOCALHOST]
        argv += ["--port", str(self.port()), "--root", str(self.folder / "files"), "--user", USER]
        argv += ["--host-key", str(self.folder / "host_key")]
        env = {"SPOTLIGHT_SFTP_PASSWORD": self.secrets.get("sftp"), "PYTHONPATH": str(PROJECT_ROOT)}
        return Launch(tuple(argv), inherited() | env)

    def check(self) -> None:
        """Log in and list the root folder."""

        async def look() -> None:
            async with (
                asyncssh.connect(
                    LOCALHOST,
                    self.port(),
                    username=USER,
                    password=self.secrets.get("sftp"),
                    known_hosts=None,
                    client_keys=None,
                    agent_path=None,
                    config=None,
                ) as connection,
                connection.start_sftp_client() as client,
            ):
                await client.listdir("/")

        async def look_briefly() -> None:
            await asyncio.wait_for(look(), 3)

        asyncio.run(look_briefly())

    def values(self) -> dict[str, str]:
        """Return host, port, user and password."""
        return {
            "SPOTLIGHT_SFTP_HOST": LOCALHOST,
            "SPOTLIGHT_SFTP_PORT": str(self.port()),
            "SPOTLIGHT_SFTP_USER": USER,
            "SPOTLIGHT_SFTP_PASSWORD": self.secrets.get("sftp"),
        }
