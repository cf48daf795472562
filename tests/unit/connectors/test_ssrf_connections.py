"""Connections go to the address that was checked, links and redirects nowhere else; TLS is the name's."""

from __future__ import annotations

import socket
import ssl
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from include.connectors import wire
from include.connectors.addresses import AddressRules, public_addresses
from include.connectors.open import open_api
from include.errors import ConfigurationError
from include.settings import Settings
from tests.conformance.rows import CREDENTIAL, SECRET, Waits, make_manifest, make_row
from tests.conformance.tiny_server import Reply, TinyServer, serving
from tests.unit.connectors.resolving import resolver

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def names(monkeypatch: pytest.MonkeyPatch, *answers: list[str]) -> Iterator[list[str]]:
    """Let every name resolve to these, connection by connection; yield the names asked for."""
    asked: list[str] = []
    resolve = resolver(*answers)

    def look_up(host: str, port: int, *, settings: AddressRules, subject: str) -> tuple[str, ...]:
        asked.append(host)
        return public_addresses(host, port, settings=settings, subject=subject, resolve=resolve)

    with monkeypatch.context() as patched:
        patched.setattr(wire, "public_addresses", look_up)
        yield asked


def api(base_url: str, *, settings: Settings | None = None, **columns: Any) -> Any:
    row = make_row(base_url, manifest=make_manifest(), **columns)
    return open_api(row, CREDENTIAL, settings or Settings(), retry=Waits().policy(attempts=1))


def get(base_url: str, path: str = "items", *, settings: Settings | None = None, **columns: Any) -> Any:
    opened = api(base_url, settings=settings, **columns)
    try:
        return opened.session.send(opened.request("GET", path))
    finally:
        opened.close()


def test_the_connection_goes_to_the_address_that_was_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(Reply(body={"items": []})) as server, names(monkeypatch, ["127.0.0.1"]) as asked:
        port = server.host.rpartition(":")[2]
        assert get(f"http://localhost:{port}").status_code == 200
        assert asked == ["localhost"]
        assert server.seen[0].headers["Host"] == f"localhost:{port}"


def test_a_name_rebound_between_two_connections_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    closing = Reply(body={"items": []}, headers={"Connection": "close"})
    with serving(closing) as server, names(monkeypatch, ["127.0.0.1"], ["169.254.169.254"]):
        opened = api(f"http://localhost:{server.host.rpartition(':')[2]}")
        assert opened.session.send(opened.request("GET", "items")).status_code == 200
        with pytest.raises(ConfigurationError, match="metadata service; refused, nothing was sent"):
            opened.session.send(opened.request("GET", "items"))
        assert len(server.seen) == 1


def test_the_name_is_not_looked_up_again_between_check_and_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = socket.getaddrinfo
    rebinding = iter(["127.0.0.1", "10.255.255.1", "10.255.255.1"])

    def look_up(host: str, *args: Any, **kwargs: Any) -> Any:
        return real(next(rebinding) if host == "localhost" else host, *args, **kwargs)

    with serving(Reply(body={"items": []})) as server:
        monkeypatch.setattr(socket, "getaddrinfo", look_up)
        assert get(f"http://localhost:{server.host.rpartition(':')[2]}").status_code == 200
    assert next(rebinding) == "10.255.255.1"


@pytest.mark.parametrize("address", ["10.0.0.1", "169.254.169.254", "127.0.0.1", "::1", "::ffff:127.0.0.1"])
def test_an_https_name_that_leads_inside_gets_no_connection(
    monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    with names(monkeypatch, [address]), pytest.raises(ConfigurationError, match="nothing was sent") as caught:
        get("https://api.example.org", settings=Settings(allow_loopback=False))
    assert SECRET not in str(caught.value)


def test_plain_http_never_leaves_this_machine_by_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    with names(monkeypatch, ["8.8.8.8"]), pytest.raises(ConfigurationError, match="would leave this machine"):
        get("http://localhost:8080")


def test_loopback_is_closed_unless_a_setting_opens_it() -> None:
    with serving(Reply(body={"items": []})) as server:
        with pytest.raises(ConfigurationError, match="only https is asked"):
            get(server.url, settings=Settings(allow_loopback=False))
        assert server.seen == []


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize(
    "location",
    [
        "http://169.254.169.254/latest",
        "//evil.example/x",
        "https://evil.example/",
        "http://127.0.0.1:1/",
        "file:///etc/passwd",
    ],
)
def test_a_redirect_elsewhere_is_refused(status: int, location: str) -> None:
    with serving(Reply(status, {}, {"Location": location})) as server:
        with pytest.raises(ConfigurationError, match="no credential sent"):
            get(server.url)
        assert len(server.seen) == 1


def test_a_redirect_to_another_allowed_host_gets_no_credential() -> None:
    with (
        serving(Reply(body={"items": []})) as other,
        serving(Reply(302, {}, {"Location": f"{other.url}/x"})) as server,
    ):
        assert get(server.url, allowed_hosts=(server.host, other.host)).status_code == 200
        assert server.seen[0].headers["Authorization"] == f"Bearer {SECRET}"
        assert "Authorization" not in other.seen[0].headers


def test_an_absolute_path_to_a_host_that_is_not_allowed_is_refused() -> None:
    with serving(Reply(body={})) as server, serving(Reply(body={})) as other:
        opened = api(server.url)
        with pytest.raises(ConfigurationError, match="not in allowed_hosts"):
            opened.request("POST", f"{other.url}/x", json={"a": 1})


def test_an_absolute_path_to_another_allowed_host_gets_no_credential() -> None:
    with serving(Reply(body={})) as server, serving(Reply(body={})) as other:
        manifest = make_manifest(headers={"X-Key": "{credential.password}", "X-Tenant": "t1"})
        row = make_row(server.url, manifest=manifest, allowed_hosts=(server.host, other.host))
        opened = open_api(row, CREDENTIAL, Settings(), retry=Waits().policy(attempts=1))
        opened.session.exchange(opened.request("GET", f"{other.url}/poll/7"))
        opened.session.exchange(opened.request("GET", f"{server.url}/poll/7"))
    assert SECRET not in str(other.seen)
    assert other.seen[0].headers["X-Tenant"] == "t1"
    assert server.seen[0].headers["X-Key"] == SECRET


# --- TLS ---


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A certificate for ``partner.example``, signed by itself."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.oid.NameOID.COMMON_NAME, "partner.example")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("partner.example")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path / "server.pem"
    form = serialization.PrivateFormat.PKCS8
    secret = key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
    path.write_bytes(secret + made.public_bytes(serialization.Encoding.PEM))
    return path


@contextmanager
def secure(certificate: Path) -> Iterator[tuple[TinyServer, list[str | None]]]:
    """A server on https; yields the names clients asked for in the handshake (SNI)."""
    asked: list[str | None] = []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    context.sni_callback = lambda _socket, name, _context: asked.append(name)
    server = TinyServer(lambda _: Reply(body={"items": []}))
    server._server.socket = context.wrap_socket(server._server.socket, server_side=True)
    with server:
        yield server, asked


def test_the_handshake_asks_for_the_name_and_checks_the_certificate_against_it(
    monkeypatch: pytest.MonkeyPatch, certificate: Path
) -> None:
    monkeypatch.setattr("requests.adapters.DEFAULT_CA_BUNDLE_PATH", str(certificate))
    monkeypatch.setattr("requests.utils.DEFAULT_CA_BUNDLE_PATH", str(certificate))
    monkeypatch.setattr("certifi.where", lambda: str(certificate))
    with secure(certificate) as (server, asked), names(monkeypatch, ["127.0.0.1"]):
        port = server.host.rpartition(":")[2]
        assert get(f"https://partner.example:{port}").status_code == 200
        assert asked == ["partner.example"]
        with pytest.raises(ConfigurationError, match="certificate is not valid"):
            get(f"https://other.example:{port}")
        assert len(server.seen) == 1
