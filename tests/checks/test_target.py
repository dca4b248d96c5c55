"""Where a database URL leads, as asyncpg reads it."""

import pytest

from issuer.checks.target import target_of

TARGETS = {
    "postgresql://u:p@db.example.com/issuer": (("db.example.com",), "prefer", False),
    "postgresql://u:p@db:5433/issuer?sslmode=verify-full": (("db",), "verify-full", False),
    "postgresql://u:p@a:1,b:2,[2001:db8::1]:3/issuer?sslmode=require": (("a", "b", "2001:db8::1"), "require", False),
    "postgresql://u:p@127.0.0.1,localhost,[::1]/issuer": (("127.0.0.1", "localhost", "::1"), "prefer", True),
    "postgresql://u:p@127.0.0.1,10.0.0.1/issuer": (("127.0.0.1", "10.0.0.1"), "prefer", False),
    "postgresql://u@%2Frun%2Fpostgresql/issuer": (("/run/postgresql",), "prefer", True),
    "postgresql:///issuer?host=/run/postgresql": (("/run/postgresql",), "prefer", True),
    "postgresql:///issuer?host=db:1": (("db",), "prefer", False),
    "postgresql:///issuer": ((), "prefer", True),
    "postgresql://u:p@127.0.0.1.example.com/issuer": (("127.0.0.1.example.com",), "prefer", False),
}


@pytest.mark.parametrize(("url", "target"), TARGETS.items(), ids=TARGETS)
def test_hosts_and_protection(url: str, target: tuple[tuple[str, ...], str, bool]) -> None:
    found = target_of(url, {})
    assert (found.hosts, found.sslmode, found.is_local) == target


def test_variables_of_libpq_say_what_the_url_does_not() -> None:
    environment = {"PGHOST": "elsewhere", "PGSSLMODE": "verify-ca"}
    assert target_of("postgresql:///issuer", environment).hosts == ("elsewhere",)
    assert target_of("postgresql://db/issuer", environment).hosts == ("db",)
    assert target_of("postgresql://db/issuer", environment).sslmode == "verify-ca"
    assert target_of("postgresql://db/issuer?sslmode=require", environment).sslmode == "require"


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:canary@db/x",
        "postgresql://u:can@ary@db/x?password=canary",
        "postgresql://u:canary@[::1/x",
        "postgresql://u:canary@/x",
    ],
)
def test_no_part_of_a_password_is_kept(url: str) -> None:
    found = target_of(url, {})
    assert "can" not in repr(found)
    assert "ary" not in str(found)
