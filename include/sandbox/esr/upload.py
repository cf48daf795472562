"""Puts files on an SFTP server as ESR does: whole, or slowly in parts."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import paramiko

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


SECONDS = 30


class SftpFolder:
    """A folder on an SFTP server."""

    def __init__(self, client: paramiko.SFTPClient, folder: str) -> None:
        self._client = client
        self._folder = folder

    def put(self, name: str, body: bytes) -> None:
        """Write a file in one go."""
        with self._client.open(f"{self._folder}/{name}", "wb") as file:
            file.set_pipelined()
            file.write(body)

    def put_slowly(self, name: str, parts: Iterable[bytes], *, seconds: float) -> None:
        """Write a file part by part, each visible before the next, with a pause in between."""
        with self._client.open(f"{self._folder}/{name}", "wb") as file:
            for number, part in enumerate(parts):
                if number:
                    time.sleep(seconds)
                file.write(part)
                file.flush()

    def append(self, name: str, part: bytes) -> None:
        """Add bytes to a file that is there, as an upload that goes on does."""
        with self._client.open(f"{self._folder}/{name}", "ab") as file:
            file.write(part)

    def names(self, below: str = "") -> list[str]:
        """Return the names in the folder, or in one below it; none when that is not there."""
        folder = f"{self._folder}/{below}" if below else self._folder
        try:
            return sorted(self._client.listdir(folder))
        except FileNotFoundError:
            return []

    def read(self, name: str) -> bytes:
        """Return a file's bytes."""
        with self._client.open(f"{self._folder}/{name}", "rb") as file:
            return bytes(file.read())

    def move(self, name: str, below: str) -> None:
        """Move a file into a folder below, which is made when missing, over one of that name."""
        if below not in self.names():
            self._client.mkdir(f"{self._folder}/{below}")
        self._client.posix_rename(f"{self._folder}/{name}", f"{self._folder}/{below}/{name}")

    def remove(self, name: str) -> None:
        """Delete a file."""
        self._client.remove(f"{self._folder}/{name}")


@contextmanager
def sftp_folder(
    host: str, port: int, user: str, password: str, folder: str = "inbound"
) -> Iterator[SftpFolder]:
    """Open a folder of the sandbox's SFTP server; it is made when missing."""
    # The sandbox's own server on the loopback: ESR's side is not what is to be proven here.
    with paramiko.Transport((host, port)) as transport:
        transport.banner_timeout = transport.auth_timeout = SECONDS
        transport.connect(username=user, password=password)
        client = paramiko.SFTPClient.from_transport(transport)
        if client is None:
            raise ConnectionError(f"no SFTP on {host}:{port}")
        with client:
            try:
                client.stat(folder)
            except FileNotFoundError:
                client.mkdir(folder)
            yield SftpFolder(client, folder)
