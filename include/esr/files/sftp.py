"""The SFTP folder that ESR puts its files into, as the pipelines use it.

The other side is not trusted: its key is pinned, names are bytes that are never taken for a path, and
everything is bounded in size and time.
"""

from __future__ import annotations

import asyncio
import logging
import stat
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar
from urllib.parse import quote_from_bytes, unquote_to_bytes

from include.errors import ConfigurationError, IntegrationError, TransientError

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator

    import asyncssh

    from include.settings import Settings

Answer = TypeVar("Answer")

DONE, REJECTED = "done", "rejected"
BLOCK_BYTES, BLOCKS_ASKED_FOR = 64 * 1024, 16
SLOWEST = 32 * 1024
"""Bytes a second; a transfer that takes longer than at this rate is given up."""
MAX_LISTED = 20_000
"""Files looked at in one listing; the others wait until these were moved away."""
MAX_NAME_BYTES, MAX_LISTED_NAME = 255, 1024
MAX_SAME_NAME = 1_000


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A plain file on the server as it is now.

    Attributes:
        name: Its name as ASCII: bytes other than letters, digits and ``_.-~`` are percent-encoded.
        modified: Unix time in seconds, as the server tells it.
    """

    name: str
    size: int
    modified: int

    def is_same(self, other: RemoteFile | None) -> bool:
        """Return whether size and time are equal, so that it was not written to in between."""
        return other is not None and (self.size, self.modified) == (other.size, other.modified)


@dataclass(frozen=True, slots=True)
class Listing:
    """What is in the folder.

    Attributes:
        files: The plain files, by name, ``MAX_LISTED`` at most.
        impossible: How many names were no name of a file: parts of a path, or far too long.
    """

    files: tuple[RemoteFile, ...]
    impossible: int


class EsrFolder:
    """ESR's folder on an open connection; ``done`` and ``rejected`` are folders inside it.

    All methods raise:
        TransientError: The server did not answer in time or went away.
        ConfigurationError: A right or the folder is missing.
    """

    def __init__(self, client: asyncssh.SFTPClient, runner: asyncio.Runner, settings: Settings) -> None:
        self._client = client
        self._runner = runner
        self._folder = settings.esr_inbound_folder.rstrip("/").encode() or b"."
        self._timeout = settings.request_timeout

    def files(self) -> Listing:
        """Return what is in the folder."""
        listing = self._run("listing the folder", self._files(), must_exist=True)
        return listing or Listing((), 0)

    def look(self, name: str, folder: str = "") -> RemoteFile | None:
        """Return a file as it is now, ``None`` when there is no such plain file."""
        return self._run(f"looking at {name}", self._look(self._path(name, folder), name))

    def tail(self, name: str, amount: int) -> bytes | None:
        """Return the last ``amount`` bytes of a file, ``None`` when it is gone."""
        return self._run(f"reading the end of {name}", self._tail(self._path(name), amount))

    def fetch(self, name: str, into: BinaryIO, max_bytes: int) -> int | None:
        """Copy a file into a local one and return its size, ``None`` when it is gone.

        Args:
            name: Of the file.
            into: An empty file.
            max_bytes: Of a longer file that many bytes and one more are copied, so that it shows.
        """
        return self._run(f"fetching {name}", self._fetch(self._path(name), into, max_bytes + 1), bounded=True)

    def move(
        self, seen: RemoteFile, to: str, *, origin: tuple[str, str] | None = None, label: str
    ) -> str | None:
        """Move a file as it was ``seen`` to ``done`` or ``rejected``; nothing there is overwritten.

        Moving it again is harmless: it is then found where it was moved to.

        Args:
            seen: The file; another one that has come under its name stays.
            to: The folder inside this one.
            origin: Folder and name of where it is, when that is not this folder.
            label: Is appended to the name when there is a file of that name already.

        Returns:
            Its name there, ``None`` when it is nowhere: taken away, or overwritten by another.
        """
        folder, name = origin or ("", seen.name)
        source = self._path(name, folder)
        return self._run(f"moving {name} to {to}", self._move(seen, source, to, label))

    async def _files(self) -> Listing:
        found: list[RemoteFile] = []
        impossible = 0
        async for entry in self._client.scandir(self._folder):
            if b"/" in entry.filename or len(entry.filename) > MAX_LISTED_NAME:
                impossible += 1
            elif file := _plain(entry.filename, entry.attrs):
                found.append(file)
            if len(found) == MAX_LISTED:
                break
        return Listing(tuple(sorted(found, key=lambda file: file.name)), impossible)

    async def _look(self, path: bytes, name: str) -> RemoteFile | None:
        return _plain(unquote_to_bytes(name), await self._client.lstat(path))

    async def _tail(self, path: bytes, amount: int) -> bytes:
        size = (await self._client.lstat(path)).size or 0
        file = await self._client.open(path, "rb")
        read: bytes = await file.read(amount, offset=max(0, size - amount))
        await file.close()
        return read[:amount]

    async def _fetch(self, path: bytes, into: BinaryIO, most: int) -> int:
        received, clock = 0, asyncio.get_running_loop().time
        async with asyncio.timeout(self._timeout) as limit:
            # Not closed when it fails: a server that fell silent would be waited for once more.
            file = await self._client.open(path, "rb", block_size=BLOCK_BYTES, max_requests=BLOCKS_ASKED_FOR)
            size = min(most, (await self._client.lstat(path)).size or 0)
            end = clock() + self._timeout + size / SLOWEST
            async for offset, block in await file.read_parallel(size, 0):
                if offset + len(block) > size:
                    raise TransientError(f"SFTP: the server sent more of {_told(path)} than was asked for")
                into.seek(offset)
                into.write(block)
                received += len(block)
                limit.reschedule(min(clock() + self._timeout, end))
            await file.close()
        return received

    async def _move(self, seen: RemoteFile, source: bytes, to: str, label: str) -> str | None:
        import asyncssh

        if not seen.is_same(await self._seen(source)):
            return await self._found(seen, to, label)
        await self._client.makedirs(self._path("", to), exist_ok=True)
        for name in _names(seen.name, label):
            target = self._path(name, to)
            if await self._client.lexists(target):
                continue
            try:
                await self._client.rename(source, target)  # never overwrites, unlike posix_rename
            except asyncssh.SFTPNoSuchFile:
                return await self._found(seen, to, label)
            except asyncssh.SFTPError:
                if not await self._client.lexists(target):
                    raise
                continue
            return await self._checked(seen, source, target, name)
        raise TransientError(f"there are {MAX_SAME_NAME} files of this name in {to} already")

    async def _checked(self, seen: RemoteFile, source: bytes, target: bytes, name: str) -> str | None:
        """Put back what is not the file that was seen: the partner was faster."""
        if seen.is_same(await self._seen(target)):
            return name
        await self._client.rename(target, source)
        return None

    async def _found(self, seen: RemoteFile, to: str, label: str) -> str | None:
        """Return the name under which an earlier call has moved the file."""
        for name in _names(seen.name, label):
            there = await self._seen(self._path(name, to))
            if seen.is_same(there):
                return name
            if there is None and name != seen.name:
                break
        return None

    async def _seen(self, path: bytes) -> RemoteFile | None:
        import asyncssh

        try:
            return await self._look(path, "")
        except asyncssh.SFTPNoSuchFile:
            return None

    def _path(self, name: str, folder: str = "") -> bytes:
        parts = [self._folder, *([folder.encode()] if folder else []), unquote_to_bytes(name)]
        return b"/".join(part for part in parts if part)

    def _run(
        self,
        doing: str,
        work: Coroutine[Any, Any, Answer],
        *,
        must_exist: bool = False,
        bounded: bool = False,
    ) -> Answer | None:
        """Run one piece of work; ``None`` when the file it is about is not there.

        Args:
            doing: What it does.
            work: It.
            must_exist: Whether it is a failure when that is not there.
            bounded: Whether it minds its own time.
        """
        import asyncssh

        with sftp_errors(doing):
            try:
                answer: Answer = self._runner.run(work if bounded else within(self._timeout, work))
                return answer
            except (asyncssh.SFTPNoSuchFile, asyncssh.SFTPNoSuchPath) as error:
                if must_exist:
                    raise ConfigurationError(
                        "SFTP: the inbound folder is not on the server; check SPOTLIGHT_ESR_INBOUND_FOLDER"
                    ) from error
                return None


@contextmanager
def open_folder(settings: Settings) -> Iterator[EsrFolder]:
    """Give ESR's inbound folder on a new connection, closed at the end.

    Raises:
        ConfigurationError: The server's key is not the pinned one, or it refuses the login.
        TransientError: It does not answer.
    """
    with open_client(settings) as (client, runner):
        yield EsrFolder(client, runner, settings)


@contextmanager
def open_client(settings: Settings) -> Iterator[tuple[asyncssh.SFTPClient, asyncio.Runner]]:
    """Give an SFTP client on a new connection, closed at the end, and the loop it lives on.

    Raises:
        ConfigurationError: The server's key is not the pinned one, or it refuses the login.
        TransientError: It does not answer.
    """
    # It tells about every connection; a task's log is for what the task did.
    logging.getLogger("asyncssh").setLevel(logging.WARNING)
    with asyncio.Runner() as runner:
        with sftp_errors(f"connecting to {settings.sftp_host}:{settings.sftp_port}"):
            connection = runner.run(within(3 * settings.request_timeout, _connect(settings)))
            client = runner.run(within(settings.request_timeout, connection.start_sftp_client()))
        try:
            yield client, runner
        finally:
            connection.abort()
            runner.run(within(settings.request_timeout, connection.wait_closed()))


async def within(seconds: float, work: Any) -> Any:
    """Await work for so long.

    Raises:
        TimeoutError: It took longer.
    """
    async with asyncio.timeout(seconds):
        return await work


def _connect(settings: Settings) -> Any:
    import asyncssh
    from asyncssh.public_key import get_default_public_key_algs

    password, pinned = settings.sftp_password, _pinned(settings)
    other_kinds = [kind for kind in get_default_public_key_algs() if kind not in pinned.sig_algorithms]
    return asyncssh.connect(
        settings.sftp_host,
        settings.sftp_port,
        username=settings.sftp_user,
        password=password.get_secret_value() if password else None,
        known_hosts=([pinned], [], []),
        # Other kinds are asked for too, so that a server with another key shows it and is told from one that
        # is unwell: without a kind in common both hang up, and who is faster decides what is seen here.
        server_host_key_algs=[kind.decode() for kind in (*pinned.sig_algorithms, *other_kinds)],
        # Nothing of the user's own SSH set-up counts.
        config=None,
        client_keys=None,
        agent_path=None,
        preferred_auth="password",
        connect_timeout=settings.request_timeout,
        login_timeout=settings.request_timeout,
        keepalive_interval=settings.request_timeout,
    )


def _pinned(settings: Settings) -> Any:
    import asyncssh

    if not settings.sftp_host_key:
        raise ConfigurationError(
            "SFTP: no key of the server is set, so it cannot be trusted; put its public key into "
            "SPOTLIGHT_SFTP_HOST_KEY (ssh-keyscan shows it, its owner confirms it)"
        )
    try:
        return asyncssh.import_public_key(settings.sftp_host_key)
    except asyncssh.KeyImportError:
        raise ConfigurationError(
            "SFTP: SPOTLIGHT_SFTP_HOST_KEY is not a public key such as 'ssh-ed25519 AAAA...'"
        ) from None


@contextmanager
def sftp_errors(doing: str) -> Iterator[None]:
    """Translate errors raised inside.

    Args:
        doing: What was being done, such as ``fetching <name>``.

    Raises:
        ConfigurationError: A person must look: key, login or a right.
        TransientError: Anything else the connection or the server came up with.
    """
    import asyncssh

    try:
        yield
    except IntegrationError:
        raise
    except (asyncssh.Error, OSError, EOFError, TimeoutError) as error:
        raise _failure(error, doing) from error


def _failure(error: Exception, doing: str) -> IntegrationError:
    import asyncssh

    said = f"SFTP: {type(error).__name__} while {doing}"
    if isinstance(error, (asyncssh.HostKeyNotVerifiable, asyncssh.KeyExchangeFailed)):
        return ConfigurationError(
            f"{said}: the server does not show the key in SPOTLIGHT_SFTP_HOST_KEY, so no password was sent; "
            "it may be another server. If its owner confirms a new key, set that"
        )
    if isinstance(error, asyncssh.PermissionDenied):
        return ConfigurationError(
            f"{said}: login refused; check SPOTLIGHT_SFTP_USER and SPOTLIGHT_SFTP_PASSWORD", pauses=True
        )
    if isinstance(error, asyncssh.SFTPPermissionDenied):
        return ConfigurationError(f"{said}: the user lacks a right to it; ask the server's owner")
    return TransientError(f"{said}; nothing is lost, it is tried again")


def _plain(name: bytes, attributes: Any) -> RemoteFile | None:
    """Return a file of the server's attributes, ``None`` for a folder, a link or a device."""
    if attributes.permissions is None or not stat.S_ISREG(attributes.permissions):
        return None
    return RemoteFile(quote_from_bytes(name, safe=""), attributes.size or 0, int(attributes.mtime or 0))


def _told(path: bytes) -> str:
    return quote_from_bytes(path.rpartition(b"/")[2], safe="")


def _names(name: str, label: str) -> Iterator[str]:
    """Yield the names to try for a file in a folder that may have one of that name."""
    yield name
    for number in range(1, MAX_SAME_NAME):
        suffix = f".{label}" if number == 1 else f".{label}.{number}"
        cut = unquote_to_bytes(name)[: MAX_NAME_BYTES - len(suffix)]
        yield quote_from_bytes(cut, safe="") + suffix
