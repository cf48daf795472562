"""Every paginator of dlt, read over real sockets; links and credentials stay with their host."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import pytest

from include.connectors.manifest import merge
from include.errors import ConfigurationError
from tests.conformance.rows import SECRET, connect, make_manifest, make_row, read
from tests.conformance.tiny_server import Reply, Seen, serving

PAGES = [[{"id": "a"}, {"id": "b"}], [{"id": "c"}, {"id": "d"}], [{"id": "e"}]]
EVERYTHING = ["a", "b", "c", "d", "e"]
Api = Callable[[Seen], tuple[int, dict[str, Any], dict[str, str]]]


def query(seen: Seen, name: str, default: str = "0") -> int:
    return int(seen.query.get(name, [default])[0])


def in_body(seen: Seen, *path: str) -> int:
    value = json.loads(seen.body or b"{}")
    for part in path:
        value = value.get(part, {})
    return int(value or 0)


def by_json_link(seen: Seen) -> tuple[int, dict[str, Any], dict[str, str]]:
    page = query(seen, "p")
    return page, {"next": f"/items?p={page + 1}" if page < 2 else None}, {}


def by_header_link(seen: Seen) -> tuple[int, dict[str, Any], dict[str, str]]:
    page = query(seen, "p")
    return page, {}, {"Link": f'<items?p={page + 1}>; rel="next"'} if page < 2 else {}


def by_header_cursor(seen: Seen) -> tuple[int, dict[str, Any], dict[str, str]]:
    page = query(seen, "cursor")
    return page, {}, {"X-Next": str(page + 1)} if page < 2 else {}


def by_cursor(seen: Seen) -> tuple[int, dict[str, Any], dict[str, str]]:
    page = query(seen, "after")
    return page, {"cursors": {"next": str(page + 1) if page < 2 else None}}, {}


def by_body_cursor(seen: Seen) -> tuple[int, dict[str, Any], dict[str, str]]:
    page = in_body(seen, "page", "after")
    return page, {"meta": {"next": str(page + 1), "more": page < 2}}, {}


def by_offset(seen: Seen) -> tuple[int, dict[str, Any], dict[str, str]]:
    return query(seen, "offset") // 2, {"total": 5}, {}


def by_body_offset(seen: Seen) -> tuple[int, dict[str, Any], dict[str, str]]:
    assert in_body(seen, "page", "size") == 2
    page = in_body(seen, "page", "from") // 2
    return page, {"more": page < 2}, {}


def by_page(seen: Seen) -> tuple[int, dict[str, Any], dict[str, str]]:
    return query(seen, "page", "1") - 1, {"pages": 3}, {}


def by_body_page(seen: Seen) -> tuple[int, dict[str, Any], dict[str, str]]:
    page = in_body(seen, "number") - 1
    return page, {"more": page < 2}, {}


CASES: dict[str, tuple[dict[str, Any] | str, Api]] = {
    "json_link": ("json_link", by_json_link),
    "header_link": ("header_link", by_header_link),
    "header_cursor": ({"type": "header_cursor", "cursor_key": "X-Next"}, by_header_cursor),
    "cursor": ({"type": "cursor", "cursor_param": "after"}, by_cursor),
    "cursor in the body, has_more": (
        {
            "type": "cursor",
            "cursor_path": "meta.next",
            "cursor_body_path": "page.after",
            "has_more_path": "meta.more",
        },
        by_body_cursor,
    ),
    "offset": ({"type": "offset", "limit": 2}, by_offset),
    "offset, stopped by a page without records": (
        {"type": "offset", "limit": 2, "total_path": None},
        by_offset,
    ),
    "offset in the body, has_more": (
        {
            "type": "offset",
            "limit": 2,
            "offset_body_path": "page.from",
            "limit_body_path": "page.size",
            "total_path": None,
            "has_more_path": "more",
        },
        by_body_offset,
    ),
    "page_number": ({"type": "page_number", "base_page": 1, "total_path": "pages"}, by_page),
    "page_number, at most": (
        {"type": "page_number", "base_page": 1, "total_path": None, "maximum_page": 4},
        by_page,
    ),
    "page_number in the body, has_more": (
        {
            "type": "page_number",
            "base_page": 1,
            "page_body_path": "number",
            "total_path": None,
            "has_more_path": "more",
        },
        by_body_page,
    ),
    "auto finds a link in the answer": ("auto", by_json_link),
    "auto finds a link in the header": ("auto", by_header_link),
}


def manifest(paginator: Any, **endpoint: Any) -> dict[str, Any]:
    resources = {"offerings": {"endpoint": {"paginator": paginator, **endpoint}, "incremental": None}}
    return merge(make_manifest(), {"manifest_version": 2, "resources": resources})


@pytest.mark.parametrize("name", CASES)
def test_every_record_comes_once_with_the_paginator(name: str) -> None:
    words, api = CASES[name]

    def answer(seen: Seen) -> Reply:
        page, beside, headers = api(seen)
        return Reply(body={"items": PAGES[page] if page < 3 else [], **beside}, headers=headers)

    method = {"method": "POST", "json": {}} if "body" in name else {}
    with serving(answer) as server:
        pages = read(connect(make_row(server.url, manifest=manifest(words, **method))))
    assert [record["id"] for page in pages for record in page.records] == EVERYTHING


def test_a_single_page_is_one_request() -> None:
    with serving(Reply(body={"items": PAGES[0], "next": "/items?p=1"})) as server:
        pages = read(connect(make_row(server.url, manifest=manifest("single_page"))))
        assert len(pages) == len(server.seen) == 1


@pytest.mark.parametrize("paginator", ["json_link", "header_link", "auto"])
def test_a_next_link_to_another_allowed_host_is_refused_without_a_request(paginator: str) -> None:
    with serving(Reply(body={"items": PAGES[1]})) as other:

        def elsewhere(_: Seen) -> Reply:
            link = f"{other.url}/items"
            return Reply(body={"items": PAGES[0], "next": link}, headers={"Link": f'<{link}>; rel="next"'})

        with serving(elsewhere) as server:
            row = make_row(server.url, manifest=manifest(paginator), allowed_hosts=(server.host, other.host))
            with pytest.raises(ConfigurationError, match="another host than the one that answered"):
                read(connect(row))
        assert other.seen == []


SECRETIVE = {
    "bearer": {"type": "bearer", "token": "{credential.password}"},
    "header": {"type": "api_key", "name": "X-Key", "api_key": "{credential.password}"},
    "query": {
        "type": "api_key",
        "name": "key",
        "api_key": "{credential.password}",
        "location": "query",
    },
    "cookie": {
        "type": "api_key",
        "name": "sid",
        "api_key": "{credential.password}",
        "location": "cookie",
    },
    "basic": {"type": "http_basic", "username": "u", "password": "{credential.password}"},
}


def shows_secret(seen: Seen) -> bool:
    from base64 import b64encode

    told = f"{seen.headers} {seen.query} {seen.body!r}"
    return SECRET in told or b64encode(f"u:{SECRET}".encode()).decode() in told


@pytest.mark.parametrize("kind", SECRETIVE)
@pytest.mark.parametrize("way", ["link", "redirect"])
def test_another_allowed_host_is_asked_without_any_credential(kind: str, way: str) -> None:
    """Both a next-page link that may leave its host and a redirect; and back home it is sent again."""
    with ExitStack() as stack:
        home: list[str] = []
        other = stack.enter_context(
            serving(lambda _: Reply(body={"items": PAGES[1], "next": f"{home[0]}/items?p=2"}))
        )

        def answer(seen: Seen) -> Reply:
            if query(seen, "p") == 2:
                return Reply(body={"items": PAGES[2], "next": None})
            if way == "redirect":
                return Reply(status=302, headers={"Location": f"{other.url}/items"})
            return Reply(body={"items": PAGES[0], "next": f"{other.url}/items"})

        server = stack.enter_context(serving(answer))
        home.append(server.url)
        client = {
            "auth": SECRETIVE[kind],
            "headers": {"X-Tenant": "{credential.password}"},
            "paginator": {"type": "json_link", "same_host": False},
        }
        data = merge(manifest({"type": "json_link", "same_host": False}), {"client": client})
        pages = read(connect(make_row(server.url, manifest=data, allowed_hosts=(server.host, other.host))))
        assert [record["id"] for page in pages for record in page.records][-1] == "e"
        assert other.seen
        assert not any(shows_secret(seen) for seen in other.seen)
        assert all(shows_secret(seen) for seen in server.seen)


def test_a_key_in_a_cookie_is_sent_beside_other_cookies_and_shown_nowhere() -> None:
    client = {"auth": SECRETIVE["cookie"], "headers": {"Cookie": "of={credential.login}; sid=old"}}
    data = merge(manifest("single_page"), {"client": client})
    with serving(Reply(status=400)) as server:
        connector = connect(make_row(server.url, manifest=data))
        with pytest.raises(ConfigurationError) as caught:
            read(connector)
        assert server.seen[0].headers["Cookie"] == f"of=client; sid={SECRET}"
    assert SECRET not in f"{caught.value!r} {caught.value} {connector!r}"


@pytest.mark.parametrize("key", ["two words", "a;b", 'qu"ote', "line\r\nX: y", "ü"])
def test_a_key_no_cookie_can_hold_is_told_without_the_key(key: str) -> None:
    from include.connectors.open import open_connector
    from include.registry.models import Credential
    from include.settings import Settings

    row = make_row(
        "http://127.0.0.1:9",
        manifest=merge(manifest("single_page"), {"client": {"auth": SECRETIVE["cookie"]}}),
    )
    with pytest.raises(ConfigurationError, match=r"no cookie may|a control character") as caught:
        read(open_connector(row, Credential(None, key), Settings()))
    assert key not in str(caught.value)
