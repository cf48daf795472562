"""No address, name, link or redirect leads a request, or a credential, to where it must not go."""

from __future__ import annotations

from ipaddress import ip_network
from threading import Event
from typing import Any

import pytest

from include.connectors.addresses import AddressRules, public_addresses
from include.connectors.host_guard import HostGuard, host_of
from include.errors import ConfigurationError, TransientError
from include.settings import Settings
from tests.unit.connectors.resolving import resolver

PUBLIC = AddressRules()
HERE = AddressRules(allow_loopback=True)

FORBIDDEN = {
    "loopback": "127.0.0.1",
    "loopback_far_end": "127.255.255.254",
    "loopback_v6": "::1",
    "private_10": "10.0.0.1",
    "private_172": "172.16.0.1",
    "private_172_end": "172.31.255.255",
    "private_192": "192.168.1.1",
    "link_local": "169.254.0.1",
    "metadata_of_aws": "169.254.169.254",
    "metadata_of_aws_v6": "fd00:ec2::254",
    "metadata_of_ecs": "169.254.170.2",
    "metadata_of_alibaba": "100.100.100.200",
    "metadata_of_google_v6": "fd20:ce::254",
    "carrier_grade_nat": "100.64.0.1",
    "carrier_grade_nat_end": "100.127.255.255",
    "unspecified": "0.0.0.0",  # noqa: S104 - what must not be connected to
    "this_network": "0.1.2.3",
    "unspecified_v6": "::",
    "multicast": "224.0.0.1",
    "multicast_v6": "ff02::1",
    "broadcast": "255.255.255.255",
    "reserved": "240.0.0.1",
    "ietf_protocols": "192.0.0.8",
    "documentation_1": "192.0.2.1",
    "documentation_3": "203.0.113.9",
    "documentation_v6": "2001:db8::1",
    "documentation_v6_new": "3fff::1",
    "benchmarking": "198.18.0.1",
    "relay_6to4": "192.88.99.1",
    "unique_local": "fd12:3456::1",
    "link_local_v6": "fe80::1",
    "link_local_v6_scoped": "fe80::1%eth0",
    "site_local": "fec0::1",
    "discard_only": "100::1",
    "teredo": "2001:0:4136:e378:8000:63bf:3fff:fdd2",
    "mapped_loopback": "::ffff:127.0.0.1",
    "mapped_metadata": "::ffff:a9fe:a9fe",
    "mapped_private": "::ffff:10.0.0.1",
    "compatible_loopback": "::127.0.0.1",
    "sixtofour_private": "2002:0a00:0001::1",
    "sixtofour_metadata": "2002:a9fe:a9fe::1",
    "nat64_loopback": "64:ff9b::7f00:1",
    "nat64_metadata": "64:ff9b::a9fe:a9fe",
    "nat64_local_use": "64:ff9b:1::1",
    "not_an_address": "example.org",
}


@pytest.mark.parametrize("address", FORBIDDEN.values(), ids=FORBIDDEN)
def test_an_address_that_is_not_public_is_refused(address: str) -> None:
    assert PUBLIC.objection(address)


@pytest.mark.parametrize(
    "address",
    ["8.8.8.8", "172.32.0.1", "100.128.0.1", "2606:4700::1111", "64:ff9b::808:808", "2002:808:808::1"],
)
def test_a_public_address_is_not(address: str) -> None:
    assert PUBLIC.objection(address) is None


def test_a_setting_allows_this_machine_but_not_by_a_detour() -> None:
    assert HERE.objection("127.0.0.1") is None
    assert HERE.objection("::1") is None
    for address in ("::ffff:127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "10.0.0.1", "0.0.0.0"):  # noqa: S104
        assert HERE.objection(address)


def test_a_network_behind_a_vpn_is_allowed_and_its_neighbours_are_not() -> None:
    rules = AddressRules(private_networks=(ip_network("10.8.0.0/16"), ip_network("fd12::/32")))
    assert rules.objection("10.8.3.4") is None
    assert rules.objection("fd12::1") is None
    assert rules.objection("10.9.0.1")


@pytest.mark.parametrize(
    "address", ["169.254.169.254", "fd00:ec2::254", "100.100.100.200", "127.0.0.1", "224.0.0.1"]
)
def test_no_setting_opens_the_metadata_service_or_this_machine(address: str) -> None:
    everything = AddressRules(private_networks=(ip_network("0.0.0.0/0"), ip_network("::/0")))
    assert everything.objection(address)


def test_networks_are_read_from_a_comma_separated_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPOTLIGHT_PRIVATE_NETWORKS", "10.8.0.0/16, fd12::/32")
    assert AddressRules.of(Settings()).objection("10.8.3.4") is None


# --- spellings ---

SPELLINGS = {
    "octal": "https://0177.0.0.1/",
    "hexadecimal": "https://0x7f.0.0.1/",
    "hexadecimal_whole": "https://0x7f000001/",
    "decimal_whole": "https://2130706433/",
    "short_dotted": "https://127.1/",
    "leading_zeros": "https://127.000.000.001/",
    "five_parts": "https://1.2.3.4.5/",
    "trailing_dot": "https://api.example.org./",
    "two_dots": "https://api..example.org/",
    "user_info": "https://user@api.example.org/",
    "password": "https://user:pw@api.example.org/",
    "host_as_user": "https://api.example.org@evil.example/",
    "encoded_at": "https://api.example.org%40evil.example/",
    "backslash_user": "https://evil.example\\@api.example.org/",
    "backslash_host": "https://api.example.org\\.evil.example/",
    "carriage_return": "https://api.example.org\r\nX-Evil: 1/",
    "newline_in_path": "https://api.example.org/a\nb",
    "tab_in_host": "https://api.exa\tmple.org/",
    "nul": "https://api.example.org\0.evil.example/",
    "leading_space": " https://api.example.org/",
    "space_in_host": "https://api.example.org .evil.example/",
    "port_0": "https://api.example.org:0/",
    "port_too_large": "https://api.example.org:65536/",
    "port_negative": "https://api.example.org:-1/",
    "port_of_other_digits": "https://api.example.org:\u0664\u0664\u0663/",  # noqa: RUF100
    "empty_port": "https://api.example.org:/",
    "fullwidth_letters": "https://\uff41pi.example.org/",
    "fullwidth_dot": "https://api\u3002example.org/",
    "international_name": "https://\u0430pi.example.org/",
    "circled_digits": "https://\u2460\u2461\u2466.0.0.1/",
    "underscore": "https://api_x.example.org/",
    "percent_in_host": "https://api%2eexample.org/",
    "address_v6": "https://[::1]/",
    "address_v6_mapped": "https://[::ffff:127.0.0.1]/",
    "address_v6_zone": "https://[fe80::1%25eth0]/",
    "broken_bracket": "https://[::1/",
    "no_host": "https:///x",
    "no_slashes": "https:api.example.org/",
    "scheme_relative": "//api.example.org/",
    "relative": "/x",
    "file": "file:///etc/passwd",
    "gopher": "gopher://api.example.org/",
    "javascript": "javascript:alert(1)",
    "blank": "",
    "hyphen_first": "https://-api.example.org/",
    "endless_label": f"https://{'a' * 64}.example.org/",
}


@pytest.mark.parametrize("url", SPELLINGS.values(), ids=SPELLINGS)
def test_a_strange_spelling_is_no_address(url: str) -> None:
    assert host_of(url) is None
    with pytest.raises(ConfigurationError, match="no credential sent"):
        HostGuard.of("https://api.example.org", ["api.example.org", "127.0.0.1"], "npo").check(url)


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://api.example.org/a b?x=\u00e9", "api.example.org:443"),
        ("HTTPS://API.Example.ORG/x", "api.example.org:443"),
        ("https://xn--bcher-kva.example/x", "xn--bcher-kva.example:443"),
        ("https://8.8.8.8:8443/", "8.8.8.8:8443"),
        ("http://127.0.0.1:8080", "127.0.0.1:8080"),
        ("https://3com.example", "3com.example:443"),
    ],
)
def test_a_plain_address_is_one(url: str, host: str) -> None:
    assert host_of(url) == host


# --- names ---


def test_a_name_with_one_private_address_among_public_ones_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"npo: api\.example\.org leads to 10\.0\.0\.7, a private"):
        public_addresses(
            "api.example.org", 443, settings=PUBLIC, subject="npo", resolve=resolver(["8.8.8.8", "10.0.0.7"])
        )


def test_a_name_that_is_not_known_is_tried_again() -> None:
    with pytest.raises(TransientError, match="cannot be resolved"):
        public_addresses("gone.example", 443, settings=PUBLIC, subject="npo", resolve=resolver([]))


def test_a_name_server_that_hangs_holds_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    forever = Event()

    def never(*_: Any, **__: Any) -> list[Any]:
        forever.wait(5)
        return []

    monkeypatch.setattr("include.connectors.addresses.LONGEST_RESOLUTION", 0.05)
    with pytest.raises(TransientError, match=r"not within 0\.05 s"):
        public_addresses(
            "slow.example",
            443,
            settings=PUBLIC,
            subject="npo",
            resolve=never,
        )
    forever.set()


def test_public_addresses_are_returned_once_each_in_order() -> None:
    found = public_addresses(
        "a.example", 443, settings=PUBLIC, subject="npo", resolve=resolver(["9.9.9.9", "8.8.8.8", "9.9.9.9"])
    )
    assert found == ("9.9.9.9", "8.8.8.8")
