"""What a refusal costs us: HMACs, and whatever else could be told from outside."""

import hmac

import pytest


class Hmacs:
    """Counts the HMACs and the comparisons of the code under test."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.made = self.compared = 0
        real_digest, real_compare = hmac.digest, hmac.compare_digest

        def digest(key: bytes, message: bytes, name: str) -> bytes:
            self.made += 1
            return real_digest(key, message, name)

        def compare(one: bytes, other: bytes) -> bool:
            self.compared += 1
            return real_compare(one, other)

        monkeypatch.setattr("issuer.credentials.digest", digest)
        monkeypatch.setattr("issuer.credentials.compare_digest", compare)
