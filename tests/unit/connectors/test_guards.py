"""Host guard, redaction, windows, waiting and discovery: small rules on their own."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING

import pytest

from include.connectors.addresses import AddressRules
from include.connectors.answer import NotJsonError, parse_body
from include.connectors.discovery import connector_names, load_manifest
from include.connectors.host_guard import HostGuard
from include.connectors.manifest import Incremental
from include.connectors.open import open_connector
from include.connectors.protocol import Window
from include.connectors.redaction import Redactor
from include.connectors.windows import window_params
from include.errors import ConfigurationError
from include.registry.models import Credential
from include.settings import Settings
from tests.conformance.rows import CREDENTIAL, make_manifest, make_row

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("allowed", "url", "good"),
    [
        ("api.example.org", "https://api.example.org/x", True),
        ("api.example.org", "https://API.example.org:443/x", True),
        ("api.example.org", "https://api.example.org:8443/x", False),
        ("api.example.org:8443", "https://api.example.org:8443/x", True),
        ("api.example.org:8443", "https://api.example.org/x", False),
        ("example.org", "https://api.example.org/x", False),
        ("api.example.org", "https://api.example.org.evil.example/x", False),
        ("api.example.org", "https://evil.example/api.example.org", False),
        ("api.example.org", "https://evil.example\\@api.example.org/", False),
        ("api.example.org", "https://api.example.org@evil.example/", False),
        ("api.example.org", "https://user@api.example.org/", False),
        ("api.example.org", "ftp://api.example.org/", False),
        ("api.example.org", "https:///x", False),
        ("api.example.org", "https://api.example.org:99999/", False),
        ("api.example.org", "", False),
        ("api.example.org", "http://api.example.org/", False),
    ],
)
def test_only_allowed_hosts_are_asked(allowed: str, url: str, good: bool) -> None:
    guard = HostGuard.of("https://api.example.org", [allowed], "npo")
    if good:
        guard.check(url)
    else:
        with pytest.raises(ConfigurationError, match="no credential sent"):
            guard.check(url)


def test_plain_http_is_for_this_machine_only_and_only_where_a_setting_allows_it() -> None:
    url = "http://127.0.0.1:8080"
    here = AddressRules(allow_loopback=True)
    HostGuard.of(url, ["127.0.0.1:8080"], "npo", addresses=here).check(f"{url}/x")
    with pytest.raises(ConfigurationError, match="only https is asked"):
        HostGuard.of(url, ["127.0.0.1:8080"], "npo").check(f"{url}/x")


def test_secrets_vanish_from_addresses_and_text() -> None:
    redactor = Redactor.of(Credential("login", "p/w d+1", {"tenant": "tenant-key"}), "k")
    assert redactor.url("https://a.example/x?k=1&Token=2&q=p%2Fw+d%2B1&page=3#frag") == (
        "https://a.example/x?k=***&Token=***&q=***&page=3"
    )
    assert redactor.url("https://user:pw@a.example/tenant-key/") == "https://a.example/***/"
    assert redactor.text("got p/w d+1 and p%2Fw%20d%2B1 and tenant-key") == "got *** and *** and ***"
    assert "tenant-key" not in repr(redactor)


def test_an_absent_or_tiny_secret_hides_nothing() -> None:
    redactor = Redactor.of(Credential(None, "a"))
    assert redactor.text("banana") == "banana"


SINCE = datetime(2026, 1, 2, 3, 4, 5, 678_901, tzinfo=timezone(timedelta(hours=1)))
UNTIL = datetime(2026, 2, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("form", "written"),
    [
        ("iso8601", "2026-01-02T02:04:05.678Z"),
        ("epoch_seconds", "1767319445"),
        ("epoch_millis", "1767319445678"),
        ("%Y-%m-%d", "2026-01-02"),
    ],
)
def test_a_window_is_written_in_utc_and_never_later_than_asked(form: str, written: str) -> None:
    incremental = Incremental(cursor_path="u", param="since", format=form)
    assert window_params(incremental, Window(since=SINCE)) == {"since": written}


def test_both_ends_can_share_one_filter() -> None:
    incremental = Incremental(
        cursor_path="u",
        param="filter",
        template="u>='{value}'",
        end_param="filter",
        end_template=" AND u<'{value}'",
    )
    since = datetime(2026, 1, 1, tzinfo=UTC)
    assert window_params(incremental, Window(since, UNTIL)) == {
        "filter": "u>='2026-01-01T00:00:00.000Z' AND u<'2026-02-01T00:00:00.000Z'"
    }


def test_a_filter_with_an_end_only_does_not_begin_with_its_joint() -> None:
    incremental = Incremental(
        cursor_path="u",
        param="filter",
        template="u>='{value}'",
        end_param="filter",
        end_template=" AND u<'{value}'",
    )
    assert window_params(incremental, Window(until=UNTIL)) == {
        "filter": "u>='1970-01-01T00:00:00.000Z' AND u<'2026-02-01T00:00:00.000Z'"
    }


def test_no_filter_and_no_window_ask_for_everything() -> None:
    assert window_params(None, Window(SINCE, UNTIL)) == {}
    assert window_params(Incremental(cursor_path="u"), Window(SINCE, UNTIL)) == {}
    assert window_params(Incremental(cursor_path="u", param="since", end_param="until"), Window()) == {}


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        (b"", "truncated"),
        (b'{"a": 1', "truncated"),
        (b'{"a": "\xc3', "truncated"),
        (b"<html>", "html"),
        (b"\n <?xml?>", "html"),
        (b"OK", "malformed"),
        (b'{"a": NaN}', "malformed"),
        (b'{"a": "\xff"}', "charset"),
        ('{"a": 1}'.encode("utf-16"), "charset"),
    ],
)
def test_what_is_wrong_with_a_body_is_told(body: bytes, fault: str) -> None:
    with pytest.raises(NotJsonError) as caught:
        parse_body(body, "application/json")
    assert caught.value.fault == fault


def test_an_unknown_charset_name_is_a_charset_fault() -> None:
    with pytest.raises(NotJsonError) as caught:
        parse_body(b'"\xff"', "application/json; charset=klingon")
    assert caught.value.fault == "charset"


# --- discovery ---

YAML = """
resources:
  offerings:
    endpoint: {path: items}
    primary_key: id
    mapping: {fields: {name: {path: title, transform: shout}, status: {const: active}}}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "acme").mkdir()
    (tmp_path / "acme" / "connector.yaml").write_text(YAML)
    (tmp_path / "acme" / "transforms.py").write_text("def shout(text):\n    return text.upper()\n")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "connector.yaml").write_text("resources: [")
    (tmp_path / "broken" / "transforms.py").write_text("raise SystemExit")
    (tmp_path / "no_connector").mkdir()
    return tmp_path


def test_a_folder_dropped_in_is_a_connector(folder: Path) -> None:
    assert connector_names(folder) == ("rest", "acme", "broken")
    row = make_row("https://a.example", connector="acme")
    connector = open_connector(row, CREDENTIAL, Settings(), folder=folder)
    assert connector.to_platform("offerings", {"title": "hi"}) == {"name": "HI", "status": "active"}


def test_a_broken_connector_disturbs_no_other_and_says_where(folder: Path) -> None:
    load_manifest(make_row("https://a.example", connector="acme"), folder)
    with pytest.raises(ConfigurationError, match=r"broken/connector\.yaml is not readable YAML at line"):
        load_manifest(make_row("https://a.example", connector="broken"), folder)


def test_an_unknown_connector_is_told_with_those_there_are(folder: Path) -> None:
    with pytest.raises(ConfigurationError, match="no connector 'nobody'; there are rest, acme, broken"):
        load_manifest(make_row("https://a.example", connector="nobody"), folder)


def test_a_transform_nobody_wrote_is_found_before_the_run(folder: Path) -> None:
    (folder / "acme" / "transforms.py").write_text("")
    with pytest.raises(ConfigurationError, match=r"testnpo: .*shout"):
        load_manifest(make_row("https://a.example", connector="acme"), folder)


@pytest.mark.parametrize(
    "code",
    [
        "raise RuntimeError('x')\ndef shout(t): ...",
        "def shout(t: ...",
        "import nothing_there\ndef shout(t): ...",
    ],
)
def test_a_broken_transforms_file_is_a_matter_of_configuration(folder: Path, code: str) -> None:
    (folder / "acme" / "transforms.py").write_text(code)
    with pytest.raises(ConfigurationError):
        open_connector(make_row("https://a.example", connector="acme"), CREDENTIAL, Settings(), folder=folder)


def test_a_changed_file_is_read_again(folder: Path) -> None:
    row = make_row("https://a.example", connector="acme")
    load_manifest(row, folder)
    path = folder / "acme" / "connector.yaml"
    path.write_text(YAML.replace("primary_key: id", "primary_key: key"))
    os.utime(path, ns=(1, 1))
    assert load_manifest(row, folder).resource("offerings").primary_key == ("key",)


def test_a_row_overrides_its_connector(folder: Path) -> None:
    manifest = {"resources": {"offerings": {"endpoint": {"params": {"size": 5}}}}}
    merged = load_manifest(make_row("https://a.example", connector="acme", manifest=manifest), folder)
    assert merged.resource("offerings").endpoint.params == {"size": 5}
    assert merged.resource("offerings").endpoint.path == "items"


def test_a_rest_row_is_wholly_its_manifest() -> None:
    assert load_manifest(make_row("https://a.example", manifest=make_manifest())).resource_names == (
        "offerings",
    )
    with pytest.raises(
        ConfigurationError, match="testnpo: the manifest is not valid:\nresources: expected a value"
    ):
        load_manifest(make_row("https://a.example"))


def test_a_rest_row_has_no_transforms() -> None:
    manifest = make_manifest()
    manifest["resources"]["offerings"]["mapping"]["fields"]["name"] = {"path": "name", "transform": "shout"}
    with pytest.raises(ConfigurationError, match="connector 'rest' lacks transforms its mapping uses: shout"):
        load_manifest(make_row("https://a.example", manifest=manifest))


def test_rows_of_one_connector_share_its_manifest(folder: Path) -> None:
    one, other = (make_row(f"https://{name}.example", npo_id=name, connector="acme") for name in ("aa", "bb"))
    assert load_manifest(one, folder) is load_manifest(other, folder)


def test_an_opened_connector_shows_no_secret() -> None:
    connector = open_connector(
        make_row("https://a.example", manifest=make_manifest()), CREDENTIAL, Settings()
    )
    assert str(CREDENTIAL.password) not in repr(vars(connector))
