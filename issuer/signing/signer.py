"""Keys that sign, and the making of them; the algorithm is pinned to the key.

joserfc makes, reads and verifies keys. A token's signature is asked of `cryptography` directly, with everything that does not
change made once: joserfc's own `sign` costs 1.4 times the bare signature, its `jwt.encode` twice. Tests decode every kind of
token with joserfc and with PyJWT.
"""

from base64 import urlsafe_b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from joserfc.errors import InvalidKeyTypeError
from joserfc.jwk import ECKey, OKPKey, RSAKey
from pydantic_core import to_json

from issuer.signing.ticket import ACCESS_TOKEN_TYPE, ID_TOKEN_TYPE, Ticket

Sign: TypeAlias = Callable[[bytes], bytes]

_ECDSA_SHA256 = ec.ECDSA(hashes.SHA256())
_PKCS1 = padding.PKCS1v15()
_SHA256 = hashes.SHA256()


def _sign_es256(key: ec.EllipticCurvePrivateKey) -> Sign:
    """RFC 7518 section 3.4: r and s, each 32 bytes, big-endian."""

    def sign(message: bytes) -> bytes:
        r, s = decode_dss_signature(key.sign(message, _ECDSA_SHA256))
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")

    return sign


def _sign_rs256(key: rsa.RSAPrivateKey) -> Sign:
    """RFC 7518 section 3.3."""
    return lambda message: key.sign(message, _PKCS1, _SHA256)


def _sign_eddsa(key: ed25519.Ed25519PrivateKey) -> Sign:
    """RFC 8037 section 3.1."""
    return key.sign


def _load_rs256(pem: bytes) -> RSAKey:
    """Without OpenSSL's look whether the numbers are sound: 36 ms, while tokens wait, for what was sealed as it was made."""
    key = load_pem_private_key(pem, None, unsafe_skip_rsa_key_validation=True)
    if not isinstance(key, rsa.RSAPrivateKey):
        raise InvalidKeyTypeError("not an RSA key")
    return RSAKey.import_key(key)


@dataclass(frozen=True, slots=True)
class Algorithm:
    """One row: KeySet algorithm, its name in JOSE headers, and how a key of it is made, read and used."""

    name: str
    jose_name: str
    generate: Callable[[], ECKey | RSAKey | OKPKey]
    load: Callable[[bytes], ECKey | RSAKey | OKPKey]
    signing: Callable[[Any], Sign]


# Ed25519 is labelled EdDSA (RFC 8037): the fully-specified name of RFC 9864 is not known to most verifiers yet.
ALGORITHMS: Mapping[str, Algorithm] = {
    row.name: row
    for row in (
        Algorithm("ES256", "ES256", lambda: ECKey.generate_key("P-256"), ECKey.import_key, _sign_es256),
        Algorithm("RS256", "RS256", lambda: RSAKey.generate_key(2048), _load_rs256, _sign_rs256),
        Algorithm("Ed25519", "EdDSA", lambda: OKPKey.generate_key("Ed25519"), OKPKey.import_key, _sign_eddsa),
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

    __slots__ = ("_headers", "_sign", "kid")

    def __init__(self, kid: str, algorithm: str, private_pem: bytes) -> None:
        row = ALGORITHMS[algorithm]
        self.kid = kid
        key = row.load(private_pem)
        if key.thumbprint() != kid:
            raise ValueError(f"the private half of {kid} belongs to another key")
        self._sign = row.signing(key.get_op_key("sign"))
        self._headers = {
            typ: _segment({"alg": row.jose_name, "typ": typ, "kid": kid}) for typ in (ACCESS_TOKEN_TYPE, ID_TOKEN_TYPE)
        }

    def sign(self, ticket: Ticket) -> str:
        """The compact JWS of the ticket's claims (RFC 7515 section 3.1). The ticket is spent."""
        message = self._headers[ticket.typ] + b"." + _segment(ticket.redeem())
        return (message + b"." + urlsafe_b64encode(self._sign(message)).rstrip(b"=")).decode("ascii")


def _segment(value: Mapping[str, Any]) -> bytes:
    return urlsafe_b64encode(to_json(value)).rstrip(b"=")
