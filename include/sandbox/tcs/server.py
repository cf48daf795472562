"""The stand-in as one uvicorn server."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import sys
from typing import TYPE_CHECKING

import uvicorn

if TYPE_CHECKING:
    from include.sandbox.tcs.api import TcsApi

SECONDS_TO_STOP = 2
BACKLOG = 512


class _Server(uvicorn.Server):
    """A server that says on stdout where it listens."""

    def __init__(self, config: uvicorn.Config, ready_line: str) -> None:
        super().__init__(config)
        self._ready_line = ready_line

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        sys.stdout.write(self._ready_line + "\n")
        sys.stdout.flush()


def run(api: TcsApi, *, host: str, port: int) -> None:
    """Serve until SIGTERM or SIGINT.

    Raises:
        OSError: The port is taken.
    """
    # The protocol is named because asyncio switches Nagle off only then: 40 ms for every answer.
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host, port))
    except OSError as error:
        sock.close()
        raise OSError(error.errno, f"port {port} on {host} cannot be used: {error.strerror}") from error
    config = uvicorn.Config(
        api,
        loop="uvloop",
        http="httptools",
        lifespan="off",
        log_level="warning",
        access_log=False,
        server_header=False,
        date_header=False,
        proxy_headers=False,
        backlog=BACKLOG,
        timeout_graceful_shutdown=SECONDS_TO_STOP,
    )
    server = _Server(config, json.dumps({"url": f"http://{host}:{sock.getsockname()[1]}"}))
    # uvicorn ends in order and then raises the signal again.
    with (
        contextlib.suppress(KeyboardInterrupt),
        asyncio.Runner(loop_factory=config.get_loop_factory()) as runner,
    ):
        runner.run(server.serve(sockets=[sock]))
