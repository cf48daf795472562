"""Three uvicorn servers in one process, one for each partner."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import socket
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import uvicorn

from include.sandbox.npos.admin import application
from include.sandbox.npos.codebridge import Codebridge
from include.sandbox.npos.hopeworks import Hopeworks
from include.sandbox.npos.mentornet import Mentornet

if TYPE_CHECKING:
    from collections.abc import Iterator

    from include.sandbox.npos.partner import Partner
    from include.sandbox.npos.state import SandboxState

SECONDS_TO_STOP = 2


@dataclass(frozen=True, slots=True)
class Ports:
    """Ports asked for; 0 is any free one."""

    hopeworks: int
    codebridge: int
    mentornet: int


class _Server(uvicorn.Server):
    """A server that leaves the signals to the process: three of them would fight over the handlers."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        self.listening.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def run(state: SandboxState, *, host: str, ports: Ports, admin_token: str, mentornet_rate: int) -> None:
    """Serve until SIGTERM or SIGINT.

    Raises:
        OSError: A port is taken; the message names it.
    """
    partners: list[tuple[Partner, int]] = [
        (Hopeworks(state), ports.hopeworks),
        (Codebridge(state), ports.codebridge),
        (Mentornet(state, mentornet_rate), ports.mentornet),
    ]
    sockets = [_bound(host, port, partner.name) for partner, port in partners]
    addresses = {
        partner.name: f"http://{host}:{sock.getsockname()[1]}"
        for (partner, _), sock in zip(partners, sockets, strict=True)
    }
    servers = [_server(partner, admin_token) for partner, _ in partners]
    asyncio.run(_serve(servers, sockets, json.dumps({**addresses, "today": state.today.isoformat()})))


def _bound(host: str, port: int, name: str) -> socket.socket:
    # The protocol is named because asyncio switches Nagle off only then: 40 ms for every answer.
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host, port))
    except OSError as error:
        sock.close()
        raise OSError(
            error.errno, f"{name}: port {port} on {host} cannot be used: {error.strerror}"
        ) from error
    return sock


def _server(partner: Partner, admin_token: str) -> _Server:
    return _Server(
        uvicorn.Config(
            application(partner, admin_token),
            lifespan="off",
            log_level="warning",
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=SECONDS_TO_STOP,
        )
    )


async def _serve(servers: list[_Server], sockets: list[socket.socket], ready_line: str) -> None:
    loop = asyncio.get_running_loop()

    def stop() -> None:
        for server in servers:
            server.should_exit = True

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    running = [
        asyncio.create_task(server.serve(sockets=[sock]))
        for server, sock in zip(servers, sockets, strict=True)
    ]
    for server in servers:
        await server.listening.wait()
    sys.stdout.write(ready_line + "\n")
    sys.stdout.flush()
    await asyncio.gather(*running)
