"""Pages of the bulk lookup of posts, however a server cuts them: read to the end, or an error."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from pydantic import SecretStr

from include.esr.tcs import Tcs
from include.esr.tcs.answers import UnreadableAnswerError
from include.settings import Settings

Answer = Callable[[list[dict[str, Any]], int, int], tuple[Any, dict[str, str]]]
NUMBERS = [f"KSS/RTD01/080/STR/{at:03d}" for at in range(120)]


class _Pages(BaseHTTPRequestHandler):
    """Answers every number with a post, cut by the server's ``answer``: the stand-in's way is one of many."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/token":
            self._send({"access_token": "t", "expires_in": 60}, {})
            return
        query = {
            name: int(values[0])
            for name, values in parse_qs(urlsplit(self.path).query).items()
            if name != "sort"
        }
        posts = [{"id": int(number[-3:]), "nationalPostNumber": number} for number in json.loads(body)]
        self._send(*self.server.answer(posts, query["page"], query["size"]))  # type: ignore[attr-defined]

    def _send(self, value: Any, headers: dict[str, str]) -> None:
        blob = json.dumps(value).encode()
        self.send_response(200)
        for name, text in {**headers, "Content-Length": str(len(blob))}.items():
            self.send_header(name, text)
        self.end_headers()
        self.wfile.write(blob)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def asked() -> Iterator[Callable[[Answer], dict[str, Any]]]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Pages)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_address[1]}"
    settings = Settings(tcs_url=url, tcs_token_url=f"{url}/token", tcs_client_secret=SecretStr("s"))

    def ask(answer: Answer) -> dict[str, Any]:
        server.answer = answer  # type: ignore[attr-defined]
        with Tcs(settings) as tcs:
            return dict(tcs.posts(NUMBERS))

    yield ask
    server.shutdown()
    server.server_close()


def twenty_at_most_as_a_page(posts, page, size):
    return {"content": posts[page * 20 : page * 20 + 20], "totalElements": len(posts)}, {}


def twenty_at_most_as_a_list_with_a_count(posts, page, size):
    return posts[page * 20 : page * 20 + 20], {"X-Total-Count": str(len(posts))}


def twenty_at_most_without_any_count(posts, page, size):
    return posts[page * 20 : page * 20 + 20], {}


def whole_with_posts_nobody_asked_for(posts, page, size):
    return [*posts, {"id": 999, "nationalPostNumber": "XXX"}, {"id": 998, "nationalPostNumber": None}], {
        "X-Total-Count": str(len(posts) + 2)
    }


@pytest.mark.parametrize(
    "answer",
    [
        twenty_at_most_as_a_page,
        twenty_at_most_as_a_list_with_a_count,
        twenty_at_most_without_any_count,
        whole_with_posts_nobody_asked_for,
    ],
)
def test_pages_are_read_to_the_end(asked, answer) -> None:
    assert {number: post.id for number, post in asked(answer).items()} == {
        number: int(number[-3:]) for number in NUMBERS
    }


def the_first_page_for_ever(posts, page, size):
    return posts[:20], {}


def fewer_than_it_says(posts, page, size):
    return {"content": [], "totalElements": len(posts)}, {}


@pytest.mark.parametrize("answer", [the_first_page_for_ever, fewer_than_it_says])
def test_pages_that_do_not_add_up_are_an_error_and_no_post_is_missing_for_it(asked, answer) -> None:
    with pytest.raises(UnreadableAnswerError):
        asked(answer)


def test_of_several_posts_with_one_number_a_current_one_is_taken_then_the_oldest(asked) -> None:
    def doubled(posts, page, size):
        more = [
            {**post, "id": post["id"] + offset, "status": status}
            for post in posts
            for offset, status in ((3000, "CURRENT"), (2000, "CURRENT"), (1000, "INACTIVE"))
        ]
        return more, {"X-Total-Count": str(len(more))}

    assert asked(doubled)[NUMBERS[7]].id == 2007
