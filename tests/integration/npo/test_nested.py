"""Resources read once for each record of another, and windows that are applied by us, on real servers."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import unquote

import pytest

from include.connectors.open import open_connector
from include.connectors.protocol import Window
from include.connectors.retry import RetryPolicy
from include.errors import ConfigurationError, TransientError
from include.npo import land
from include.npo.context import RunContext, RunRef
from include.npo.extract import extract
from include.npo.land import land_raw
from include.registry.models import Credential
from include.settings import Settings
from include.storage.landing import LandingZone
from include.storage.mongo import IntegrationStore
from tests.conformance.rows import make_row
from tests.conformance.tiny_server import Reply, Seen, TinyServer

START = datetime(2026, 3, 2, 8, tzinfo=UTC)
MANIFEST: dict[str, Any] = {
    "manifest_version": 2,
    "resources": {
        "offerings": {
            "endpoint": {"path": "courses"},
            "primary_key": "id",
            "mapping": {"version": 1, "fields": {"name": "name", "status": {"const": "active"}}},
        },
        "assignments": {
            "endpoint": {
                "path": "courses/{resources.offerings.id}/progress",
                "params": {"term": "{resources.offerings.term}"},
            },
            "nested": {
                "parent": "offerings",
                "fields": {"id": "id", "term": "term"},
                "include_from_parent": ["id"],
            },
            "primary_key": ["_offerings_id", "n"],
            "incremental": {"cursor_path": "at", "param": "since", "lookback": "PT1M"},
            "mapping": {
                "version": 1,
                "fields": {"status": {"const": "enrolled"}, "offering_external_id": "_offerings_id"},
            },
        },
    },
}


def changed(hours: float) -> str:
    return (START + timedelta(hours=hours)).isoformat()


class School(TinyServer):
    """Courses, and the progress in each; ``broken`` answers a status for some.

    ``terms`` are those of courses with another than the usual one, ``left`` courses that are marked as gone.
    """

    def __init__(self) -> None:
        super().__init__(self._answer)
        self.courses: dict[str, list[dict[str, Any]]] = {
            "a": [{"n": 1, "at": changed(0)}],
            "b/../c?x=1": [{"n": 1, "at": changed(1)}, {"n": 2, "at": changed(2)}],
        }
        self.gone: set[str] = set()
        self.broken: dict[str, int] = {}
        self.terms: dict[str, str | None] = {}
        self.left: set[str] = set()

    def _answer(self, seen: Seen) -> Reply:
        parts = seen.path.strip("/").split("/")
        if len(parts) == 1:
            return Reply(body=[self._course(id_) for id_ in self.courses])
        course = unquote(parts[1])
        assert seen.query["term"] == ["t 1&2"]
        if course in self.broken:
            return Reply(status=self.broken[course], body={}, headers={"Retry-After": "3600"})
        if course in self.gone or course not in self.courses:
            return Reply(status=404, body={})
        since = seen.query.get("since", [""])[0].replace("Z", "+00:00")
        return Reply(body=[entry for entry in self.courses[course] if entry["at"] >= since])

    def _course(self, id_: str) -> dict[str, Any]:
        about = {"id": id_, "name": id_, "term": self.terms.get(id_, "t 1&2")}
        return about | {"left": True} if id_ in self.left else about

    def asked(self) -> dict[str, str | None]:
        """Return since when each course was asked for, and forget the requests."""
        found = {
            unquote(seen.path.split("/")[2]): seen.query.get("since", [None])[0]
            for seen in self.seen
            if seen.path.endswith("/progress")
        }
        self.seen.clear()
        return found


@dataclasses.dataclass
class Reader:
    """Runs extract and land_raw as a DAG would."""

    school: TinyServer
    settings: Settings
    store: IntegrationStore
    manifest: dict[str, Any] = dataclasses.field(default_factory=lambda: deepcopy(MANIFEST))
    now: datetime = START + timedelta(days=1)
    runs: int = 0

    def context(self, backfill: Window | None = None) -> RunContext:
        self.runs += 1
        self.now += timedelta(hours=1)
        retry = RetryPolicy(sleep=lambda _: None)
        row = make_row(self.school.url, manifest=self.manifest)
        connector = open_connector(row, Credential(), self.settings, retry=retry)
        return RunContext(
            npo=row,
            run_id=f"test__{self.runs}",
            connector=connector,
            store=self.store,
            landing=LandingZone(self.settings),
            settings=self.settings,
            backfill=backfill,
            now=lambda: self.now,
        )

    def run(self, backfill: Window | None = None) -> RunRef | None:
        ctx = self.context(backfill)
        ref = extract(ctx)
        return land_raw(ctx, ref) if ref else None

    def stored(self, resource: str = "assignments") -> list[str]:
        return sorted(doc["external_id"] for doc in self.store["npo_raw"].find({"resource": resource}))


@pytest.fixture
def reader(empty_database: str, settings: Settings) -> Iterator[Reader]:
    store = IntegrationStore(settings)
    with School() as school:
        yield Reader(school, settings, store)
    store.close()


def school_of(reader: Reader) -> School:
    assert isinstance(reader.school, School)
    return reader.school


ALL = ["a:1", "b/../c?x=1:1", "b/../c?x=1:2"]


def test_each_parent_is_asked_for_whatever_its_id_and_from_its_own_cursor_on(reader: Reader) -> None:
    school = school_of(reader)
    ref = reader.run()
    assert ref
    assert reader.stored() == ALL
    assert school.asked() == {"a": None, "b/../c?x=1": None}
    assert (ref.counts["extract.parents"], ref.counts["extract.parents_gone"]) == (2, 0)

    school.courses["a"].append({"n": 2, "at": changed(5)})
    school.courses["new"] = [{"n": 1, "at": changed(-9)}]
    reader.run()
    assert reader.stored() == sorted([*ALL, "a:2", "new:1"])
    assert school.asked() == {
        "a": "2026-03-02T07:59:00.000Z",
        "b/../c?x=1": "2026-03-02T09:59:00.000Z",
        "new": None,
    }


def test_with_one_cursor_a_new_parent_is_still_read_from_its_beginning(reader: Reader) -> None:
    reader.manifest["resources"]["assignments"]["nested"]["cursors"] = "one"
    school = school_of(reader)
    reader.run()
    school.asked()
    school.courses["new"] = [{"n": 1, "at": changed(-9)}]
    reader.run()
    since = "2026-03-02T09:59:00.000Z"
    assert school.asked() == {"a": since, "b/../c?x=1": since, "new": None}
    assert "new:1" in reader.stored()


def test_a_parent_read_in_an_earlier_run_is_asked_for_though_the_source_lists_only_changes(
    reader: Reader,
) -> None:
    reader.run()
    school = school_of(reader)
    school.asked()
    in_full = school.answer
    school.answer = lambda seen: Reply(body=[]) if seen.path == "/courses" else in_full(seen)
    reader.run()
    assert set(school.asked()) == set(school.courses)


def test_a_parent_the_partner_no_longer_knows_is_skipped_and_counted(reader: Reader) -> None:
    school = school_of(reader)
    school.gone = {"a"}
    ref = reader.run()
    assert ref
    assert reader.stored() == ALL[1:]
    assert ref.counts["extract.parents_gone"] == 1
    assert ref.refused == ()
    school.gone = set()
    reader.run()
    assert reader.stored() == ALL


def test_where_none_of_many_parents_is_known_the_path_is_wrong(reader: Reader) -> None:
    school = school_of(reader)
    school.courses = {str(number): [] for number in range(5)}
    school.gone = set(school.courses)
    with pytest.raises(ConfigurationError, match="404 from"):
        reader.run()


def test_a_parent_that_does_not_answer_is_left_to_the_next_run_and_told(reader: Reader) -> None:
    school = school_of(reader)
    school.broken = {"a": 503}
    ref = reader.run()
    assert ref
    assert reader.stored() == ALL[1:]
    (told,) = ref.refused
    assert "1 of 2 offerings were not read" in told
    assert "503" in told
    school.broken = {}
    school.asked()
    reader.run()
    assert reader.stored() == ALL
    assert school.asked()["a"] is None


def test_an_unwell_partner_is_not_asked_for_every_parent(reader: Reader) -> None:
    school = school_of(reader)
    school.courses = {f"{number:02}": [] for number in range(20)}
    school.broken = dict.fromkeys(school.courses, 503)
    with pytest.raises(TransientError):
        reader.run()
    assert len(school.asked()) == 5


def test_a_refused_credential_fails_at_once(reader: Reader) -> None:
    school = school_of(reader)
    school.broken = {"a": 401}
    with pytest.raises(ConfigurationError, match="401"):
        reader.run()


def test_an_id_that_would_lead_elsewhere_is_not_asked_for(reader: Reader) -> None:
    school = school_of(reader)
    school.courses[".."] = [{"n": 1, "at": changed(0)}]
    school.courses["x\ny"] = []
    reader.run()
    assert reader.stored() == ALL
    assert len(school.asked()) == 2


def test_records_are_rebuilt_from_the_landing_zone_alone_with_their_parent(reader: Reader) -> None:
    ctx = reader.context()
    ref = extract(ctx)
    assert ref
    school_of(reader).courses.clear()
    land_raw(ctx, ref)
    before, cursors = landed(reader), parent_cursors(reader)
    assert len(cursors) == 2
    assert reader.stored() == ALL
    reader.store["npo_raw"].delete_many({})
    reader.store["npo_checkpoint"].delete_many({})
    land_raw(ctx, ref)
    assert landed(reader) == before
    assert parent_cursors(reader) == cursors


def test_killed_before_the_cursors_are_noted_the_same_records_land_again_and_change_nothing(
    reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    ctx = reader.context()
    ref = extract(ctx)
    assert ref
    with monkeypatch.context() as patched:

        def die(*_: Any, **__: Any) -> None:
            raise SystemExit("killed before the cursors")

        patched.setattr(land, "write_parent_cursors", die)
        with pytest.raises(SystemExit):
            land_raw(ctx, ref)
    assert reader.stored() == ALL
    assert parent_cursors(reader) == []
    before = landed(reader)
    land_raw(ctx, ref)
    assert landed(reader) == before
    assert [cursor for _, cursor in parent_cursors(reader)] == [START, START + timedelta(hours=2)]


def landed(reader: Reader) -> list[tuple[Any, ...]]:
    fields = ("_id", "payload", "content_hash", "cursor", "fetched_at", "raw_ref")
    return [tuple(doc[name] for name in fields) for doc in reader.store["npo_raw"].find().sort("_id", 1)]


def parent_cursors(reader: Reader) -> list[tuple[str, datetime]]:
    found = reader.store["npo_parent_cursor"].find().sort("_id", 1)
    return [(doc["parent"], doc["cursor"]) for doc in found]


def test_a_backfill_asks_every_parent_for_its_interval_and_moves_no_cursor(reader: Reader) -> None:
    reader.run()
    school = school_of(reader)
    before = parent_cursors(reader)
    school.asked()
    school.courses["a"] += [{"n": 7, "at": changed(-3)}, {"n": 8, "at": changed(9)}]
    reader.run(Window(START - timedelta(hours=4), START - timedelta(hours=2)))
    assert set(school.asked().values()) == {"2026-03-02T04:00:00.000Z"}
    assert reader.stored() == ["a:1", "a:7", *ALL[1:]]
    assert parent_cursors(reader) == before


class Feed(TinyServer):
    """A newest-first feed in pages of two, without any filter."""

    def __init__(self) -> None:
        super().__init__(self._answer)
        self.hours: list[float | None] = [6, 5, 4, 3, 2, 1]

    def _answer(self, seen: Seen) -> Reply:
        page = int(seen.query.get("p", ["0"])[0])
        some = self.hours[page * 2 : page * 2 + 2]
        more = f"/feed?p={page + 1}" if (page + 1) * 2 < len(self.hours) else None
        items = [{"id": f"h{hour}", "at": None if hour is None else changed(hour)} for hour in some]
        return Reply(body={"items": items, "next": more})


@pytest.fixture
def feed(empty_database: str, settings: Settings) -> Iterator[Reader]:
    store = IntegrationStore(settings)
    manifest = deepcopy(MANIFEST)
    del manifest["resources"]["assignments"]
    manifest["client"] = {"paginator": "json_link"}
    manifest["resources"]["offerings"] |= {
        "endpoint": {"path": "feed", "data_selector": "items"},
        "incremental": {
            "cursor_path": "at",
            "client_filter": True,
            "order": "descending",
            "lookback": "PT0S",
        },
    }
    with Feed() as server:
        yield Reader(server, settings, store, manifest)
    store.close()


def nothing_new(reader: Reader) -> bool:
    """Read; the records of former runs still wait for the later stages, which these tests do not run."""
    ref = extract(reader.context())
    return ref is not None and ref.manifests == ()


def test_a_source_without_filter_is_read_to_the_checkpoint_and_ties_at_the_edge_are_kept(
    feed: Reader,
) -> None:
    server = feed.school
    assert isinstance(server, Feed)
    feed.run()
    assert len(server.seen) == 3
    server.seen.clear()
    assert nothing_new(feed)
    assert len(server.seen) == 2  # the page that lies wholly before the checkpoint is the last

    server.hours = [7, 6, *server.hours]
    server.hours[1] = 6.0  # another record of the checkpoint's very time
    server.seen.clear()
    ref = feed.run()
    assert ref
    assert feed.stored("offerings") == ["h1", "h2", "h3", "h4", "h5", "h6", "h6.0", "h7"]
    assert ref.counts["land_raw.new"] == 2


def test_what_lies_before_the_window_is_neither_news_nor_landed(feed: Reader) -> None:
    server = feed.school
    assert isinstance(server, Feed)
    feed.run()
    server.hours = [*server.hours, 0.5]
    server.hours[4] = 2.5
    assert nothing_new(feed)
    assert "h2.5" not in feed.stored("offerings")


def test_a_backfill_of_a_source_without_filter_asks_the_partner_and_takes_its_interval(
    feed: Reader,
) -> None:
    server = feed.school
    assert isinstance(server, Feed)
    server.hours = [6, 5]
    feed.run()
    server.hours = [6, 5, 4, 3, None, 2, 1, 0.5, 0.2]
    server.seen.clear()
    feed.run(Window(START + timedelta(hours=2), START + timedelta(hours=4)))
    assert feed.stored("offerings") == ["h2", "h3", "h5", "h6", "hNone"]
    assert len(server.seen) == 4  # not the fifth page: the fourth lies before the interval
    checkpoint = feed.store["npo_checkpoint"].find_one({"_id": "testnpo|offerings"})
    assert checkpoint
    assert checkpoint["cursor"] == START + timedelta(hours=6)
