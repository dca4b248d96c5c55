"""Where a database URL leads, and how it wants the way there protected. Never holds the password."""

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import parse_qs, unquote, urlsplit

DEFAULT_SSLMODE = "prefer"


@dataclass(frozen=True, slots=True)
class Target:
    """The hosts in the order they are tried, none for this machine's own socket, and libpq's `sslmode`."""

    hosts: tuple[str, ...]
    sslmode: str

    @property
    def is_local(self) -> bool:
        """Whether nothing leaves this machine."""
        return all(_is_local(host) for host in self.hosts)

    def __str__(self) -> str:
        """For a sentence."""
        return ", ".join(self.hosts) or "this machine's socket"


def target_of(url: str, environment: Mapping[str, str]) -> Target:
    """The target as asyncpg understands it: the URL, then its parameters, then libpq's variables."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return Target(("an unreadable address",), DEFAULT_SSLMODE)
    parameters = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    written = parts.netloc.rpartition("@")[2] or parameters.get("host") or environment.get("PGHOST", "")
    sslmode = parameters.get("sslmode") or environment.get("PGSSLMODE") or DEFAULT_SSLMODE
    return Target(tuple(_without_port(host) for host in written.split(",") if host), sslmode)


def _without_port(host: str) -> str:
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return unquote(host.partition(":")[0])


def _is_local(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.startswith("/")
