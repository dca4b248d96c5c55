"""Keys that sign, and the making of them. joserfc does the cryptography, the algorithm is pinned to the key.

A token is `joserfc`'s signature over segments joined here: its `jwt.encode` costs as much again as the signature, for checks
that cannot fail on claims `ticket` made. A test decodes every kind of token with joserfc and with PyJWT.
"""

import json
from base64 import urlsafe_b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from joserfc.jwk import ECKey, OKPKey, RSAKey
from joserfc.jws import JWSRegistry

from issuer.signing.ticket import ACCESS_TOKEN_TYPE, ID_TOKEN_TYPE, Ticket


@dataclass(frozen=True, slots=True)
class Algorithm:
    """One row: KeySet algorithm, its name in JOSE headers, and how a key of it is made and read."""

    name: str
    jose_name: str
    generate: Callable[[], ECKey | RSAKey | OKPKey]
    load: Callable[[bytes], ECKey | RSAKey | OKPKey]


# Ed25519 is labelled EdDSA (RFC 8037): the fully-specified name of RFC 9864 is not known to most verifiers yet.
ALGORITHMS: Mapping[str, Algorithm] = {
    row.name: row
    for row in (
        Algorithm("ES256", "ES256", lambda: ECKey.generate_key("P-256"), ECKey.import_key),
        Algorithm("RS256", "RS256", lambda: RSAKey.generate_key(2048), RSAKey.import_key),
        Algorithm("Ed25519", "EdDSA", lambda: OKPKey.generate_key("Ed25519"), OKPKey.import_key),
    )
}


@dataclass(frozen=True, slots=True)
class GeneratedKey:
    """A new key: its thumbprint, the public half, and the private half to be sealed at once."""

    kid: str
    public_jwk: Mapping[str, Any]
    private_pem: bytes

    def __repr__(self) -> str:
        """Without the private half."""
        return f"GeneratedKey({self.kid})"


def generate_key(algorithm: str) -> GeneratedKey:
    """A fresh key of the algorithm; `kid` is its RFC 7638 thumbprint, never reused since the key is not."""
    row = ALGORITHMS[algorithm]
    key = row.generate()
    kid = key.thumbprint()
    public: dict[str, Any] = {**key.as_dict(private=False), "kid": kid, "use": "sig", "alg": row.jose_name}
    return GeneratedKey(kid, public, key.as_pem(private=True))


class Signer:
    """One private key, ready. Signs tickets and nothing else."""

    __slots__ = ("_algorithm", "_headers", "_key", "kid")

    def __init__(self, kid: str, algorithm: str, private_pem: bytes) -> None:
        row = ALGORITHMS[algorithm]
        self.kid = kid
        self._key = row.load(private_pem)
        if self._key.thumbprint() != kid:
            raise ValueError(f"the private half of {kid} belongs to another key")
        self._algorithm = JWSRegistry.algorithms[row.jose_name]
        self._headers = {
            typ: _segment({"alg": row.jose_name, "typ": typ, "kid": kid}) for typ in (ACCESS_TOKEN_TYPE, ID_TOKEN_TYPE)
        }

    def sign(self, ticket: Ticket) -> str:
        """The compact JWS of the ticket's claims (RFC 7515 section 3.1). The ticket is spent."""
        message = self._headers[ticket.typ] + b"." + _segment(ticket.redeem())
        signature = self._algorithm.sign(message, self._key)
        return (message + b"." + urlsafe_b64encode(signature).rstrip(b"=")).decode("ascii")


def _segment(value: Mapping[str, Any]) -> bytes:
    return urlsafe_b64encode(json.dumps(value, separators=(",", ":")).encode()).rstrip(b"=")
