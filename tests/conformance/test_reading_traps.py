"""The traps of reading a partner, sprung on every connector by the sandbox partners."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from include.connectors.protocol import RESOURCES, Resource, Window
from include.errors import ConfigurationError, RateLimitedError, RecordError, TransientError
from tests.conformance.partner import CREDENTIALS, Partner, ids, only, read
from tests.conformance.tiny_server import Reply, serving

if TYPE_CHECKING:
    from include.connectors.rest import RestConnector

each_resource = pytest.mark.parametrize("resource", RESOURCES)


def records(connector: RestConnector, resource: Resource, window: Window | None = None) -> list[Any]:
    return [record for page in read(connector, resource, window) for record in page.records]


@each_resource
@pytest.mark.parametrize("page_size", [7, 100, None])
def test_a_full_reading_holds_every_record_once(
    partner: Partner, resource: Resource, page_size: int | None
) -> None:
    truth = partner.sandbox.truth(partner.name)
    connector = partner.connect(page_size=page_size)
    found = Counter(ids(connector, resource, read(connector, resource)))
    with_id = [one for one in truth["bad"][resource] if one]
    assert found == Counter([*truth[resource], *with_id])


@each_resource
def test_exactly_the_bad_records_are_bad(partner: Partner, resource: Resource) -> None:
    connector = partner.connect()
    bad: list[str | None] = []
    for record in records(connector, resource):
        identity = None
        try:
            identity = connector.external_id(resource, record)
            connector.to_platform(resource, record)
        except RecordError:
            bad.append(identity)
    assert Counter(bad) == Counter(partner.sandbox.truth(partner.name)["bad"][resource])


@each_resource
def test_landed_bytes_give_the_same_records(partner: Partner, resource: Resource) -> None:
    connector = partner.connect(page_size=50)
    for page in read(connector, resource):
        assert connector.records(resource, page.body, page.content_type) == page.records


@each_resource
def test_pages_are_numbered_dated_and_show_no_secret(partner: Partner, resource: Resource) -> None:
    pages = read(partner.connect(page_size=20), resource)
    assert [page.number for page in pages] == list(range(1, len(pages) + 1))
    secret = CREDENTIALS[partner.name].password or ""
    for page in pages:
        assert page.status == 200
        assert abs(datetime.now(UTC) - page.fetched_at) < timedelta(minutes=1)
        assert secret not in page.url
        assert page.url.startswith(partner.sandbox.urls[partner.name])


@each_resource
def test_deletion_marks_are_those_of_the_truth(partner: Partner, resource: Resource) -> None:
    connector = partner.connect()
    marked = {
        connector.external_id(resource, record)
        for record in records(connector, resource)
        if connector.is_deleted(resource, record)
    }
    assert marked == set(partner.sandbox.truth(partner.name)["deleted"].get(resource, []))


# --- windows ---


@each_resource
@pytest.mark.parametrize("page_size", [2, 50])
def test_records_of_one_stamp_at_a_page_edge_are_all_read(
    partner: Partner, resource: Resource, page_size: int
) -> None:
    connector = partner.connect()
    everything = records(connector, resource)
    stamps = Counter(cursor for record in everything if (cursor := connector.cursor(resource, record)))
    stamp, many = stamps.most_common(1)[0]
    assert many > 2
    newer = [
        record
        for record in everything
        if (connector.cursor(resource, record) or datetime.min.replace(tzinfo=UTC)) >= stamp
    ]
    found = records(partner.connect(page_size=page_size), resource, Window(since=stamp))
    wanted = {str(record) for record in newer}
    assert wanted <= {str(record) for record in found}
    if connector.manifest.resource(resource).filters_since:
        assert len(found) == len(newer)
    else:
        assert len(found) == len(everything)


@only("codebridge")
@each_resource
def test_an_end_of_the_window_is_exclusive(partner: Partner, resource: Resource) -> None:
    connector = partner.connect()
    stamps = sorted(
        {cursor for record in records(connector, resource) if (cursor := connector.cursor(resource, record))}
    )
    first, last = stamps[len(stamps) // 4], stamps[len(stamps) // 2]
    found = [
        connector.cursor(resource, record) for record in records(connector, resource, Window(first, last))
    ]
    assert found
    assert all(cursor and first <= cursor < last for cursor in found)


@only("codebridge")
@each_resource
def test_a_newest_first_feed_gives_the_same_records(partner: Partner, resource: Resource) -> None:
    newest_first = {"resources": {resource: {"endpoint": {"params": {"sort": None, "orderBy": None}}}}}
    one, other = partner.connect(page_size=50), partner.connect(page_size=50, manifest=newest_first)
    assert Counter(map(str, records(one, resource))) == Counter(map(str, records(other, resource)))
    assert "sort=" not in partner.requests()[-1]["query"]


@each_resource
def test_a_record_that_arrives_late_is_within_the_lookback(partner: Partner, resource: Resource) -> None:
    connector = partner.connect()
    spec = connector.manifest.resource(resource)
    assert spec.incremental is not None
    checkpoint = datetime(2026, 10, 19, 12, tzinfo=UTC)
    late = checkpoint - spec.incremental.lookback / 2
    good = next(record for record in records(connector, resource) if connector.cursor(resource, record))
    stamp = late.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    if partner.name == "mentornet":
        stamp = late.strftime("%Y-%m-%d %H:%M")
    key, cursor = spec.primary_key[0], spec.incremental.cursor_path
    new = good | {key: 999_999 if key == "prog_id" else "late-one", cursor: stamp}
    partner.sandbox.admin(partner.name, "POST", "records", {"resource": resource, "record": new})
    found = ids(
        connector, resource, read(connector, resource, Window(since=checkpoint - spec.incremental.lookback))
    )
    assert str(new[key]) in found


# --- faults ---


# What an answer means does not hang on the resource: one will do, the one with several pages everywhere.


@pytest.mark.parametrize("status", [500, 502, 503, 429, 408])
def test_a_passing_fault_costs_nothing(partner: Partner, status: int) -> None:
    pages = read(partner.connect(page_size=100), "assignments")
    assert len(pages) > 1
    before = [record for page in pages for record in page.records]
    partner.misbehave("status", status=status, after=1, times=2, headers={"Retry-After": "2"})
    assert records(partner.connect(page_size=100), "assignments") == before


@pytest.mark.parametrize(
    ("kind", "rule", "failure"),
    [
        ("status", {"status": 500}, TransientError),
        ("status", {"status": 429}, RateLimitedError),
        ("status", {"status": 401}, ConfigurationError),
        ("status", {"status": 403}, ConfigurationError),
        ("status", {"status": 404}, ConfigurationError),
        ("truncate", {"keep": 0.5}, TransientError),
        ("truncate", {"keep": 0.5, "close": True}, TransientError),
        ("html", {}, ConfigurationError),
        ("not_json", {}, ConfigurationError),
        ("error_body", {}, ConfigurationError),
        ("wrong_charset", {"charset": "utf-16"}, ConfigurationError),
        ("redirect", {}, ConfigurationError),
        ("endless", {"mode": "body", "megabytes": 64}, ConfigurationError),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_lasting_fault_ends_as_the_taxonomy_says(
    partner: Partner, kind: str, rule: dict[str, Any], failure: type[Exception]
) -> None:
    partner.misbehave(kind, after=1, **rule)
    pages = partner.connect(page_size=20, max_page_bytes=2_000_000).pages("assignments", Window())
    assert next(pages).records
    with pytest.raises(failure) as caught:
        list(pages)
    assert type(caught.value) is failure
    text = str(caught.value)
    assert text.startswith(f"{partner.name}: ")
    assert (CREDENTIALS[partner.name].password or "") not in text


@each_resource
def test_a_page_loop_is_noticed(partner: Partner, resource: Resource) -> None:
    partner.misbehave("page_loop")
    with pytest.raises(ConfigurationError, match="page loop"):
        read(partner.connect(page_size=20), resource)
    assert len(partner.requests()) < 10


@each_resource
def test_endless_pages_end_at_the_limit(partner: Partner, resource: Resource) -> None:
    partner.misbehave("endless", mode="pages")
    with pytest.raises(ConfigurationError, match="more than 15 pages"):
        read(partner.connect(page_size=20, max_pages=15), resource)


@each_resource
def test_a_next_page_link_to_another_host_is_never_asked(partner: Partner, resource: Resource) -> None:
    with serving(Reply(body={})) as other:
        partner.misbehave("next_link", url=f"{other.url}/next")
        try:
            read(partner.connect(page_size=20), resource)
        except ConfigurationError as error:
            assert partner.name != "codebridge" or other.host in str(error)  # noqa: PT017 - two right outcomes
        assert other.seen == []


@only("codebridge")
def test_a_link_header_to_another_host_is_refused(partner: Partner) -> None:
    partner.misbehave("next_link", url="http://evil.example/next")
    with pytest.raises(ConfigurationError, match=r"evil\.example:80, which is not in allowed_hosts"):
        read(partner.connect(page_size=20), "offerings")


@each_resource
def test_a_redirect_to_another_host_gets_no_credential(partner: Partner, resource: Resource) -> None:
    with serving(Reply(body={})) as other:
        partner.misbehave("redirect", url=f"{other.url}/elsewhere", status=307)
        with pytest.raises(ConfigurationError, match="redirect"):
            read(partner.connect(), resource)
        assert other.seen == []


@only("hopeworks")
@each_resource
def test_a_token_that_expires_in_mid_run_is_renewed(partner: Partner, resource: Resource) -> None:
    before = records(partner.connect(page_size=10), resource)
    partner.misbehave("expire_token", after=2, times=1)
    assert records(partner.connect(page_size=10), resource) == before
    assert sum(request["path"] == "/oauth/token" for request in partner.requests()) == 3


@only("mentornet")
@each_resource
def test_a_403_that_throttles_is_waited_out(partner: Partner, resource: Resource) -> None:
    body = {"error": {"code": "throttled", "message": "slow down"}}
    partner.misbehave("status", status=403, body=body, after=1, times=2)
    assert len(records(partner.connect(page_size=20), resource)) > 30
    assert len(partner.waits) == 2


@each_resource
def test_a_bad_record_among_good_ones_spoils_itself_only(partner: Partner, resource: Resource) -> None:
    connector = partner.connect()
    before = ids(connector, resource, read(connector, resource))
    partner.misbehave("bad_record")
    after = ids(connector, resource, read(connector, resource))
    assert Counter(after) == Counter(before)


@each_resource
def test_doubles_in_one_answer_are_handed_on(partner: Partner, resource: Resource) -> None:
    connector = partner.connect(page_size=20)
    once = len(records(connector, resource))
    partner.misbehave("duplicate_ids", count=2, times=1)
    assert len(records(connector, resource)) == once + 2


@each_resource
def test_an_empty_list_is_an_empty_reading(partner: Partner, resource: Resource) -> None:
    partner.misbehave("empty_list")
    assert records(partner.connect(), resource) == []


@each_resource
def test_a_wrong_credential_is_refused_with_advice(
    partner: Partner, resource: Resource, monkeypatch: pytest.MonkeyPatch
) -> None:
    from include.registry.models import Credential

    monkeypatch.setitem(CREDENTIALS, partner.name, Credential("nobody", "wrong-secret-value"))
    with pytest.raises(ConfigurationError, match="credential") as caught:
        read(partner.connect(), resource)
    assert "wrong-secret-value" not in str(caught.value)
    assert partner.waits == []
