"""The landing zone: what it reads of a window, what it says when S3 refuses, how its bucket is made."""

from __future__ import annotations

import gzip
import secrets
import socket
import tracemalloc
import uuid
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from botocore.retries.standard import ExponentialBackoff
from pydantic import SecretStr

from include.connectors.protocol import Window
from include.errors import ConfigurationError, FatalError, TransientError
from include.storage.gzip_streams import BLOCK
from include.storage.landing import PART_BYTES, LandingZone, ResourceManifest, prefix

NOON = datetime(2026, 3, 10, 12, tzinfo=UTC)


@pytest.fixture
def landing(settings):
    return LandingZone(settings)


def land(landing: LandingZone, started_at: datetime, run: str = "r") -> str:
    """Land one extraction of one page; return the key of its manifest."""
    folder = prefix("x", "offerings", f"{started_at:%Y-%m-%d}", run, f"{started_at:%H%M%S}")
    landing.put(f"{folder}/page-000001.gz", b"[]", compress=True)
    manifest = ResourceManifest(
        "x", "offerings", run, "a", folder, started_at.isoformat(), None, None, True, "0", 0, ()
    )
    landing.put_manifest(manifest)
    return manifest.key


def test_only_the_days_of_a_window_are_listed(landing):
    keys = {day: land(landing, NOON + timedelta(days=day)) for day in range(-3, 4)}
    listed: list[str] = []
    landing.client.meta.events.register(
        "after-call.s3.ListObjectsV2",
        lambda parsed, **_: listed.extend(entry["Key"] for entry in parsed.get("Contents", [])),
    )

    found = landing.manifests_between("x", "offerings", Window(NOON, NOON + timedelta(days=1, seconds=1)))

    assert found == [keys[0], keys[1]]
    assert {key.split("/")[3] for key in listed} == {"2026-03-10", "2026-03-11"}


@pytest.mark.parametrize(
    ("since", "until", "wanted"),
    [(None, None, {-1, 0, 1}), (0, None, {0, 1}), (None, 0, {-1}), (-5, -2, set()), (1, 9, {1})],
)
def test_a_window_may_be_open(landing, since, until, wanted):
    keys = {day: land(landing, NOON + timedelta(days=day)) for day in (-1, 0, 1)}
    window = Window(*(None if day is None else NOON + timedelta(days=day) for day in (since, until)))
    assert landing.manifests_between("x", "offerings", window) == [keys[day] for day in sorted(wanted)]


def test_a_window_in_another_time_zone_finds_the_day_before_in_utc(landing):
    key = land(landing, datetime(2026, 3, 9, 22, 30, tzinfo=UTC))
    since = datetime(2026, 3, 10, 0, 0, tzinfo=timezone(timedelta(hours=2)))
    window = Window(since, since + timedelta(hours=1))
    assert landing.manifests_between("x", "offerings", window) == [key]


def test_a_resource_that_was_never_landed_has_no_manifests(landing):
    assert landing.manifests_between("x", "offerings", Window(NOON, NOON)) == []


CALLS = {
    "writing": lambda zone: zone.put("k", b"", compress=False),
    "reading": lambda zone: zone.get("k"),
    "listing": lambda zone: zone.manifests_between("x", "offerings", Window(NOON, NOON)),
}
REFUSED = {
    "InvalidAccessKeyId": {"s3_access_key_id": SecretStr("nobody")},
    "SignatureDoesNotMatch": {"s3_secret_access_key": SecretStr("hidden")},
}


@pytest.mark.parametrize("doing", CALLS)
@pytest.mark.parametrize("code", REFUSED)
def test_a_wrong_key_is_for_a_person_and_says_the_code(settings, doing, code):
    zone = LandingZone(settings.model_copy(update=REFUSED[code]))
    with pytest.raises(ConfigurationError, match=f"landing zone: {code} while {doing}") as raised:
        CALLS[doing](zone)
    assert not raised.value.pauses
    assert "hidden" not in str(raised.value)


@pytest.mark.parametrize("doing", ["reading", "listing"])  # the test server makes a bucket on writing
def test_a_missing_bucket_is_for_a_person(settings, doing):
    zone = LandingZone(settings.model_copy(update={"landing_bucket": f"missing-{uuid.uuid4().hex[:12]}"}))
    with pytest.raises(ConfigurationError, match=f"NoSuchBucket while {doing}"):
        CALLS[doing](zone)


@pytest.mark.parametrize("doing", CALLS)
def test_a_server_that_cannot_be_reached_is_transient(settings, monkeypatch, doing):
    monkeypatch.setattr(ExponentialBackoff, "delay_amount", lambda *_: 0)
    zone = LandingZone(settings.model_copy(update={"s3_endpoint_url": "http://127.0.0.1:9"}))
    with pytest.raises(TransientError, match=f"EndpointConnectionError while {doing}"):
        CALLS[doing](zone)


WHOLE = gzip.compress(b'{"a": 1}' * 100)
DAMAGED = {
    "not gzip": b"<html>",
    "cut off": WHOLE[:-12],
    "a flipped byte": WHOLE[:10] + b"\xff" + WHOLE[11:],
    "a wrong checksum": WHOLE[:-8] + b"\0\0\0\0" + WHOLE[-4:],
}


@pytest.mark.parametrize("damage", DAMAGED)
def test_a_damaged_object_is_for_a_developer(landing, s3, settings, damage):
    s3.put_object(Bucket=settings.landing_bucket, Key="page.gz", Body=DAMAGED[damage])
    with pytest.raises(FatalError, match=r"page\.gz is damaged"):
        landing.get("page.gz")


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"pages": [{"no": 1}]}', b'{"npo_id": "x"}'])
def test_a_damaged_manifest_is_for_a_developer(landing, s3, settings, body):
    s3.put_object(Bucket=settings.landing_bucket, Key="manifest.json", Body=body)
    with pytest.raises(FatalError, match=r"manifest\.json is damaged"):
        landing.manifest("manifest.json")


def test_an_object_that_is_gone_is_for_a_developer(landing):
    with pytest.raises(FatalError, match="gone"):
        landing.get("gone.gz")


def calls_of(landing: LandingZone) -> list[tuple[str, dict[str, Any]]]:
    """Return a list that fills with the name and the parameters of each call to S3."""
    calls: list[tuple[str, dict[str, Any]]] = []
    landing.client.meta.events.register(
        "provide-client-params.s3", lambda model, params, **_: calls.append((model.name, dict(params)))
    )
    return calls


@pytest.mark.parametrize(
    ("region", "told"), [("us-east-1", None), ("eu-west-2", {"LocationConstraint": "eu-west-2"})]
)
def test_a_bucket_is_made_in_every_region_as_it_wants_it(settings, s3, region, told):
    name = f"landing-{uuid.uuid4().hex[:12]}"
    landing = LandingZone(settings.model_copy(update={"aws_region": region, "landing_bucket": name}))
    calls = calls_of(landing)
    landing.prepare()
    try:
        s3.head_bucket(Bucket=name)
        made = dict(calls)["CreateBucket"]
        assert made.get("CreateBucketConfiguration") == told
    finally:
        s3.delete_bucket(Bucket=name)


def test_a_bucket_that_is_there_is_left_without_asking_for_others(landing):
    calls = calls_of(landing)
    landing.prepare()
    assert [name for name, _ in calls] == ["HeadBucket"]


def test_a_bucket_that_another_process_made_meanwhile_is_as_good(landing, monkeypatch):
    monkeypatch.setattr(landing, "_has_bucket", lambda: False)
    landing.prepare()


def test_a_key_that_may_not_look_for_the_bucket_is_for_a_person(settings):
    landing = LandingZone(settings.model_copy(update={"s3_secret_access_key": SecretStr("hidden")}))
    with pytest.raises(ConfigurationError, match="403 while looking for bucket"):
        landing.prepare()


@pytest.fixture
def lines(tmp_path):
    """A file of two and a half parts once compressed."""
    path = tmp_path / "lines"
    path.write_bytes(secrets.token_bytes(int(2.5 * PART_BYTES)))
    return path


def put_file(landing: LandingZone, key: str, path: Path) -> None:
    with path.open("rb") as file:
        landing.put_file(key, file)


def test_a_file_comes_out_as_it_went_in(landing, lines):
    put_file(landing, "esr/a.gz", lines)
    with landing.open("esr/a.gz") as stream:
        assert stream.read() == lines.read_bytes()
    assert landing.get("esr/a.gz") == lines.read_bytes()


def test_an_empty_file_comes_out_empty(landing, tmp_path):
    (tmp_path / "empty").touch()
    put_file(landing, "esr/empty.gz", tmp_path / "empty")
    with landing.open("esr/empty.gz") as stream:
        assert stream.read() == b""


def test_the_same_file_gives_the_same_object(landing, s3, settings, lines):
    bodies = set()
    for key in ("esr/a.gz", "esr/b.gz"):
        put_file(landing, key, lines)
        bodies.add(s3.get_object(Bucket=settings.landing_bucket, Key=key)["Body"].read())
    assert len(bodies) == 1


@pytest.mark.parametrize("skip", [1, BLOCK - 1, BLOCK, 2 * BLOCK + 1])
def test_a_stream_starts_where_it_is_told(landing, lines, skip):
    put_file(landing, "esr/a.gz", lines)
    with landing.open("esr/a.gz", skip=skip) as stream:
        assert stream.read(100) == lines.read_bytes()[skip : skip + 100]


def test_a_stream_started_behind_the_end_is_empty(landing, lines):
    put_file(landing, "esr/a.gz", lines)
    with landing.open("esr/a.gz", skip=lines.stat().st_size + 1) as stream:
        assert stream.read() == b""


def test_memory_stays_flat_in_the_size_of_a_file(landing, tmp_path):
    large = tmp_path / "large"
    with large.open("wb") as file:
        for _ in range(80):
            file.write(b"POS,7607373\n" * 90_000)  # a megabyte; it shrinks to a few thousandths
    tracemalloc.start()
    try:
        put_file(landing, "esr/large.gz", large)
        with landing.open("esr/large.gz") as stream:
            while stream.read(2**20):
                pass
        assert tracemalloc.get_traced_memory()[1] < 4 * PART_BYTES
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("damage", [*DAMAGED, "something behind it"])
def test_a_damaged_object_is_for_a_developer_when_streamed_too(landing, s3, settings, damage):
    body = (DAMAGED | {"something behind it": WHOLE + b"x"})[damage]
    s3.put_object(Bucket=settings.landing_bucket, Key="file.gz", Body=body)
    with pytest.raises(FatalError, match=r"file\.gz is damaged"), landing.open("file.gz") as stream:
        stream.read()


def test_a_stream_of_an_object_that_is_gone_is_for_a_developer(landing):
    with pytest.raises(FatalError, match="gone"), landing.open("gone.gz"):
        pass


def test_a_connection_lost_in_the_middle_of_a_stream_is_transient(landing, lines):
    put_file(landing, "esr/a.gz", lines)
    with landing.open("esr/a.gz") as stream:
        stream.read(10)
        stream.raw._body._raw_stream._fp.fp.raw._sock.shutdown(socket.SHUT_RDWR)
        with pytest.raises(TransientError, match=r"while reading esr/a\.gz; it is tried again"):
            stream.read()


def test_a_file_that_s3_does_not_take_is_transient(settings, monkeypatch, lines):
    monkeypatch.setattr(ExponentialBackoff, "delay_amount", lambda *_: 0)
    zone = LandingZone(settings.model_copy(update={"s3_endpoint_url": "http://127.0.0.1:9"}))
    with pytest.raises(TransientError, match="EndpointConnectionError while writing"):
        put_file(zone, "esr/a.gz", lines)
