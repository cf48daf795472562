"""A scripted HTTP partner on 127.0.0.1: answers in a connector's own form, and misbehaves as told."""

from __future__ import annotations

import base64
import contextlib
import re
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

import orjson

from include.sandbox.contract.bodies import asked_since
from include.sandbox.contract.loopback import LoopbackServer
from include.sandbox.contract.pagination import (
    PAGE_SIZE,
    Asked,
    Written,
    body_of,
    page_asked,
    write_next,
)
from include.sandbox.contract.parents import key_of, parent_asked

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from include.connectors.manifest import Manifest
    from include.connectors.protocol import Connector, Parent, Resource
    from include.registry.models import Credential
    from include.sandbox.contract.bodies import Script

TOKEN_PATH = "/contract-token"  # noqa: S105 - an address
NOT_FOUND, UNAUTHORIZED = 404, 401
_CHUNK = b"x" * 65_536


@dataclass(frozen=True)
class Seen:
    """A request as it came; ``head`` is all of it but the body, for looking for a secret.

    ``parent`` is whose list of a nested resource it asks for, ``None`` also where there is no such parent.
    """

    asked: Asked
    head: str
    resource: Resource | None
    parent: Parent | None = None


@dataclass(frozen=True)
class Reply:
    """An answer. ``announced`` is a Content-Length that is not the body's; ``endless`` bytes follow it."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    announced: int | None = None
    endless: int = 0


@dataclass
class Behaviour:
    """What is unusual about the partner now.

    Attributes:
        script: Instead of the resource's own.
        records: Instead of the script's.
        filters: Leave out what is older than a request asks for.
        numbered: Makes up the records of each page by its number; the list then never ends.
        spoil: Changes a good page before it is written.
        instead: Answers a request for data itself, or leaves it to the script (``None``).
    """

    script: Script | None = None
    records: Sequence[Any] | None = None
    filters: bool = True
    numbered: Callable[[int], Sequence[Any]] | None = None
    spoil: Callable[[Written, Asked], None] | None = None
    instead: Callable[[Seen, Callable[[], Reply]], Reply | None] | None = None


class ScriptedPartner(LoopbackServer):
    """Serves the scripts of one connector; keeps every request it saw.

    Args:
        connector: Reads the records' times.
        scripts: What there is to say.
        credential: Whose password or token every request for data must carry.
    """

    def __init__(
        self, connector: Connector, scripts: Mapping[Resource, Script], credential: Credential
    ) -> None:
        self.manifest: Manifest = connector.manifest
        self.seen: list[Seen] = []
        self.tokens = 0
        self.behaviour = Behaviour()
        self._connector, self._scripts, self._credential = connector, scripts, credential
        super().__init__(_handler(self))

    def behave(self, **unusual: Any) -> None:
        """Forget what was seen, and behave as told from now on."""
        self.seen.clear()
        self.tokens = 0
        self.behaviour = Behaviour(**unusual)

    def data_requests(self) -> int:
        """Return how many requests for records came."""
        return sum(seen.resource is not None for seen in self.seen)

    def answer(self, seen: Seen) -> Reply:
        """Return the answer to one request."""
        if seen.asked.path == TOKEN_PATH:
            self.tokens += 1
            token = {"access_token": self.token, "expires_in": 3600, "refresh_token": f"{self.token}-r"}
            return Reply(headers={"Content-Type": "application/json"}, body=orjson.dumps(token))
        if seen.resource is None:
            return Reply(NOT_FOUND)
        script = self._script(seen.resource)
        if not self._is_signed(seen):
            return Reply(UNAUTHORIZED)
        if script.above and seen.parent is None:
            return Reply(NOT_FOUND)
        unusual = self.behaviour.instead
        told = unusual(seen, lambda: self._page(script, seen)) if unusual else None
        return told or self._page(script, seen)

    def saw(self, asked: Asked, head: str) -> Seen:
        """Keep a request and return it."""
        resource = self.resource_of(asked.path)
        parent = None
        if resource is not None:
            script = self._script(resource)
            parent = parent_asked(script.spec, script.parents, asked.path, asked.query)
        self.seen.append(Seen(asked, head, resource, parent))
        return self.seen[-1]

    def _script(self, resource: Resource) -> Script:
        instead = self.behaviour.script
        return instead if instead is not None and instead.resource == resource else self._scripts[resource]

    @property
    def token(self) -> str:
        """Return the access token now valid."""
        return f"contract-access-token-{self.tokens}"

    def resource_of(self, path: str) -> Resource | None:
        """Return whose endpoint a path is."""
        for resource in self._scripts:
            pattern = re.escape(self.manifest.resource(resource).endpoint.path.strip("/"))
            if re.fullmatch(re.sub(r"\\\{[^}]*\}", "[^/]+", pattern), path.strip("/")):
                return resource
        return None

    def _is_signed(self, seen: Seen) -> bool:
        auth = self.manifest.client.auth
        if auth is None:
            return True
        if auth.type.startswith("oauth2"):
            return self.token in seen.head
        secrets = {self._credential.password, *map(str, self._credential.extra.values())}
        basic = base64.b64encode(f"{self._credential.login}:{self._credential.password}".encode()).decode()
        return basic in seen.head or any(secret and secret in seen.head for secret in secrets)

    def _page(self, script: Script, seen: Seen) -> Reply:
        """Return the page a request asks for, in the connector's form."""
        asked = seen.asked
        paginator = script.spec.endpoint.paginator or self.manifest.client.paginator
        behaviour, number = self.behaviour, page_asked(paginator, asked)
        if behaviour.numbered is not None:
            rows, pages = list(behaviour.numbered(number)), 10**6
        else:
            everything = self._wanted(script, seen)
            single = paginator.type == "single_page"
            pages = 1 if single else max(1, -(-len(everything) // PAGE_SIZE))
            rows = everything if single else everything[number * PAGE_SIZE : (number + 1) * PAGE_SIZE]
        page = Written(script.value(rows))
        write_next(paginator, asked, page, number=number, pages=pages)
        if behaviour.spoil is not None:
            behaviour.spoil(page, asked)
        return Reply(
            headers={"Content-Type": script.content_type, **page.headers}, body=script.body(page.value)
        )

    def _wanted(self, script: Script, seen: Seen) -> list[Any]:
        """Return the records a request asks for: all, or the parent's, changed since the time it names."""
        records = list(script.records if self.behaviour.records is None else self.behaviour.records)
        if seen.parent is not None:
            records = [record for record in records if key_of(record) == seen.parent.key]
        incremental = script.spec.incremental
        if not self.behaviour.filters or incremental is None or incremental.param is None:
            return records
        text = seen.asked.query.get(incremental.param)
        since = asked_since(incremental, text) if text else None
        if since is None:
            return records
        times = ((record, self._connector.cursor(script.resource, record)) for record in records)
        return [record for record, moment in times if moment is not None and moment >= since]


def _handler(partner: ScriptedPartner) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # else each body waits for the reader's delayed acknowledgement

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            query = dict(parse_qsl(parts.query, keep_blank_values=True))
            asked = Asked(partner.url, parts.path, query, body_of(raw))
            self._send(partner.answer(partner.saw(asked, f"{self.path}\n{self.headers}")))

        do_POST = do_GET  # noqa: N815 - the name http.server calls

        def _send(self, reply: Reply) -> None:
            length = len(reply.body) if reply.announced is None else reply.announced
            self.send_response_only(reply.status)
            for name, value in reply.headers.items():
                self.send_header(name, value)
            if not reply.endless:
                self.send_header("Content-Length", str(length))
            self.end_headers()
            with contextlib.suppress(OSError):
                self.wfile.write(reply.body)
                for _ in range(reply.endless // len(_CHUNK)):
                    self.wfile.write(_CHUNK)
            self.close_connection = bool(reply.endless) or length != len(reply.body)

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    return Handler


def cut_off(reply: Reply) -> Reply:
    """Return the same answer, half of it, the whole length announced."""
    return replace(reply, body=reply.body[: len(reply.body) // 2], announced=len(reply.body))
