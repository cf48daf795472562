"""An SFTP server that does what no good server does."""

from __future__ import annotations

import asyncio
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncssh
from pydantic import SecretStr

if TYPE_CHECKING:
    from collections.abc import Iterator

    from include.settings import Settings

PASSWORD = "p"


class _Login(asyncssh.SSHServer):  # type: ignore[misc] # untyped here
    def begin_auth(self, _username: str) -> bool:
        return True

    def password_auth_supported(self) -> bool:
        return True

    def validate_password(self, _username: str, password: str) -> bool:
        return password == PASSWORD


class Strange(asyncssh.SFTPServer):  # type: ignore[misc] # untyped here
    """Serves ``root``; a subclass changes what it wants."""

    def __init__(self, channel: Any, root: Path) -> None:
        super().__init__(channel, chroot=str(root).encode())


class GoesAway(Strange):
    """Is gone after the first 200 kB of a file."""

    def read(self, file_obj: Any, offset: int, size: int) -> Any:
        if offset > 200_000:
            self.connection.abort()
        return super().read(file_obj, offset, size)


class FallsSilent(Strange):
    """Does not answer after the first 200 kB of a file."""

    async def read(self, file_obj: Any, offset: int, size: int) -> Any:
        if offset > 200_000:
            await asyncio.sleep(3600)
        return super().read(file_obj, offset, size)


class SendsTooMuchOfOne(Strange):
    """Answers with more than was asked for, behind the first 200 kB of a file."""

    def read(self, file_obj: Any, offset: int, size: int) -> Any:
        return super().read(file_obj, offset, size) + b"x" * (100_000 if offset > 200_000 else 0)


class ListsPaths(Strange):
    """Has names in its listing that lead elsewhere."""

    def scandir(self, path: bytes) -> Any:
        async def names() -> Any:
            async for entry in super(ListsPaths, self).scandir(path):
                yield entry
            for name in (b"../../etc/passwd", b"/etc/passwd", b"x" * 100_000):
                yield asyncssh.SFTPName(name, attrs=asyncssh.SFTPAttrs(permissions=0o100644, size=1, mtime=1))

        return names()


class RefusesToMove(Strange):
    """Lets nobody rename."""

    def rename(self, _old: bytes, _new: bytes) -> None:
        raise asyncssh.SFTPPermissionDenied("no")


@contextmanager
def serving(kind: type[Strange], root: Path, settings: Settings) -> Iterator[Settings]:
    """Serve ``root`` and give settings that lead there."""
    loop = asyncio.new_event_loop()
    key = asyncssh.generate_private_key("ssh-ed25519")

    async def start() -> Any:
        return await asyncssh.listen(
            "127.0.0.1",
            0,
            server_factory=_Login,
            server_host_keys=[key],
            sftp_factory=lambda channel: kind(channel, root),
        )

    async def stop() -> None:
        listener.close()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()

    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        listener = asyncio.run_coroutine_threadsafe(start(), loop).result(10)
        yield settings.model_copy(
            update={
                "sftp_port": listener.get_port(),
                "sftp_password": SecretStr(PASSWORD),
                "sftp_host_key": key.export_public_key().decode(),
                "esr_inbound_folder": "/",
                "request_timeout": 2,
            }
        )
        asyncio.run_coroutine_threadsafe(stop(), loop).result(10)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()
