"""How a secret looks, and how a presented one is recognised (DESIGN section 4)."""

import re
from hmac import digest
from urllib.parse import parse_qsl, quote, quote_plus, urlencode
from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st

from issuer.credentials import SECRET_PREFIX, SecretDigest, format_secret, match_secret
from issuer.sources import system_sources

BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
SHAPE = re.compile(r"isk1_[0-9A-Za-z]{43}[0-9A-Za-z]{6}", re.ASCII)
random_256_bits = st.binary(min_size=32, max_size=32)


def number_of(digits: str) -> int:
    value = 0
    for digit in digits:
        value = 62 * value + BASE62.index(digit)
    return value


@given(random_256_bits)
def test_a_secret_is_the_prefix_43_characters_and_their_checksum(bits: bytes) -> None:
    secret = format_secret(bits)
    assert SHAPE.fullmatch(secret)
    body, checksum = secret[5:48], secret[48:]
    assert number_of(body).to_bytes(32, "big") == bits
    assert number_of(checksum) == crc32(body.encode())


@given(random_256_bits)
def test_no_encoding_on_its_way_changes_it(bits: bytes) -> None:
    secret = format_secret(bits)
    assert quote_plus(secret) == quote(secret, safe="") == secret
    assert parse_qsl(urlencode({"client_secret": secret})) == [("client_secret", secret)]


@pytest.mark.parametrize("bits", [bytes(32), b"\xff" * 32], ids=["zeros", "ones"])
def test_the_extremes_are_as_long_as_any_other(bits: bytes) -> None:
    assert SHAPE.fullmatch(format_secret(bits))


@pytest.mark.parametrize("length", [0, 16, 31, 33])
def test_another_length_is_refused(length: int) -> None:
    with pytest.raises(ValueError, match="256 bits"):
        format_secret(b"x" * length)


def test_the_servers_own_secrets_are_different_each_time() -> None:
    made = {system_sources().client_secret() for _ in range(100)}
    assert len(made) == 100
    assert all(SHAPE.fullmatch(secret) for secret in made)
    assert SECRET_PREFIX == "isk1_"


PEPPERS = {"p2": b"new pepper", "p1": b"old pepper"}


def digests(*secrets: tuple[str, bytes]) -> tuple[SecretDigest, ...]:

    return tuple(
        SecretDigest(number, pepper_id, digest(PEPPERS[pepper_id], secret, "sha256"), False, False, None)  # noqa: FBT003
        for number, (pepper_id, secret) in enumerate(secrets, 1)
    )


def test_a_secret_is_found_under_the_pepper_it_was_stored_with() -> None:
    known = digests(("p1", b"first"), ("p2", b"second"))
    assert match_secret(b"first", known, PEPPERS) is known[0]
    assert match_secret(b"second", known, PEPPERS) is known[1]


@given(st.binary())
def test_nothing_else_matches(presented: bytes) -> None:
    known = digests(("p1", b"first"), ("p2", b"second"))
    assert (match_secret(presented, known, PEPPERS) is not None) is (presented in {b"first", b"second"})


def test_without_its_pepper_a_version_matches_nothing() -> None:
    known = digests(("p1", b"first"))
    assert match_secret(b"first", known, {"p2": PEPPERS["p2"]}) is None
    assert match_secret(b"", known, {}) is None


@pytest.mark.parametrize("live", [0, 1, 8, 32])
def test_it_costs_the_same_hmacs_however_many_versions_there_are(live: int, monkeypatch: pytest.MonkeyPatch) -> None:
    known = digests(*(("p1", f"secret {number}".encode()) for number in range(live)))
    calls: list[bytes] = []

    def counting(key: bytes, message: bytes, _: str) -> bytes:
        calls.append(key)
        return b"\0" * 32 + message

    monkeypatch.setattr("issuer.credentials.digest", counting)
    match_secret(b"secret 0", known, PEPPERS)
    assert calls == list(PEPPERS.values())
