"""A small SFTP server: one user with a password, one folder he cannot leave."""

from __future__ import annotations

import argparse
import asyncio
import hmac
import os
import signal
from pathlib import Path
from typing import Any

import asyncssh


class _PasswordServer(asyncssh.SSHServer):  # type: ignore[misc] # untyped here
    """Accepts one user with one password; no key, no agent, no forwarding."""

    def __init__(self, user: str, password: str) -> None:
        self._user, self._password = user, password

    def begin_auth(self, _username: str) -> bool:
        """Return that everyone must log in."""
        return True

    def password_auth_supported(self) -> bool:
        """Return that a password is asked for."""
        return True

    def validate_password(self, username: str, password: str) -> bool:
        """Return whether user and password are right, in constant time."""
        right_user = hmac.compare_digest(username.encode(), self._user.encode())
        return hmac.compare_digest(password.encode(), self._password.encode()) and right_user


class _FolderServer(asyncssh.SFTPServer):  # type: ignore[misc] # untyped here
    """Serves one folder as ``/``. Links are refused: they are the way out of a folder."""

    def map_path(self, path: bytes) -> bytes:
        """Return the local path; a path that a link leads out of the folder is refused.

        Raises:
            SFTPPermissionDenied: The path lies outside.
        """
        local: bytes = super().map_path(path)
        top: bytes = os.path.realpath(super().map_path(b"/"))
        real = os.path.realpath(local)
        if real != top and not real.startswith(top + b"/"):
            raise asyncssh.SFTPPermissionDenied("outside of the served folder")
        return local

    def symlink(self, _oldpath: bytes, _newpath: bytes) -> None:
        """Refuse to make a link."""
        raise asyncssh.SFTPPermissionDenied("links are not allowed")

    def link(self, _oldpath: bytes, _newpath: bytes) -> None:
        """Refuse to make a link."""
        raise asyncssh.SFTPPermissionDenied("links are not allowed")


def host_key(path: Path) -> asyncssh.SSHKey:
    """Return the server's key, made at first use (0600)."""
    if not path.exists():
        fresh = path.with_suffix(".new")
        fresh.touch(mode=0o600)
        fresh.write_bytes(asyncssh.generate_private_key("ssh-ed25519").export_private_key())
        fresh.rename(path)
    return asyncssh.read_private_key(str(path))


async def serve(options: argparse.Namespace, password: str) -> None:
    """Serve until SIGTERM or SIGINT."""
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    root = os.fsencode(options.root)

    def folder(channel: asyncssh.SSHServerChannel[Any]) -> asyncssh.SFTPServer:
        return _FolderServer(channel, chroot=root)

    async with asyncssh.listen(
        options.host,
        options.port,
        server_factory=lambda: _PasswordServer(options.user, password),
        server_host_keys=[host_key(options.host_key)],
        sftp_factory=folder,
        allow_scp=False,
        allow_pty=False,
        agent_forwarding=False,
        x11_forwarding=False,
    ):
        await stopped.wait()


def main() -> None:
    """Read the arguments and serve; the password is in ``SPOTLIGHT_SFTP_PASSWORD``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--user", required=True)
    parser.add_argument("--host-key", type=Path, required=True)
    options = parser.parse_args()
    password = os.environ.get("SPOTLIGHT_SFTP_PASSWORD", "")
    if not password:
        parser.error("SPOTLIGHT_SFTP_PASSWORD is empty: a server without a password is not started")
    asyncio.run(serve(options, password))


if __name__ == "__main__":
    main()
