"""Erasure in landed pages: whatever a page is written in, and with whatever manifest it was read."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import orjson
import pytest
from pydantic import SecretStr

from include.connectors.open import open_connector
from include.errors import ConfigurationError, FatalError
from include.privacy.erased import digests
from include.privacy.landed_ids import WantedIds, records_holding
from include.privacy.raw_objects import PageEraser
from include.privacy.unmapped import _whose
from include.settings import Settings
from include.storage.erased_page import rewritten_records
from include.storage.landing import LandedPage, ResourceManifest
from include.storage.mongo import IntegrationStore
from tests.conformance.rows import CREDENTIAL, make_row

FOLDER = "npo/testnpo/assignments/2026-01-01/run/attempt"
PAGE = f"{FOLDER}/page-000001.gz"
ERASED = {"$erased": True}


class Pages:
    """A landing zone of one finished attempt with one page, in memory."""

    def __init__(self, body: bytes) -> None:
        self.bodies = {PAGE: body}

    def get(self, key: str) -> bytes:
        if key not in self.bodies:
            raise FatalError(f"landing zone: {key} is gone")
        return self.bodies[key]

    def keys(self, below: str) -> list[str]:
        return [key for key in self.bodies if key.startswith(below)]

    def rewrite(self, key: str, body: bytes) -> None:
        self.bodies[key] = body

    def manifest(self, _key: str) -> ResourceManifest:
        page = LandedPage(PAGE, "https://a.example", 200, "application/json", "2026-01-01T00:00:00Z", 1, 1)
        started = "2026-01-01T00:00:00Z"
        return ResourceManifest(
            "testnpo", "assignments", "run", "1", FOLDER, started, None, None, True, "", 1, (page,)
        )


def erase(pages: Pages, ids: set[str], *, known: set[str] | None = None) -> dict[str, int]:
    row = make_row("https://a.example", connector="codebridge")
    wanted: Any = WantedIds(frozenset(ids))
    eraser = PageEraser(
        pages,  # type: ignore[arg-type]
        open_connector(row, CREDENTIAL, Settings()),
        "testnpo",
        "assignments",
        wanted.ids.intersection,
        lambda some: (known or set()) & set(some),
        wanted,
        lambda _line: None,
    )
    return eraser.run([PAGE, f"{FOLDER}/manifest.json"])


def page(*records: dict[str, Any], under: str = "enrollments") -> Pages:
    return Pages(orjson.dumps({under: list(records)}))


def left(pages: Pages) -> list[Any] | None:
    return rewritten_records(pages.bodies[PAGE])


@pytest.mark.parametrize(
    "body",
    [
        "[enr-17]".encode("utf-16"),
        "[enr-17]".encode("utf-16-le"),
        b"[enr-17]",
        rb'["enr\u002d17"]',
        b"<a>enr&#45;17</a>",
        b"PK\x03\x04",
    ],
)
def test_a_page_is_opened_whatever_it_is_written_in(body):
    assert WantedIds(frozenset({"enr-17"})).may_be_in(body)


def test_a_page_without_the_id_is_not_opened():
    assert not WantedIds(frozenset({"enr-17"})).may_be_in("Zoë [enr-18]".encode())


def test_a_record_goes_and_the_others_keep_their_place():
    pages = page({"sourcedId": "a"}, {"sourcedId": "b"}, {"sourcedId": "c"})
    assert erase(pages, {"b"})["raw_records"] == 1
    assert left(pages) == [{"sourcedId": "a"}, ERASED, {"sourcedId": "c"}]


def test_a_page_read_with_another_primary_key_loses_the_record_that_holds_the_id():
    pages = page({"number": 17, "n": 1}, {"number": 18, "n": 2})
    assert erase(pages, {"17"})["raw_records"] == 1
    assert left(pages) == [ERASED, {"number": 18, "n": 2}]


def test_a_record_known_under_its_own_id_is_somebody_elses_whatever_it_holds():
    pages = page({"sourcedId": "a", "percent": 17}, {"sourcedId": "b", "number": 17})
    assert erase(pages, {"17"}, known={"a"})["raw_records"] == 1
    assert left(pages) == [{"sourcedId": "a", "percent": 17}, ERASED]


def test_a_page_whose_list_was_elsewhere_once_is_erased_all_the_same():
    pages = page({"sourcedId": "a"}, {"sourcedId": "b"}, under="items")
    assert erase(pages, {"b"})["pages_rewritten"] == 1
    assert left(pages) == [{"sourcedId": "a"}, ERASED]


def test_a_finished_page_that_nobody_can_read_is_an_error():
    pages = Pages(b"<html>enr-17</html>")
    with pytest.raises(ConfigurationError):
        erase(pages, {"enr-17"})


def test_a_page_that_retention_deleted_meanwhile_counts_as_erased():
    pages = page({"sourcedId": "b"})
    pages.bodies.clear()
    assert erase(pages, {"b"})["pages_looked_at"] == 0


def test_parts_of_a_compound_id_are_found_in_one_record_only():
    wanted = WantedIds(frozenset({"17:python"}))
    assert wanted.stand_in({"learner": 17, "course": {"code": "python"}})
    assert not wanted.stand_in({"learner": 17, "course": {"code": "java"}})
    assert records_holding(wanted, {"rows": [{"l": 17, "c": "python"}], "more": [1, 2, 3]}) == [
        {"l": 17, "c": "python"}
    ]


@pytest.mark.parametrize(
    ("record", "theirs"),
    [
        ({"user": {"sourcedId": "usr-1"}, "metadata": {"state": "no such word"}}, True),
        ({"user": {"sourcedId": "usr-2"}, "metadata": {"state": "no such word"}, "n": "usr-1"}, False),
        ({"user": {"sourcedId": {"odd": "usr-1"}}}, True),
        (["usr-1"], False),
    ],
)
def test_whose_a_record_is_can_be_told_though_the_rest_of_it_cannot_be_mapped(record, theirs):
    row = make_row("https://a.example", connector="codebridge")
    connector = open_connector(row, CREDENTIAL, Settings())
    assert _whose(connector, {"usr-1"})(record) is theirs


def test_a_mark_is_made_with_the_newest_key_and_known_by_all_and_without():
    keyed: Any = SimpleNamespace(erasure_keys=(b"new", b"old"))
    old: Any = SimpleNamespace(erasure_keys=(b"old",))
    plain: Any = SimpleNamespace(erasure_keys=())
    told = ("npo", "assignments", "17")
    assert digests(keyed, *told)[0] not in {*digests(old, *told), *digests(plain, *told)}
    assert {*digests(old, *told), *digests(plain, *told)} <= {*digests(keyed, *told)}
    assert IntegrationStore(Settings(erasure_key=SecretStr("new, old"))).erasure_keys == (b"new", b"old")
