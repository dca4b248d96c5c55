"""Where a request came from: the peer of its connection, or the client that trusted proxies say they speak for.

Behind `trusted_proxies` the nearest address of `X-Forwarded-For` that is no trusted proxy counts: each proxy appends whom
it was asked by, so everything to the left of that address is the client's own invention. What cannot be read ends the walk,
and the last address that could be believed counts. `Forwarded` (RFC 7239) is not read: a proxy that writes the one header
passes the other on as the client sent it.
"""

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from itertools import islice
from typing import TypeAlias

Network: TypeAlias = IPv4Network | IPv6Network

MAX_HOPS = 16
"""Proxies in a row, more than anybody has: reading a header of 16 KiB to its end would be a client's choice."""
_LONGEST_ADDRESS = 64
_OCTET = "(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_is_ipv4 = re.compile(rf"{_OCTET}\.{_OCTET}\.{_OCTET}\.{_OCTET}").fullmatch
"""An address as it is always written. Most are, and an attack has a new one in every request: that is not parsed."""
_NETWORK_OF_64_BITS = (1 << 128) - (1 << 64)


def source_of(peer: str, forwarded_for: Sequence[bytes], trusted: Sequence[Network]) -> str:
    """The address a request is counted under. `forwarded_for`: the values of X-Forwarded-For in order of arrival."""
    source = peer
    for hop in islice(_nearest_first(forwarded_for), MAX_HOPS):
        believed = _parse(source)
        if believed is None or not any(believed in network for network in trusted):
            break
        spelled = hop if _is_ipv4(hop) else _spelled(hop)
        if spelled is None:
            break
        source = spelled
    return source


def network_of(source: str) -> str:
    """What one party can hardly leave: an IPv4 address, the /64 of an IPv6 address (RFC 6177), else the text itself."""
    return source if _is_ipv4(source) else _network_of(source)


@lru_cache(maxsize=1024)
def _network_of(source: str) -> str:
    address = _parse(source)
    if address is None:
        return source[:_LONGEST_ADDRESS]
    if address.version == 4:  # noqa: PLR2004
        return str(address)
    return f"{IPv6Address(int(address) & _NETWORK_OF_64_BITS)}/64"


def _spelled(text: str) -> str | None:
    address = _parse(text)
    return str(address) if address is not None else None


def _nearest_first(values: Sequence[bytes]) -> Iterator[str]:
    for value in reversed(values):
        rest: bytes = value
        while rest:
            rest, _, hop = rest.rpartition(b",")
            yield hop[: 2 * _LONGEST_ADDRESS].decode("latin-1").strip()


@lru_cache(maxsize=1024)
def _parse(text: str) -> IPv4Address | IPv6Address | None:
    """The address of `192.0.2.1`, `192.0.2.1:4711`, `2001:db8::1`, `[2001:db8::1]`, `[2001:db8::1]:4711`, without a zone."""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    text = text.partition("%")[0]
    if len(text) > _LONGEST_ADDRESS:
        return None
    try:
        address = ip_address(text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
