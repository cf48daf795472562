"""The session's bounds on one answer: headers, time, size, ratio; and requests of one's own."""

from __future__ import annotations

import contextlib
import gzip
import time
import zlib
from typing import TYPE_CHECKING, Any

import pytest

from include.connectors.open import open_api
from include.errors import ConfigurationError, IntegrationError, NotYetError, RateLimitedError, TransientError
from include.settings import Settings
from tests.conformance.rows import CREDENTIAL, SECRET, Waits, make_manifest, make_row
from tests.conformance.tiny_server import Reply, TinyServer, serving

if TYPE_CHECKING:
    from include.connectors.answer import Answer
    from include.connectors.limits import Place
    from include.connectors.open import Api


def api(server: TinyServer, *, attempts: int = 1, settings: Settings | None = None, **client: Any) -> Api:
    row = make_row(server.url, manifest=make_manifest(**client))
    return open_api(row, CREDENTIAL, settings or Settings(), retry=Waits().policy(attempts=attempts))


def get(opened: Api, path: str = "items") -> Answer:
    return opened.session.send(opened.request("GET", path))


def refusal(opened: Api, kind: type[IntegrationError]) -> str:
    with pytest.raises(kind) as caught:
        get(opened)
    assert type(caught.value) is kind
    assert SECRET not in str(caught.value)
    return str(caught.value)


def compressed(body: bytes, encoding: str) -> Reply:
    return Reply(body=body, headers={"Content-Encoding": encoding})


BOMB = b'{"items": [' + b" " * 20_000_000 + b"]}"


@pytest.mark.parametrize(
    "reply",
    [
        compressed(gzip.compress(BOMB), "gzip"),
        compressed(zlib.compress(BOMB), "deflate"),
        compressed(gzip.compress(gzip.compress(BOMB)), "gzip, gzip"),
    ],
    ids=["gzip", "deflate", "twice"],
)
def test_an_answer_that_unpacks_to_hundreds_of_times_its_size_is_refused(reply: Reply) -> None:
    with serving(reply) as server:
        assert "200 times its size" in refusal(api(server), ConfigurationError)


def test_a_page_of_like_records_may_shrink_well() -> None:
    page = b'{"items": [' + b",".join(b'{"id": %d, "state": "open"}' % n for n in range(100_000)) + b"]}"
    with serving(compressed(gzip.compress(page), "gzip")) as server:
        assert len(get(api(server)).content) == len(page)


def test_headers_that_do_not_end_are_refused() -> None:
    with serving(Reply(body={}, headers={f"X-{n}": "a" * 4000 for n in range(30)})) as server:
        assert "headers that do not end" in refusal(api(server), ConfigurationError)


def test_headers_below_the_limit_are_read() -> None:
    with serving(Reply(body={"items": []}, headers={f"X-{n}": "a" * 1000 for n in range(50)})) as server:
        assert get(api(server)).headers["X-49"] == "a" * 1000


def drip(piece: bytes) -> Any:
    def write(out: Any) -> None:
        for _ in range(100):
            try:
                out.write(piece)
            except OSError:
                return
            time.sleep(0.05)

    return write


@pytest.mark.parametrize("piece", [b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 100 Continue\r\nX-A: 1\r\n"])
def test_headers_that_drip_end_at_the_total_time(piece: bytes) -> None:
    """Each byte comes in time, so that the time-out between two reads never strikes."""
    import socket
    from threading import Thread

    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        connection, _ = listener.accept()
        with connection, connection.makefile("wb", buffering=0) as out:
            drip(piece)(out)

    Thread(target=serve, daemon=True).start()
    row = make_row(
        f"http://127.0.0.1:{listener.getsockname()[1]}", manifest=make_manifest(total_timeout=0.4, timeout=2)
    )
    opened = open_api(row, CREDENTIAL, Settings(), retry=Waits().policy(attempts=1))
    start = time.monotonic()
    with listener, pytest.raises(TransientError, match="not complete after"):
        get(opened)
    assert time.monotonic() - start < 2


def test_a_chunk_size_that_drips_ends_at_the_total_time() -> None:
    chunked = Reply(headers={"Transfer-Encoding": "chunked"}, stream=drip(b"0"))
    with serving(chunked) as server:
        start = time.monotonic()
        refusal(api(server, total_timeout=0.4, timeout=2), TransientError)
        assert time.monotonic() - start < 2


def test_a_connection_is_used_again_with_its_own_time_out() -> None:
    slow = 0.3

    def later(_: Any) -> Reply:
        time.sleep(slow)
        return Reply(body={"items": []})

    with serving(Reply(body={"items": []}), later) as server:
        opened = api(server, timeout=2)
        get(opened)
        assert get(opened).status_code == 200
        assert len({seen.client for seen in server.seen}) == 1


# --- requests of one's own ---


def test_a_request_is_signed_and_below_the_base_url() -> None:
    with serving(Reply(201, {"id": "e1"})) as server:
        opened = api(server, headers={"X-Tenant": "t1", "X-Kind": "manifest"})
        asked = opened.request(
            "POST", "/enrolments", params={"dry": "1"}, json={"a": 1}, headers={"X-Kind": "own"}
        )
        answer = opened.session.exchange(asked)
        seen = server.seen[0]
    assert (answer.status_code, answer.json()) == (201, {"id": "e1"})
    assert (seen.method, seen.path, seen.query) == ("POST", "/enrolments", {"dry": ["1"]})
    assert seen.headers["Authorization"] == f"Bearer {SECRET}"
    assert (seen.headers["X-Tenant"], seen.headers["X-Kind"]) == ("t1", "own")
    assert seen.body == b'{"a": 1}'


def test_a_form_is_written_as_one() -> None:
    with serving(Reply(200, {})) as server:
        opened = api(server)
        opened.session.exchange(opened.request("POST", "x", data={"name": "A & B"}))
        assert server.seen[0].body == b"name=A+%26+B"
        assert server.seen[0].headers["Content-Type"] == "application/x-www-form-urlencoded"


@pytest.mark.parametrize("status", [200, 400, 404, 409, 429, 500])
def test_an_exchange_is_one_try_and_its_answer_is_not_judged(status: int) -> None:
    with serving(Reply(status, {"message": "x"})) as server:
        opened = api(server, attempts=5)
        assert opened.session.exchange(opened.request("POST", "x", json={})).status_code == status
        assert len(server.seen) == 1


class Noted:
    """A budget that remembers what it was told."""

    def __init__(self, refuses: IntegrationError | None = None) -> None:
        self.told: list[Any] = []
        self.under_way = 0
        self.refuses = refuses

    def enter(self) -> Place:
        from include.connectors.limits import Place

        if self.refuses:
            raise self.refuses
        self.under_way += 1
        return Place()

    def keep(self, place: Place) -> None: ...

    def leave(self, place: Place) -> None:  # noqa: ARG002
        self.under_way -= 1

    def throttled(self, seconds: float | None) -> None:
        self.told.append(seconds)

    def judged(self, *, well: bool) -> None:
        self.told.append(well)


@pytest.mark.parametrize(
    ("reply", "sent", "exchanged"),
    [
        (Reply(200, {"items": []}), [True], [True]),
        (Reply(500, {}), [False], [False]),
        (Reply(429, {}, {"Retry-After": "7"}), [7.0, 7.0], [7.0]),
        (Reply(429, {}), [None, None], [None]),
        (Reply(403, {"error": "slow"}), [3.0, 3.0], [3.0]),
        (Reply(200, b'{"items": ['), [False], [True]),
        (Reply(body=b"{}", headers={"Content-Length": "99"}), [False], [False]),
    ],
    ids=["well", "500", "429", "429_untold", "by_rule", "cut", "broken_off"],
)
def test_the_budget_is_told_what_came_of_each_request(
    reply: Reply, sent: list[Any], exchanged: list[Any]
) -> None:
    rule = {"status": 403, "action": "rate_limited", "retry_after_header": "X-Wait"}
    reply.headers.setdefault("X-Wait", "3")
    with serving(reply) as server:
        row = make_row(server.url, manifest=make_manifest() | {"errors": [rule]})
        for ask, wanted in (("send", sent), ("exchange", exchanged)):
            opened = open_api(row, CREDENTIAL, Settings(), retry=Waits().policy(attempts=2))
            budget = opened.session._budget = Noted()
            with contextlib.suppress(IntegrationError):
                getattr(opened.session, ask)(opened.request("GET", "items"))
            assert (budget.told, budget.under_way) == (wanted, 0)


@pytest.mark.parametrize("ask", ["send", "exchange"])
@pytest.mark.parametrize(
    "refused", [NotYetError("open", retry_after=30), RateLimitedError("spent", retry_after=300)]
)
def test_a_request_the_budget_refuses_is_not_sent_nor_counted_nor_tried_again(
    ask: str, refused: IntegrationError
) -> None:
    with serving(Reply(200, {"items": []})) as server:
        opened = api(server, attempts=5)
        opened.session._budget = Noted(refused)
        with pytest.raises(type(refused)):
            getattr(opened.session, ask)(opened.request("GET", "items"))
        assert server.seen == []
        assert False not in opened.session._budget.told
