"""Traps in how a partner hands out its lists: order, pages, links, refusals and spoilt answers."""

from __future__ import annotations

import random
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import orjson

from include.connectors.expressions import PLAIN_PATH
from include.connectors.protocol import Window
from include.errors import ConfigurationError, TransientError
from include.sandbox.contract.bench import MAX_PAGE_BYTES, MAX_PAGES, NotApplicableError, TrapSprungError
from include.sandbox.contract.bodies import set_at, with_cursor, with_id
from include.sandbox.contract.pagination import point_elsewhere
from include.sandbox.contract.parents import own_key
from include.sandbox.contract.server import Reply, ScriptedPartner, cut_off

if TYPE_CHECKING:
    from collections.abc import Callable

    from include.connectors.manifest import ErrorRule, Incremental, When
    from include.sandbox.contract.bench import Bench
    from include.sandbox.contract.bodies import Script

CHECKPOINT = datetime(2026, 6, 15, 12, tzinfo=UTC)
WAIT = 1
_EQUALS = re.compile(r"^([A-Za-z_][\w.]*)\s*==\s*'([^']*)'$")


def records_with_one_time_at_a_page_edge(bench: Bench) -> None:
    """Several records share one time, and a page ends between them: each is read once."""
    script, incremental = timed(bench)
    same = [at(record, incremental, CHECKPOINT) for record in script.records]
    bench.partner.behave(records=same)
    bench.require_all(same, bench.read(Window(since=CHECKPOINT - incremental.lookback)))


def a_record_that_arrives_late(bench: Bench) -> None:
    """A record of before the checkpoint is written after it: the lookback reads it."""
    script, incremental = timed(bench)
    filters = incremental.param is not None
    if filters and incremental.lookback < timedelta(seconds=1):
        raise TrapSprungError("lookback is zero: a record written late would never be read; give it minutes")
    late = [at(record, incremental, CHECKPOINT - incremental.lookback / 2) for record in script.records]
    bench.partner.behave(records=late)
    bench.require_all(late, bench.read(Window(since=CHECKPOINT - incremental.lookback)))


def a_newest_first_feed(bench: Bench) -> None:
    """The partner lists the newest first: everything is read all the same."""
    script, incremental = timed(bench)
    days = range(len(script.records))
    newest = [
        at(record, incremental, CHECKPOINT + timedelta(days=30) - timedelta(days=day))
        for day, record in zip(days, script.records, strict=True)
    ]
    bench.partner.behave(records=newest)
    bench.require_all(newest, bench.read(Window(since=CHECKPOINT - timedelta(days=1))))


def no_filter_on_their_side(bench: Bench) -> None:
    """The partner ignores what it is asked for and sends everything: nothing wanted is lost."""
    script, incremental = timed(bench)
    wanted = [at(record, incremental, CHECKPOINT) for record in script.records]
    bench.partner.behave(records=wanted, filters=False)
    bench.require_all(wanted, bench.read(Window(since=CHECKPOINT - timedelta(hours=1))))


def a_page_that_repeats(bench: Bench) -> None:
    """Every answer is the first page and promises more: noticed, not read for ever."""
    script = _paged(bench)
    first = list(script.records[:3])
    bench.partner.behave(numbered=lambda _number: first)
    bench.refusal("a page loop", ConfigurationError, max_pages=MAX_PAGES)
    if bench.partner.data_requests() > MAX_PAGES:
        raise TrapSprungError(f"a page loop was asked for {bench.partner.data_requests()} times")


def pages_without_end(bench: Bench) -> None:
    """New records on every page, for ever: ended by the limit of pages."""
    script = _paged(bench)
    if own_key(script.spec) is None:
        raise NotApplicableError("new ids cannot be made up: no plain path of the record's own in the key")
    one = script.records[0]
    bench.partner.behave(numbered=lambda number: [with_id(script.spec, one, number + 1)])
    bench.refusal("pages without end", ConfigurationError, max_pages=MAX_PAGES)
    if bench.partner.data_requests() > 2 * MAX_PAGES:
        raise TrapSprungError(
            f"{bench.partner.data_requests()} requests where {MAX_PAGES} pages are the limit"
        )


def an_empty_list(bench: Bench) -> None:
    """A list without records is an empty reading, and the guard against mass withdrawal is on."""
    bench.scripted()
    bench.partner.behave(records=[])
    found = bench.read()
    if found:
        raise TrapSprungError(f"an empty list was read as {len(found)} records")
    deletes = bench.manifest.resource(bench.resource).deletes
    if deletes.mode == "snapshot" and deletes.max_share >= 1:
        raise TrapSprungError(
            "deletes.max_share is 1: an empty list would withdraw every record; leave it at 0.2"
        )


def an_error_body_with_status_200(bench: Bench) -> None:
    """Status 200, but the body is an error: not read as an empty list."""
    script = bench.scripted()
    body = orjson.dumps({"error": {"code": "internal", "message": "Try later"}})
    bench.partner.behave(instead=lambda _seen, _page: _reply(script, body))
    bench.refusal("an error body with status 200", ConfigurationError, TransientError)


def throttled_with_429(bench: Bench) -> None:
    """429 with Retry-After: waited for as told, then everything is read."""
    script = bench.scripted()
    bench.waits.clear()
    _once(bench, Reply(429, {"Retry-After": str(WAIT), "Content-Type": "application/json"}, b"{}"))
    bench.require_all(script.records, bench.read())


def throttled_in_the_vendors_way(bench: Bench) -> None:
    """What the manifest's errors rules call throttling is waited for, then everything is read."""
    script = bench.scripted()
    rules = [rule for rule in bench.manifest.errors if rule.action in ("rate_limited", "retry")]
    if not rules:
        raise NotApplicableError("no errors rule with action rate_limited or retry")
    replies = [reply for rule in rules if (reply := _made_up(rule)) is not None]
    if not replies:
        raise NotApplicableError("the condition of the errors rule cannot be made up")
    for reply in replies:
        _once(bench, reply)
        bench.require_all(script.records, bench.read())


def a_passing_server_error(bench: Bench) -> None:
    """A 503 in between costs a retry, no record."""
    script = bench.scripted()
    _once(bench, Reply(503, {"Content-Type": "text/plain"}, b"busy"))
    bench.require_all(script.records, bench.read())


def an_expired_token(bench: Bench) -> None:
    """A token expires in the middle of a reading: renewed once, nothing lost."""
    script = bench.scripted()
    auth = bench.manifest.client.auth
    if auth is None or not auth.type.startswith("oauth2"):
        raise NotApplicableError("the credential is fixed: nothing expires")
    partner = bench.partner

    def expire(_seen: Any, page: Callable[[], Reply]) -> Reply:
        reply = page()
        if partner.tokens == 1:
            partner.tokens += 1  # what was given out is no longer valid
        return reply

    partner.behave(instead=expire)
    bench.require_all(script.records, bench.read())


def a_refused_credential(bench: Bench) -> None:
    """401 whatever is tried: ended at once, with advice, without telling the credential."""
    bench.scripted()
    bench.waits.clear()
    bench.partner.behave(instead=lambda _seen, _page: Reply(401))
    bench.refusal("a refused credential", ConfigurationError)
    if bench.waits or bench.partner.data_requests() > 2:  # noqa: PLR2004 - once more with a new token
        raise TrapSprungError("a refused credential was tried again and again")


def a_next_page_on_another_host(bench: Bench) -> None:
    """The link to the next page leads to another host: refused, and nothing is sent there."""
    _paged(bench)
    with _elsewhere(bench) as other:
        links: list[bool] = []
        url = f"{other.url}/next"
        bench.partner.behave(spoil=lambda page, _: links.append(point_elsewhere(bench.paginator, page, url)))
        if bench.paginator.type not in ("json_link", "header_link"):
            raise NotApplicableError(f"paginator {bench.paginator.type} follows no links")
        bench.refusal("a next page on another host", ConfigurationError)
        _require_unasked(other)


def a_redirect_to_another_host(bench: Bench) -> None:
    """A redirect leads to another host: refused, and no credential is sent there."""
    bench.scripted()
    with _elsewhere(bench) as other:
        reply = Reply(307, {"Location": f"{other.url}/elsewhere"})
        bench.partner.behave(instead=lambda _seen, _page: reply)
        bench.refusal("a redirect to another host", ConfigurationError)
        _require_unasked(other)


def a_gigantic_answer(bench: Bench) -> None:
    """An answer that does not end is cut off at the limit, not kept in memory."""
    script = bench.scripted()
    endless = Reply(headers={"Content-Type": script.content_type}, endless=20 * MAX_PAGE_BYTES)
    bench.partner.behave(instead=lambda _seen, _page: endless)
    bench.refusal("a gigantic answer", ConfigurationError)


def an_archive_that_unpacks_without_end(bench: Bench) -> None:
    """A small archive that unpacks to a very large file is refused."""
    script = bench.scripted()
    if script.spec.endpoint.response.archive == "none":
        raise NotApplicableError("answers are no archives")
    bomb = script.packed(b"\n" * (4 * MAX_PAGE_BYTES))
    bench.partner.behave(instead=lambda _seen, _page: _reply(script, bomb))
    bench.refusal("an archive that unpacks without end", ConfigurationError)


def a_truncated_answer(bench: Bench) -> None:
    """An answer breaks off: worth another try, never half a list."""
    bench.scripted()
    bench.partner.behave(instead=lambda _seen, page: cut_off(page()))
    bench.refusal("a truncated answer", TransientError)


def a_web_page_instead(bench: Bench) -> None:
    """A log-in or maintenance page with status 200: told as such."""
    bench.scripted()
    html = b"<!DOCTYPE html><html><body><h1>Sign in</h1></body></html>"
    page = Reply(headers={"Content-Type": "text/html"}, body=html)
    bench.partner.behave(instead=lambda _seen, _page: page)
    bench.refusal("a web page instead of records", ConfigurationError)


def a_wrong_charset(bench: Bench) -> None:
    """Text in another charset than declared: told as such, not read as odd characters."""
    script = bench.scripted()
    encoding = (
        "utf-8" if script.spec.endpoint.response.format == "json" else script.spec.endpoint.response.encoding
    )
    plain = script.plain(script.value(script.records)).decode(encoding)
    body = script.packed(plain.encode("utf-16-le"))
    bench.partner.behave(instead=lambda _seen, _page: _reply(script, body))
    bench.refusal("a wrong charset", ConfigurationError)


def an_id_twice_in_one_answer(bench: Bench) -> None:
    """The same record comes twice: both are handed on, nothing is lost."""
    script = bench.scripted()
    twice = [*script.records, script.records[0]]
    random.Random(7).shuffle(twice)
    bench.partner.behave(records=twice)
    bench.require_all(twice, bench.read())


def a_clock_ahead_of_ours(bench: Bench) -> None:
    """A record says that it changed tomorrow: read, and its time told as it is."""
    script, incremental = timed(bench)
    now = datetime.now(UTC)
    ahead = [at(record, incremental, now + timedelta(days=1)) for record in script.records]
    bench.partner.behave(records=ahead)
    found = bench.read(Window(since=now - timedelta(hours=1)))
    bench.require_all(ahead, found)
    cursor = bench.opened.cursor(bench.resource, found[0])
    if cursor is None or cursor < now:
        raise TrapSprungError("the time of a record from a clock ahead of ours is not read as it is told")


READING_TRAPS: tuple[Callable[[Bench], None], ...] = (
    records_with_one_time_at_a_page_edge,
    a_record_that_arrives_late,
    a_newest_first_feed,
    no_filter_on_their_side,
    a_page_that_repeats,
    pages_without_end,
    an_empty_list,
    an_error_body_with_status_200,
    throttled_with_429,
    throttled_in_the_vendors_way,
    a_passing_server_error,
    an_expired_token,
    a_refused_credential,
    a_next_page_on_another_host,
    a_redirect_to_another_host,
    a_gigantic_answer,
    an_archive_that_unpacks_without_end,
    a_truncated_answer,
    a_web_page_instead,
    a_wrong_charset,
    an_id_twice_in_one_answer,
    a_clock_ahead_of_ours,
)


def timed(bench: Bench) -> tuple[Script, Incremental]:
    """Return the script of a resource whose records tell when they changed, and how.

    Raises:
        NotApplicableError: They do not, or it cannot be made up.
    """
    script = bench.scripted()
    incremental = script.spec.incremental
    if incremental is None:
        raise NotApplicableError("no 'incremental': every run reads everything")
    if not PLAIN_PATH.match(incremental.cursor_path):
        raise NotApplicableError("the time of a record is an expression and cannot be made up")
    return script, incremental


def at(record: dict[str, Any], incremental: Incremental, moment: datetime) -> dict[str, Any]:
    """Return a copy that changed at ``moment``; the record itself where that cannot be written."""
    return with_cursor(record, incremental, moment) or record


def _paged(bench: Bench) -> Script:
    script = bench.scripted()
    if bench.paginator.type == "single_page":
        raise NotApplicableError("one answer holds everything")
    return script


def _reply(script: Script, body: bytes) -> Reply:
    return Reply(headers={"Content-Type": script.content_type}, body=body)


def _once(bench: Bench, reply: Reply) -> None:
    """Let the first request for records be answered with ``reply``, all others as usual."""
    given: list[Reply] = [reply]
    bench.partner.behave(instead=lambda _seen, _page: given.pop() if given else None)


def _made_up(rule: ErrorRule) -> Reply | None:
    """Return an answer that meets the condition of a rule, ``None`` if none can be made up."""
    status = rule.status[0] if rule.status else 200
    headers = {"Content-Type": "application/json", rule.retry_after_header: str(WAIT)}
    reply = Reply(status, headers, b"{}")
    return reply if rule.when is None else _meeting(rule.when, reply)


def _meeting(when: When, reply: Reply) -> Reply | None:
    headers = dict(reply.headers)
    if when.header:
        headers[when.header] = when.equals or headers.get(when.header, str(WAIT))
    if when.json_ is None:
        return replace(reply, headers=headers)
    found = _EQUALS.match(when.json_)
    if found is None:
        return None
    body: dict[str, Any] = {}
    set_at(body, found[1].split("."), found[2])
    return replace(reply, headers=headers, body=orjson.dumps(body))


def _elsewhere(bench: Bench) -> ScriptedPartner:
    from include.sandbox.contract.bench import credential

    return ScriptedPartner(bench.opened, {}, credential())


def _require_unasked(other: ScriptedPartner) -> None:
    if other.seen:
        raise TrapSprungError(f"{len(other.seen)} requests went to another host")
