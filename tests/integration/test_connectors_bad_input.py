"""What happens when a partner's API does not behave: each ends as the taxonomy says."""

from __future__ import annotations

import gzip
import json
import socket
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import TYPE_CHECKING, Any

import pytest

from include.connectors.placeholders import CredentialError
from include.connectors.protocol import Window
from include.errors import (
    ConfigurationError,
    FatalError,
    IntegrationError,
    RateLimitedError,
    RecordError,
    TransientError,
)
from tests.conformance.rows import SECRET, Waits, connect, make_manifest, make_row, read
from tests.conformance.tiny_server import Reply, Seen, TinyServer, serving

if TYPE_CHECKING:
    from collections.abc import Callable

    from include.connectors.rest import RestConnector

ITEM = {"id": "1", "name": "Café course", "changed": "2026-01-01T00:00:00Z"}
GOOD = Reply(body={"items": [ITEM], "next": None})
FIRST = Reply(body={"items": [ITEM], "next": "/items?page=2"})
ODD_EXPRESSIONS = ["starts_with(x, 'a')", "sum(x)", "x | keys(@)", "ceil(to_number('1e999'))"]
AGAIN = "the next try starts again from the checkpoint; nothing is lost"


def reader(server: TinyServer, waits: Waits | None = None, **changes: Any) -> RestConnector:
    columns = {"manifest": make_manifest()} | changes.pop("columns", {})
    return connect(make_row(server.url, **columns), waits, **changes)


def refusal(connector: RestConnector, kind: type[Exception] = ConfigurationError) -> str:
    """Read, expect exactly this failure, and return its text, which names the NPO and holds no secret."""
    error = failure(connector)
    assert type(error) is kind or (kind is ConfigurationError and isinstance(error, CredentialError))
    text = str(error)
    assert text.startswith("testnpo: ")
    assert SECRET not in text
    assert "\n" not in text
    return text


def failure(connector: RestConnector) -> IntegrationError:
    """Read and return the failure it must end with."""
    with pytest.raises(IntegrationError) as caught:
        read(connector)
    return caught.value


def pauses(connector: RestConnector) -> bool:
    """Read, expect a matter of configuration, and return whether it pauses the integration."""
    error = failure(connector)
    assert isinstance(error, ConfigurationError)
    return error.pauses


# --- unreachable, unwell, refused ---


def test_an_unreachable_api_is_transient_after_all_tries() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
    waits = Waits()
    text = refusal(connect(make_row(url, manifest=make_manifest()), waits), TransientError)
    assert "cannot be reached" in text
    assert AGAIN in text
    assert url in text
    assert "tried 5 times" in text
    assert len(waits) == 4


def test_waits_grow_and_are_jittered() -> None:
    waits = Waits()
    with serving(Reply(500)) as server:
        refusal(reader(server, waits), TransientError)
    assert [0.5 * 2**i <= wait <= 2**i for i, wait in enumerate(waits)] == [True] * 4


@pytest.mark.parametrize("status", [408, 425, 500, 502, 503, 504, 520])
def test_a_server_that_recovers_is_read(status: int) -> None:
    with serving(Reply(status), Reply(status, body=b"<html>"), GOOD) as server:
        assert [page.records for page in read(reader(server))] == [[ITEM]]


def test_a_server_that_does_not_recover_is_transient() -> None:
    with serving(Reply(503, body=b"<h1>down</h1>")) as server:
        text = refusal(reader(server), TransientError)
        assert len(server.seen) == 5
    assert "503" in text
    assert "GET" in text
    assert AGAIN in text


@pytest.mark.parametrize(
    ("status", "advice"),
    [(401, "credential_ref"), (403, "right"), (404, "base_url"), (400, "parameters"), (410, "no more")],
)
def test_a_refusal_is_a_matter_of_configuration_and_not_retried(status: int, advice: str) -> None:
    with serving(Reply(status, body={"error": "no"})) as server:
        text = refusal(reader(server))
        assert len(server.seen) == 1
    assert str(status) in text
    assert advice in text


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_a_set_up_the_partner_refuses_pauses(status: int) -> None:
    with serving(Reply(status, {})) as server:
        assert pauses(reader(server))


@pytest.mark.parametrize("status", [300, 304, 305, 400, 405, 409, 418, 422, 451])
def test_a_request_the_partner_refuses_does_not_pause(status: int) -> None:
    with serving(Reply(status, b"" if status == 304 else {})) as server:
        assert not pauses(reader(server))


def test_a_refusal_by_a_rule_of_the_manifest_pauses() -> None:
    manifest = make_manifest() | {"errors": [{"when": {"json": "locked"}, "action": "fail"}]}
    with serving(Reply(body={"locked": True})) as server:
        assert pauses(reader(server, columns={"manifest": manifest}))


@pytest.mark.parametrize(
    "reply",
    [
        Reply(body=b"<!doctype html>"),
        Reply(body=b"nothing like JSON"),
        Reply(body={"error": "no list"}),
        Reply(body={"items": [ITEM], "next": "http://evil.example/"}),
        Reply(body={"items": [ITEM], "next": "/items"}),
        Reply(302, b"", {"Location": "http://evil.example/"}),
    ],
    ids=["html", "not json", "wrong shape", "other host", "page loop", "redirect"],
)
def test_an_odd_answer_does_not_pause(reply: Reply) -> None:
    with serving(reply) as server:
        assert not pauses(reader(server))


def test_a_refusal_never_quotes_the_answer() -> None:
    with serving(Reply(400, body={"error": "unknown learner Jane Roe"})) as server:
        assert "Jane" not in refusal(reader(server))


# --- throttling ---


def test_a_short_retry_after_is_waited_for() -> None:
    waits = Waits()
    with serving(Reply(429, headers={"Retry-After": "7"}), GOOD) as server:
        assert len(read(reader(server, waits))) == 1
    assert [7 <= wait <= 8 for wait in waits] == [True]


def test_a_retry_after_date_is_taken_by_the_partners_clock() -> None:
    waits = Waits()
    theirs = datetime(2020, 1, 1, tzinfo=UTC)
    headers = {
        "Date": format_datetime(theirs, usegmt=True),
        "Retry-After": format_datetime(theirs + timedelta(seconds=9), usegmt=True),
    }

    with serving(Reply(429, {}, headers), GOOD) as server:
        read(reader(server, waits))
    assert [9 <= wait <= 10 for wait in waits] == [True]


def test_a_long_retry_after_is_told_to_the_run_and_not_waited_for() -> None:
    waits = Waits()
    with serving(Reply(429, headers={"Retry-After": "3600"})) as server:
        with pytest.raises(RateLimitedError) as caught:
            read(reader(server, waits))
        assert len(server.seen) == 1
    assert caught.value.retry_after == 3600
    assert not waits


@pytest.mark.parametrize("value", ["soon", "", "nan", "inf", "-5", "99999999999999"])
def test_a_senseless_retry_after_does_no_harm(value: str) -> None:
    with serving(Reply(429, headers={"Retry-After": value}), GOOD) as server:
        try:
            pages = read(reader(server))
        except RateLimitedError as error:
            assert error.retry_after == 3_600  # noqa: PT017 - either outcome is right, its bound is the rule
        else:
            assert len(pages) == 1


def test_still_throttled_after_all_tries_is_rate_limited() -> None:
    with serving(Reply(429)) as server:
        text = refusal(reader(server), RateLimitedError)
    assert "requests_per_minute" in text
    assert AGAIN in text


def test_a_403_that_means_throttled_is_retried_by_rule() -> None:
    rules = [{"status": 403, "when": {"json": "error.code == 'throttled'"}, "action": "rate_limited"}]
    manifest = make_manifest() | {"errors": rules}
    throttled, forbidden = (
        Reply(403, {"error": {"code": "throttled"}}),
        Reply(403, {"error": {"code": "bad_key"}}),
    )
    with serving(throttled, throttled, GOOD) as server:
        assert len(read(reader(server, columns={"manifest": manifest}))) == 1
    with serving(forbidden) as server:
        refusal(reader(server, columns={"manifest": manifest}))
        assert len(server.seen) == 1


def test_a_vendor_header_that_means_throttled_is_retried_by_rule() -> None:
    rules = [
        {
            "status": [200, 400],
            "when": {"header": "X-Quota-Left", "equals": "0"},
            "action": "rate_limited",
            "retry_after_header": "X-Quota-Reset",
        }
    ]
    waits = Waits()
    limited = Reply(400, {}, {"X-Quota-Left": "0", "X-Quota-Reset": "3"})
    with serving(limited, GOOD) as server:
        read(reader(server, waits, columns={"manifest": make_manifest() | {"errors": rules}}))
    assert [3 <= wait <= 4 for wait in waits] == [True]


@pytest.mark.parametrize(
    ("rule", "kind"),
    [
        ({"action": "fail"}, ConfigurationError),
        ({"action": "fail", "failure": "transient"}, TransientError),
        ({"action": "fail", "failure": "system"}, FatalError),
        ({"action": "retry"}, TransientError),
    ],
)
def test_a_rule_decides_what_an_answer_means(rule: dict[str, str], kind: type[Exception]) -> None:
    manifest = make_manifest() | {"errors": [{"when": {"json": "fault == 'x'"}} | rule]}
    with serving(Reply(200, {"items": [], "fault": "x"})) as server:
        refusal(reader(server, columns={"manifest": manifest}), kind)


def test_a_condition_that_meets_another_type_does_not_hold() -> None:
    rules = [{"when": {"json": expression}, "action": "fail"} for expression in ODD_EXPRESSIONS]
    with serving(Reply(body={"items": [ITEM], "x": 5})) as server:
        assert len(read(reader(server, columns={"manifest": make_manifest() | {"errors": rules}}))) == 1


def test_a_rule_can_ignore_an_answer() -> None:
    manifest = make_manifest() | {"errors": [{"status": 404, "action": "ignore"}]}
    with serving(Reply(404, {"message": "nothing new"})) as server:
        assert read(reader(server, columns={"manifest": manifest})) == []


NOTHING_NEW = [{"when": {"json": "message == 'nothing new'"}, "action": "ignore"}]


@pytest.mark.parametrize(
    "empty", [Reply(204, b""), Reply(200, {"message": "nothing new"})], ids=["no content", "by rule"]
)
def test_an_answer_without_a_list_in_mid_list_is_no_end(empty: Reply) -> None:
    manifest = make_manifest() | {"errors": NOTHING_NEW}
    with serving(FIRST, empty) as server:
        text = refusal(reader(server, columns={"manifest": manifest}), TransientError)
    assert "answer 2" in text
    assert AGAIN in text
    with serving(empty) as server:
        assert read(reader(server, columns={"manifest": manifest})) == []


def test_each_reading_of_a_run_may_begin_with_nothing() -> None:
    with serving(FIRST, Reply(body={"items": []}), Reply(204, b"")) as server:
        connector = reader(server)
        assert [len(read(connector)), len(read(connector))] == [2, 0]


def test_the_budget_holds_back_what_is_above_it() -> None:
    from include.connectors.limits import Limits

    budget = Limits(3, 1, 1, 1, 1, period=0.4).budget()
    start = time.monotonic()
    for _ in range(4):
        budget.leave(budget.enter())
    assert time.monotonic() - start >= 0.4


# --- bodies that are not what they should be ---


@pytest.mark.parametrize("content_type", ["text/html", "application/json"])
def test_html_instead_of_json_is_configuration(content_type: str) -> None:
    page = Reply(body=b"<!doctype html><h1>Log in</h1>", headers={"Content-Type": content_type})
    with serving(page) as server:
        assert "HTML" in refusal(reader(server))
        assert len(server.seen) == 1


@pytest.mark.parametrize("keep", [0, 1, 5, 24, 40, -1, -2])
def test_truncated_json_is_retried_then_transient(keep: int) -> None:
    whole = json.dumps({"items": [ITEM, {"name": "Zürich"}], "next": None}, ensure_ascii=False).encode()
    cut = Reply(body=whole[:keep])
    with serving(cut, Reply(body=whole)) as server:
        assert len(read(reader(server))[0].records) == 2
    with serving(cut) as server:
        assert "incomplete" in refusal(reader(server), TransientError)


def test_json_cut_inside_a_letter_is_truncated_and_not_a_wrong_charset() -> None:
    whole = json.dumps({"items": [{"name": "é"}]}, ensure_ascii=False).encode()
    cut = whole[: whole.index("é".encode()) + 1]
    with serving(Reply(body=cut)) as server:
        refusal(reader(server), TransientError)


def test_a_connection_closed_before_the_announced_length_is_transient() -> None:
    with serving(Reply(body=b'{"items": []}', headers={"Content-Length": "500"}), GOOD) as server:
        assert len(read(reader(server))) == 1
    with serving(Reply(body=b'{"items": []}', headers={"Content-Length": "500"})) as server:
        assert "broke off" in refusal(reader(server), TransientError)


def test_a_chunked_answer_that_breaks_off_is_transient() -> None:
    def stream(out: Any) -> None:
        out.write(b'd\r\n{"items": []}\r\n')

    with serving(Reply(headers={"Transfer-Encoding": "chunked"}, stream=stream), GOOD) as server:
        assert len(read(reader(server))) == 1


def test_a_chunked_answer_is_read_whole() -> None:
    def stream(out: Any) -> None:
        for piece in (b'{"items": [', json.dumps(ITEM).encode(), b"]}"):
            out.write(b"%x\r\n%s\r\n" % (len(piece), piece))
        out.write(b"0\r\n\r\n")

    with serving(Reply(headers={"Transfer-Encoding": "chunked"}, stream=stream)) as server:
        assert read(reader(server))[0].records == [ITEM]


@pytest.mark.parametrize(
    "body", [b"OK", b"{'items': []}", b'{"items": [NaN]}', b"[" * 3000, b'{"a": 1}{"b": 2}']
)
def test_what_is_not_json_is_configuration(body: bytes) -> None:
    with serving(Reply(body=body)) as server:
        refusal(reader(server))


@pytest.mark.parametrize(
    "body", [{"error": {"code": "internal"}}, [], "no", None, {"items": None}, {"items": {}}]
)
def test_a_200_with_an_error_body_is_configuration(body: Any) -> None:
    with serving(Reply(body=body)) as server:
        text = refusal(reader(server))
    assert "expected a list at 'items'" in text


def test_a_disguised_error_is_told_by_its_names_only() -> None:
    with serving(Reply(body={"error": "Jane Roe not found"})) as server:
        text = refusal(reader(server))
    assert "an object with error" in text
    assert "Jane" not in text


def test_a_declared_charset_is_honoured_and_the_bytes_are_kept() -> None:
    body = json.dumps({"items": [ITEM]}, ensure_ascii=False).encode("latin-1")
    content_type = "application/json; charset=iso-8859-1"
    with serving(Reply(body=body, headers={"Content-Type": content_type})) as server:
        connector = reader(server)
        page = read(connector)[0]
    assert page.body == body
    assert page.records == [ITEM]
    assert connector.records("offerings", page.body, page.content_type) == [ITEM]


def test_a_charset_nobody_declares_can_stand_in_the_manifest() -> None:
    body = json.dumps({"items": [ITEM]}, ensure_ascii=False).encode("cp1252")
    with serving(Reply(body=body)) as server:
        assert "client.charset" in refusal(reader(server))
        connector = reader(server, columns={"manifest": make_manifest(charset="cp1252")})
        assert read(connector)[0].records == [ITEM]


def test_a_wrongly_declared_charset_does_no_harm_to_utf_8() -> None:
    body = json.dumps({"items": [ITEM]}, ensure_ascii=False).encode()
    headers = {"Content-Type": "application/json; charset=iso-8859-1"}
    with serving(Reply(body=body, headers=headers)) as server:
        assert read(reader(server))[0].records == [ITEM]


@pytest.mark.parametrize(
    ("written", "read_as"),
    [
        (rb"cut \ud83d", "cut \ufffd"),
        (rb"\uDE00 cut", "\ufffd cut"),
        (rb"\ud83d\ud83d\ude00", "\ufffd\U0001f600"),
        (rb"\ude00\ud83d", "\ufffd\ufffd"),
        (rb"\ud83d \\ud83d \\\\ \"\u00e9", '\ufffd \\ud83d \\\\ "\u00e9'),
    ],
)
def test_a_cut_emoji_costs_its_half_and_not_the_page(written: bytes, read_as: str) -> None:
    body = b'{"items": [{"id": "1"}, {"id": "2", "name": "' + written + b'", "n": 18446744073709551616}]}'
    with serving(Reply(body=body)) as server:
        connector = reader(server)
        (page,) = read(connector)
    assert page.body == body
    assert [record.get("name") for record in page.records] == [None, read_as]
    assert connector.records("offerings", body) == page.records


@pytest.mark.parametrize(
    "end", [b"", b'"', b'"}', b'", "more": ', rb"\u", rb"\ude", rb"\ud83d"], ids=lambda end: end.decode()
)
def test_a_page_that_is_cut_off_after_a_cut_emoji_is_transient(end: bytes) -> None:
    with serving(Reply(body=rb'{"items": [{"id": "1", "name": "\ud83d' + end)) as server:
        assert "incomplete" in refusal(reader(server), TransientError)


def test_what_is_no_json_for_another_reason_stays_so() -> None:
    with serving(Reply(body=rb'{"items": [{"id": NaN, "name": "\ud83d"}]}')) as server:
        assert "not JSON" in refusal(reader(server))


def test_a_cut_emoji_in_another_charset_is_mended_too() -> None:
    body = '{"items": [{"id": "1", "name": "Café \\ud83d"}]}'.encode("cp1252")
    headers = {"Content-Type": "application/json; charset=windows-1252"}
    with serving(Reply(body=body, headers=headers)) as server:
        assert read(reader(server))[0].records[0]["name"] == "Café \ufffd"


def test_a_byte_order_mark_is_no_fault() -> None:
    with serving(Reply(body=b"\xef\xbb\xbf" + GOOD.content())) as server:
        assert read(reader(server))[0].records == [ITEM]


def test_no_content_is_an_empty_reading() -> None:
    with serving(Reply(204, b"")) as server:
        assert read(reader(server)) == []


# --- size and time ---


def test_an_oversize_page_is_refused_before_it_is_all_read() -> None:
    sent = []

    def stream(out: Any) -> None:
        for _ in range(10_000):
            out.write(b"1000\r\n" + b"x" * 0x1000 + b"\r\n")
            sent.append(1)

    with serving(Reply(headers={"Transfer-Encoding": "chunked"}, stream=stream)) as server:
        text = refusal(reader(server, max_page_bytes=100_000))
    assert "100000 bytes" in text
    assert "SPOTLIGHT_MAX_PAGE_BYTES" in text
    assert len(sent) < 9_000


def test_a_page_of_exactly_the_limit_is_read() -> None:
    with serving(GOOD) as server:
        assert len(read(reader(server, max_page_bytes=len(GOOD.content())))) == 1
        refusal(reader(server, max_page_bytes=len(GOOD.content()) - 1))


def test_a_gzip_bomb_is_counted_as_it_unfolds() -> None:
    bomb = gzip.compress(b'{"items": ["' + b"x" * 20_000_000 + b'"]}')
    assert len(bomb) < 100_000
    with serving(Reply(body=bomb, headers={"Content-Encoding": "gzip"})) as server:
        assert "1000000 bytes" in refusal(reader(server, max_page_bytes=1_000_000))


def test_a_gzip_answer_is_landed_decoded() -> None:
    with serving(Reply(body=gzip.compress(GOOD.content()), headers={"Content-Encoding": "gzip"})) as server:
        assert read(reader(server))[0].body == GOOD.content()


def test_a_broken_gzip_answer_is_transient() -> None:
    with serving(Reply(body=b"no gzip at all", headers={"Content-Encoding": "gzip"})) as server:
        refusal(reader(server), TransientError)


def test_a_server_that_says_nothing_times_out() -> None:
    def silent(_: Seen) -> Reply:
        time.sleep(0.6)
        return GOOD

    with serving(silent) as server:
        manifest = make_manifest(timeout=0.1)
        assert "timed out" in refusal(reader(server, columns={"manifest": manifest}), TransientError)


def test_a_server_that_drips_is_cut_off_by_the_total_time() -> None:
    def drip(out: Any) -> None:
        for _ in range(60):
            out.write(b" ")
            out.flush()
            time.sleep(0.05)

    manifest = make_manifest(timeout=1, total_timeout=0.3)
    with serving(Reply(headers={"Content-Length": "1000000"}, stream=drip)) as server:
        start = time.monotonic()
        with pytest.raises(TransientError, match=r"not complete after 0\.3 s"):
            read(reader(server, columns={"manifest": manifest}))
        assert time.monotonic() - start < 5


def test_connections_are_reused() -> None:
    def pages(seen: Seen) -> Reply:
        number = int(seen.query.get("page", ["1"])[0])
        following = f"/items?page={number + 1}" if number < 4 else None
        return Reply(body={"items": [{"id": number}], "next": following})

    with serving(pages) as server:
        assert len(read(reader(server))) == 4
        assert len({seen.client for seen in server.seen}) == 1


# --- other hosts ---


def test_a_next_page_link_to_another_host_is_refused_after_the_pages_before_it() -> None:
    with serving(GOOD) as other:
        with serving(Reply(body={"items": [ITEM], "next": f"{other.url}/items"})) as server:
            pages = reader(server).pages("offerings", Window())
            assert next(pages).records == [ITEM]
            with pytest.raises(ConfigurationError, match=r"next-page link of answer 1 leads to") as caught:
                next(pages)
        assert other.host in str(caught.value)
        assert "allowed_hosts" in str(caught.value)
        assert other.seen == []


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_to_another_host_is_refused_and_no_credential_sent(status: int) -> None:
    with serving(GOOD) as other, serving(Reply(status, b"", {"Location": f"{other.url}/items"})) as server:
        text = refusal(reader(server))
        assert other.seen == []
    assert "redirect" in text
    assert other.host in text


@pytest.mark.parametrize(
    "target",
    [
        "file:///etc/passwd",
        "ftp://x/",
        "//evil.example/",
        "http://a@evil.example/",
        "http://ok\\@evil.example/",
        "http://[::1",
    ],
)
def test_an_odd_redirect_is_refused(target: str) -> None:
    with serving(Reply(302, b"", {"Location": target})) as server:
        refusal(reader(server))
        assert len(server.seen) == 1


@pytest.mark.parametrize(
    "target", ["file:///etc/passwd", "http://evil.example/", "//evil.example/x", "javascript:1", 7, {"a": 1}]
)
def test_an_odd_next_page_link_is_refused(target: Any) -> None:
    with serving(Reply(body={"items": [ITEM], "next": target})) as server:
        refusal(reader(server))
        assert len(server.seen) == 1


def test_a_redirect_on_the_same_host_is_followed_with_the_credential() -> None:
    def answer(seen: Seen) -> Reply:
        return GOOD if seen.path == "/moved" else Reply(302, b"", {"Location": "/moved"})

    with serving(answer) as server:
        assert len(read(reader(server))) == 1
        assert server.seen[1].headers["Authorization"] == f"Bearer {SECRET}"


def test_a_redirect_to_another_allowed_host_is_followed_without_the_credential() -> None:
    with serving(GOOD) as other, serving(Reply(302, b"", {"Location": f"{other.url}/items"})) as server:
        hosts = {"allowed_hosts": (server.host, other.host)}
        assert len(read(reader(server, columns=hosts))) == 1
        assert "Authorization" not in other.seen[0].headers


def test_endless_redirects_are_refused() -> None:
    with serving(Reply(302, b"", {"Location": "/items"})) as server:
        assert "redirects more than" in refusal(reader(server))
        assert len(server.seen) == 6


def test_a_base_url_outside_the_allowed_hosts_is_never_asked() -> None:
    with serving(GOOD) as server:
        refusal(reader(server, columns={"allowed_hosts": ("api.example.org",)}))
        assert server.seen == []


def test_nothing_is_taken_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    with serving(GOOD) as server:
        assert len(read(reader(server))) == 1


# --- pages without end ---


def test_a_next_link_to_the_same_page_is_a_loop() -> None:
    with serving(Reply(body={"items": [ITEM], "next": "/items"})) as server:
        pages = reader(server).pages("offerings", Window())
        next(pages)
        with pytest.raises(ConfigurationError, match=r"page 2 .* page loop") as caught:
            next(pages)
    assert "landing zone as evidence, nothing of this attempt reaches the store" in str(caught.value)


def test_a_server_that_ignores_the_page_number_is_a_loop() -> None:
    manifest = make_manifest(
        paginator={"type": "page_number", "page_param": "page", "base_page": 1, "total_path": None}
    )
    echo: Callable[[Seen], Reply] = lambda seen: Reply(body={"items": [ITEM], "page": seen.query["page"]})  # noqa: E731
    with serving(echo) as server:
        assert "page 2" in refusal(reader(server, columns={"manifest": manifest}))


def test_the_same_request_again_is_a_loop_whatever_it_answers() -> None:
    count = iter(range(1000))
    feed: Callable[[Seen], Reply] = lambda _: Reply(  # noqa: E731
        body={"items": [{"id": next(count)}], "next": "/items?cursor=same"}
    )
    with serving(feed) as server:
        assert "page 3" in refusal(reader(server))


def test_two_empty_pages_are_no_loop() -> None:
    bodies = [{"items": [], "next": "/items?c=2"}, {"items": [], "next": "/items?c=3"}, {"items": [ITEM]}]
    with serving(*[Reply(body=body) for body in bodies]) as server:
        assert [len(page.records) for page in read(reader(server))] == [0, 0, 1]


def test_a_loop_of_empty_pages_is_a_loop() -> None:
    with serving(Reply(body={"items": [], "next": "/items?c=2"})) as server:
        assert "page 3" in refusal(reader(server))


def test_endless_pages_end_at_the_limit() -> None:
    count = iter(range(1000))
    endless: Callable[[Seen], Reply] = lambda _: Reply(  # noqa: E731
        body={"items": [{"id": (n := next(count))}], "next": f"/items?c={n}"}
    )
    with serving(endless) as server:
        assert "more than 10 pages" in refusal(reader(server, max_pages=10))
        assert len(server.seen) == 11


def test_a_paginator_that_finds_nothing_tells_so_without_quoting_the_answer() -> None:
    manifest = make_manifest(paginator={"type": "page_number", "page_param": "page"})
    with serving(Reply(body={"items": [{"name": "Jane Roe"}]})) as server:
        text = refusal(reader(server, columns={"manifest": manifest}))
    assert "paginator page_number" in text
    assert "Jane" not in text


# --- records ---


@pytest.mark.parametrize(
    "record", [{}, {"id": None}, {"id": ""}, {"id": "  "}, {"id": True}, {"id": [1]}, {"id": 1.5}]
)
def test_a_record_without_id_is_one_bad_record(record: dict[str, Any]) -> None:
    with serving(Reply(body={"items": [record, ITEM]})) as server:
        connector = reader(server)
        bad, good = read(connector)[0].records
    with pytest.raises(RecordError) as caught:
        connector.external_id("offerings", bad)
    assert caught.value.code == "missing_id"
    assert connector.external_id("offerings", good) == "1"


def odd_paths(**words: Any) -> dict[str, Any]:
    """Return the small manifest with other words in its resource."""
    manifest = make_manifest()
    manifest["resources"]["offerings"] |= words
    return manifest


def code_of(ask: Callable[..., Any], record: Any) -> str:
    with pytest.raises(RecordError) as caught:
        ask("offerings", record)
    assert "Jane" not in str(caught.value)
    return caught.value.code


@pytest.mark.parametrize("expression", ODD_EXPRESSIONS)
def test_an_expression_that_meets_another_type_is_one_bad_record(expression: str) -> None:
    manifest = odd_paths(
        primary_key=["id", expression],
        incremental={"cursor_path": expression},
        deletes={"mode": "flag", "flag": {"path": expression}},
    )
    connector = connect(make_row("https://api.example.org", manifest=manifest))
    record = {"id": "1", "x": 5 if expression.startswith("start") else "Jane Roe"}
    assert code_of(connector.external_id, record) == "bad_shape"
    assert code_of(connector.cursor, record) == "bad_shape"
    assert connector.is_deleted("offerings", record) is False


def test_a_selector_that_meets_another_type_is_a_wrong_answer() -> None:
    manifest = odd_paths(endpoint={"path": "items", "data_selector": "values(items)"})
    with serving(Reply(body={"items": [ITEM]})) as server:
        connector = reader(server, columns={"manifest": manifest})
        assert "expected a list at" in refusal(connector)
        with pytest.raises(ConfigurationError, match="expected a list at"):
            connector.records("offerings", b'{"items": []}')


@pytest.mark.parametrize("parts", [("i" * 256, ""), ("i" * 128, "j" * 127), ("a\0b", ""), ("a", "b\0c")])
def test_an_id_that_is_too_long_or_holds_nul_is_one_bad_record(parts: tuple[str, str]) -> None:
    manifest = odd_paths(primary_key=["id", "more"] if parts[1] else "id")
    connector = connect(make_row("https://api.example.org", manifest=manifest))
    assert code_of(connector.external_id, {"id": parts[0], "more": parts[1]}) == "bad_id"
    shorter = {"id": parts[0].replace("\0", "")[-127:], "more": parts[1].replace("\0", "")}
    assert len(connector.external_id("offerings", shorter)) <= 255


def test_an_id_of_255_characters_is_an_id() -> None:
    connector = connect(make_row("https://api.example.org", manifest=make_manifest()))
    assert connector.external_id("offerings", {"id": "é" * 255}) == "é" * 255


@pytest.mark.parametrize("record", [None, "text", 3, ["list"], True])
def test_a_record_that_is_no_object_is_one_bad_record(record: Any) -> None:
    with serving(Reply(body={"items": [record]})) as server:
        connector = reader(server)
        (bad,) = read(connector)[0].records
    for ask in (connector.external_id, connector.to_platform):
        with pytest.raises(RecordError) as caught:
            ask("offerings", bad)
        assert caught.value.code == "not_an_object"
    assert connector.cursor("offerings", bad) is None
    assert connector.is_deleted("offerings", bad) is False


# --- tokens ---

OAUTH = {
    "auth": {
        "type": "oauth2_client_credentials",
        "access_token_url": "/token",
        "client_id": "{credential.login}",
        "client_secret": "{credential.password}",
    }
}


class TokenServer:
    """Gives out numbered tokens; each is good for ``uses`` requests."""

    def __init__(self, uses: int) -> None:
        self.uses, self.issued, self.left = uses, 0, 0

    def __call__(self, seen: Seen) -> Reply:
        if seen.path == "/token":
            self.issued, self.left = self.issued + 1, self.uses
            return Reply(body={"access_token": f"token-number-{self.issued}", "expires_in": 3600})
        if not self.left or seen.headers.get("Authorization") != f"Bearer token-number-{self.issued}":
            return Reply(401, {"error": "invalid_token"})
        self.left -= 1
        page = int(seen.query.get("page", ["1"])[0])
        return Reply(body={"items": [{"id": page}], "next": f"/items?page={page + 1}" if page < 5 else None})


def test_a_token_that_expires_in_mid_run_is_renewed() -> None:
    tokens = TokenServer(uses=2)
    with serving(tokens) as server:
        pages = read(reader(server, columns={"manifest": make_manifest(**OAUTH)}))
    assert [page.records[0]["id"] for page in pages] == [1, 2, 3, 4, 5]
    assert tokens.issued == 3


def test_a_token_is_renewed_once_for_a_request_then_it_is_a_refusal() -> None:
    tokens = TokenServer(uses=0)
    with serving(tokens) as server:
        assert "credential" in refusal(reader(server, columns={"manifest": make_manifest(**OAUTH)}))
    assert tokens.issued == 2


def test_a_refused_client_is_configuration() -> None:
    with serving(Reply(401, {"error": "invalid_client"})) as server:
        text = refusal(reader(server, columns={"manifest": make_manifest(**OAUTH)}))
        assert [seen.path for seen in server.seen] == ["/token"]
    assert "/token" in text


@pytest.mark.parametrize(
    "reply",
    [
        Reply(400, {"error": "invalid_client"}),
        Reply(401, {}),
        Reply(422, {}),
        Reply(body=b"<!doctype html>"),
        Reply(302, b"", {"Location": "http://evil.example/"}),
        Reply(204, b""),
        Reply(body={}),
    ],
    ids=["400", "401", "422", "html", "redirect", "no content", "no token"],
)
def test_every_refusal_of_a_token_pauses(reply: Reply) -> None:
    with serving(reply) as server:
        assert pauses(reader(server, columns={"manifest": make_manifest(**OAUTH)}))


def test_an_unwell_token_endpoint_does_not_pause() -> None:
    with serving(Reply(503)) as server:
        refusal(reader(server, columns={"manifest": make_manifest(**OAUTH)}), TransientError)


@pytest.mark.parametrize(
    "body",
    [{}, [], {"access_token": None}, {"access_token": 5}],
)
def test_a_token_answer_without_a_token_is_configuration(body: Any) -> None:
    with serving(Reply(body=body)) as server:
        assert "no access_token" in refusal(reader(server, columns={"manifest": make_manifest(**OAUTH)}))


def test_a_token_endpoint_on_another_host_is_refused() -> None:
    with serving(GOOD) as other, serving(GOOD) as server:
        auth = OAUTH["auth"] | {"access_token_url": f"{other.url}/token"}
        refusal(reader(server, columns={"manifest": make_manifest(auth=auth)}))
        assert other.seen == []


def test_an_unwell_token_endpoint_is_retried() -> None:
    tokens = TokenServer(uses=9)
    with serving(Reply(503), tokens) as server:
        assert len(read(reader(server, columns={"manifest": make_manifest(**OAUTH)}))) == 5


def test_two_resources_of_a_run_share_one_token() -> None:
    tokens = TokenServer(uses=99)
    with serving(tokens) as server:
        connector = reader(server, columns={"manifest": make_manifest(**OAUTH)})
        read(connector)
        read(connector)
    assert tokens.issued == 1


def test_a_missing_part_of_the_credential_is_named() -> None:
    auth = {"type": "bearer", "token": "{credential.extra.tenant_token}"}
    with serving(GOOD) as server:
        text = refusal(reader(server, columns={"manifest": make_manifest(auth=auth)}))
        assert server.seen == []
    assert "{credential.extra.tenant_token}" in text


# --- secrets ---


def test_a_key_in_the_query_is_hidden_in_pages_and_messages() -> None:
    auth = {"type": "api_key", "name": "k", "api_key": "{credential.password}", "location": "query"}
    manifest = make_manifest(auth=auth)
    with serving(GOOD, Reply(404, {})) as server:
        connector = reader(server, columns={"manifest": manifest})
        page = read(connector)[0]
        text = refusal(connector)
        assert server.seen[0].query["k"] == [SECRET]
    assert page.url == f"{server.url}/items?k=***"
    assert "k=***" in text


def test_a_secret_the_partner_echoes_in_a_redirect_is_hidden() -> None:
    with serving(Reply(302, b"", {"Location": f"/items?session={SECRET}"}), Reply(404, {})) as server:
        assert "session=***" in refusal(reader(server))
