"""Whom a request is counted under: the peer, or whom proxies that are trusted say they speak for; never what a client says."""

from ipaddress import IPv4Address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from issuer.protocol.source import MAX_HOPS, Network, _is_ipv4, network_of, source_of

PROXIES: tuple[Network, ...] = (ip_network("10.0.0.0/8"), ip_network("2001:db8:5::/48"), ip_network("192.0.2.9/32"))
PROXY, CLIENT, OTHER = "10.1.2.3", "203.0.113.7", "198.51.100.4"

# Rule → peer, values of X-Forwarded-For, the source.
FORWARDED: dict[str, tuple[str, list[str], str]] = {
    "no header: the proxy itself": (PROXY, [], PROXY),
    "the one address the proxy appended": (PROXY, [CLIENT], CLIENT),
    "what the client sent stands to the left and does not count": (PROXY, [f"{OTHER}, {CLIENT}"], CLIENT),
    "not even when it names a trusted proxy": (PROXY, [f"10.9.9.9, {CLIENT}"], CLIENT),
    "several proxies in a row": (PROXY, [f"{OTHER}, {CLIENT}, 10.9.9.9, 192.0.2.9"], CLIENT),
    "several headers are one list": (PROXY, [OTHER, CLIENT, "10.9.9.9"], CLIENT),
    "without spaces, with many": (PROXY, [f"{OTHER},  {CLIENT} "], CLIENT),
    "a peer that is no proxy is not asked": (CLIENT, [OTHER], CLIENT),
    "nor one whose address looks like it": ("110.0.0.1", [OTHER], "110.0.0.1"),
    "nothing but proxies: the farthest": (PROXY, ["10.9.9.9, 10.8.8.8"], "10.9.9.9"),
    "IPv6": ("2001:db8:5::1", ["2001:db8:77::9"], "2001:db8:77::9"),
    "IPv6 in another spelling": ("2001:DB8:5:0::1", ["2001:0DB8:77:0::9"], "2001:db8:77::9"),
    "IPv4 as an IPv6 socket sees it": (f"::ffff:{PROXY}", [f"::ffff:{CLIENT}"], CLIENT),
    "with a port": (PROXY, [f"{CLIENT}:4711"], CLIENT),
    "IPv6 in brackets": (PROXY, ["[2001:db8:77::9]"], "2001:db8:77::9"),
    "IPv6 in brackets with a port": (PROXY, ["[2001:db8:77::9]:4711"], "2001:db8:77::9"),
    "with a zone": (PROXY, ["fe80::1%eth0"], "fe80::1"),
    "malformed: the proxy": (PROXY, ["unknown"], PROXY),
    "malformed behind a second proxy: that proxy": (PROXY, ["unknown, 10.9.9.9"], "10.9.9.9"),
    "malformed to the left of the client does not matter": (PROXY, [f"unknown, {CLIENT}"], CLIENT),
    "empty": (PROXY, [""], PROXY),
    "nothing after a comma": (PROXY, [f"{CLIENT},"], PROXY),
    "no number": (PROXY, ["203.0.113.256"], PROXY),
    "leading zeros": (PROXY, ["203.0.113.007"], PROXY),
    "digits of another script": (PROXY, ["٢٠٣.0.113.7"], PROXY),
    "a network": (PROXY, ["203.0.113.0/24"], PROXY),
    "a name": (PROXY, ["client.example"], PROXY),
    "huge": (PROXY, ["9" * 10_000], PROXY),
    "no peer at all, as on a Unix socket": ("", [CLIENT], ""),
}


@pytest.mark.parametrize(("peer", "values", "source"), FORWARDED.values(), ids=FORWARDED.keys())
def test_the_source_is(peer: str, values: list[str], source: str) -> None:
    raw = [value.encode("utf-8") for value in values]
    assert source_of(peer, raw, PROXIES) == source


@pytest.mark.parametrize("peer", [PROXY, CLIENT, "2001:db8::1", ""])
def test_nobody_is_asked_when_no_proxy_is_trusted(peer: str) -> None:
    assert source_of(peer, [OTHER.encode()], ()) == peer


def test_a_client_does_not_decide_how_much_of_a_header_is_read() -> None:
    """Somebody within a trusted network writes the header himself."""
    endless = [b"10.0.0.1," * 100_000 + OTHER.encode(), *[b"10.0.0.1"] * MAX_HOPS]
    assert source_of(PROXY, endless, PROXIES) == "10.0.0.1"


@given(st.from_regex(r"[0-9x]{0,3}(\.[0-9 ]{0,4}){2,4}\n?", fullmatch=True) | st.ip_addresses().map(str) | st.text())
def test_an_ipv4_address_is_what_the_library_takes_for_one_and_writes_like_that(text: str) -> None:
    try:
        written = str(IPv4Address(text))
    except ValueError:
        written = None
    assert (_is_ipv4(text) is not None) == (text == written)


NETWORKS = {
    CLIENT: CLIENT,
    f"::ffff:{CLIENT}": CLIENT,
    "2001:db8:1:2:3:4:5:6": "2001:db8:1:2::/64",
    "2001:db8:1:2::ffff": "2001:db8:1:2::/64",
    "2001:db8:1:3::ffff": "2001:db8:1:3::/64",
    "fe80::1%eth0": "fe80::/64",
    "": "",
    "testclient": "testclient",
    "x" * 1000: "x" * 64,
}


@pytest.mark.parametrize(("source", "network"), NETWORKS.items(), ids=[each[:30] for each in NETWORKS])
def test_the_network_of_a_source_is_the_address_or_its_64(source: str, network: str) -> None:
    assert network_of(source) == network
