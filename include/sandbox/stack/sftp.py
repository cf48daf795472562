"""SFTP server of the stack, as a process."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, ClassVar

import asyncssh

from include.sandbox.stack.server import LOCALHOST, Launch, Server, inherited
from include.sandbox.stack.sftp_server import host_key
from include.settings import PROJECT_ROOT

if TYPE_CHECKING:
    from pathlib import Path

USER = "esr"
FOLDERS = ("inbound/done", "inbound/rejected", "outbound")
"""What clients find: where ESR puts its files and fetches ours."""


class Sftp(Server):
    """Our asyncssh server (``sftp_server.py``); its files lie in ``<home>/sftp/files``."""

    name: ClassVar[str] = "sftp"
    port_names: ClassVar[tuple[str, ...]] = ("sftp",)
    addresses: ClassVar[tuple[str, ...]] = ("SPOTLIGHT_SFTP_HOST",)

    def prepare(self) -> None:
        """Make the folders that clients see, and the key they know the server by."""
        super().prepare()
        self.settle()
        self._make_key()

    def settle(self) -> None:
        """Make the folders that clients see, also for a server that was running when they were thought of."""
        for name in FOLDERS:
            (self.folder / "files" / name).mkdir(parents=True, exist_ok=True)

    def _make_key(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        if not self._key_file.exists():
            host_key(self._key_file)

    @property
    def _key_file(self) -> Path:
        return self.folder / "host_key"

    def public_key(self) -> str:
        """Return the server's public key (``ssh-ed25519 AAAA...``); empty when its file is damaged."""
        self._make_key()
        try:
            key: bytes = host_key(self._key_file).export_public_key()
            return key.decode().strip()
        except asyncssh.KeyImportError:
            return ""  # the server says so when it starts

    def launch(self) -> Launch:
        """Return the command; the password goes in by the environment."""
        argv = [sys.executable, "-m", "include.sandbox.stack.sftp_server", "--host", LOCALHOST]
        argv += ["--port", str(self.port()), "--root", str(self.folder / "files"), "--user", USER]
        argv += ["--host-key", str(self._key_file)]
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
        """Return host, port, user, password and the server's public key."""
        return {
            "SPOTLIGHT_SFTP_HOST": LOCALHOST,
            "SPOTLIGHT_SFTP_PORT": str(self.port()),
            "SPOTLIGHT_SFTP_USER": USER,
            "SPOTLIGHT_SFTP_PASSWORD": self.secrets.get("sftp"),
            "SPOTLIGHT_SFTP_HOST_KEY": self.public_key(),
        }
