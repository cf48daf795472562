"""The SFTP folder that ESR takes our files from, as the pipelines use it.

Names are ours (``names.FileName``); what lies there is not trusted: it is compared byte by byte with what
was to be put there, and everything is bounded in size and time.
"""

from __future__ import annotations

import hashlib
import stat
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from include.errors import ConfigurationError
from include.esr.files.sftp import BLOCK_BYTES, BLOCKS_ASKED_FOR, SLOWEST, open_client, sftp_errors, within

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Coroutine, Iterator

    import asyncssh

    from include.settings import Settings

Answer = TypeVar("Answer")

NO_FILE = ""
"""Digest of something that cannot be a file of ours: too large, or no plain file."""


class OutboundFolder:
    """The folder on an open connection.

    All methods raise:
        TransientError: The server did not answer in time or went away.
        ConfigurationError: A right or the folder is missing.
    """

    def __init__(self, client: asyncssh.SFTPClient, runner: asyncio.Runner, settings: Settings) -> None:
        self._client = client
        self._runner = runner
        self._folder = settings.esr_outbound_folder.rstrip("/").encode() or b"."
        self._timeout = settings.request_timeout

    def digest(self, name: str, *, size: int) -> str | None:
        """Return the SHA-256 (hex) of a file, read whole; ``None`` when there is none.

        Args:
            name: Of the file.
            size: Bytes it should have; of one that has others nothing is read, its digest is ``NO_FILE``.
        """
        return self._run(f"reading {name} back", self._digest(self._path(name), size), size)

    def write(self, name: str, body: bytes) -> None:
        """Write a file whole; what was there under the name is written over."""
        self._run(f"writing {name}", self._write(self._path(name), body), len(body))

    def rename(self, name: str, to: str) -> bool:
        """Give a file another name and return whether it was still there to be renamed.

        Raises:
            ConfigurationError: There is a file of that name already: it is never written over.
        """
        return bool(self._run(f"renaming {name}", self._rename(self._path(name), self._path(to), to)))

    def remove(self, name: str) -> None:
        """Delete a file; harmless when it is gone."""
        self._run(f"deleting {name}", self._remove(self._path(name)))

    async def _digest(self, path: bytes, size: int) -> str | None:
        import asyncssh

        try:
            attributes = await self._client.lstat(path)
        except asyncssh.SFTPNoSuchFile:
            await self._require_folder()
            return None
        if not stat.S_ISREG(attributes.permissions or 0) or attributes.size != size:
            return NO_FILE
        try:
            file = await self._client.open(path, "rb", block_size=BLOCK_BYTES, max_requests=BLOCKS_ASKED_FOR)
        except asyncssh.SFTPNoSuchFile:
            return None
        body: bytes = await file.read(size + 1, 0)
        await file.close()
        return hashlib.sha256(body).hexdigest() if len(body) == size else NO_FILE

    async def _write(self, path: bytes, body: bytes) -> None:
        # Not closed when it fails: a server that fell silent would be waited for once more.
        file = await self._client.open(path, "wb", block_size=BLOCK_BYTES, max_requests=BLOCKS_ASKED_FOR)
        await file.write(body, 0)
        await file.close()

    async def _rename(self, source: bytes, target: bytes, to: str) -> bool:
        import asyncssh

        # Most servers refuse to rename onto a file; one that would not is not given the chance.
        if await self._client.lexists(target):
            raise ConfigurationError(
                f"SFTP: there is a file named {to} in the outbound folder already; it was left as it is"
            )
        try:
            await self._client.rename(source, target)
        except asyncssh.SFTPNoSuchFile:
            return False
        return True

    async def _remove(self, path: bytes) -> None:
        import asyncssh

        try:
            await self._client.remove(path)
        except asyncssh.SFTPNoSuchFile:
            return

    async def _require_folder(self) -> None:
        """Raise ``SFTPNoSuchFile`` if the folder is not there: then no file's absence says anything."""
        await self._client.lstat(self._folder)

    def _path(self, name: str) -> bytes:
        return self._folder + b"/" + name.encode("ascii")

    def _run(self, doing: str, work: Coroutine[Any, Any, Answer], size: int = 0) -> Answer:
        import asyncssh

        with sftp_errors(doing):
            try:
                answer: Answer = self._runner.run(within(self._timeout + size / SLOWEST, work))
                return answer
            except (asyncssh.SFTPNoSuchFile, asyncssh.SFTPNoSuchPath) as error:
                raise ConfigurationError(
                    "SFTP: the outbound folder is not on the server; check SPOTLIGHT_ESR_OUTBOUND_FOLDER"
                ) from error


@contextmanager
def open_outbound(settings: Settings) -> Iterator[OutboundFolder]:
    """Give the folder ESR takes our files from on a new connection, closed at the end.

    Raises:
        ConfigurationError: The server's key is not the pinned one, or it refuses the login.
        TransientError: It does not answer.
    """
    with open_client(settings) as (client, runner):
        yield OutboundFolder(client, runner, settings)
