"""Verification of our own access tokens, for our own admin API: signature, type, issuer, audience, times. Pure.

The algorithm comes from the published key, never from the token (CVE-2024-37568, CVE-2026-11800); `jwk`, `jku` and `x5u`
headers are not looked at (CVE-2026-27962). No extension is known here, so any `crit` is refused (CVE-2025-59420), before
joserfc reads it: what it holds need not be a list.
"""

from collections.abc import Mapping
from typing import Any, NewType, cast

from joserfc import jws
from joserfc.errors import JoseError, UnsupportedAlgorithmError
from joserfc.jwk import import_key

from issuer.manifests import ManifestError, parse_json
from issuer.signing.ticket import ACCESS_TOKEN_TYPE

MAX_TOKEN_CHARACTERS = 16_384
LEEWAY_S = 30

VerifiedClaims = NewType("VerifiedClaims", dict[str, Any])
"""Claims of a token of ours whose signature, type, issuer, audience and times were checked."""


class TokenRejected(Exception):
    """The token is not an access token of ours for this audience, or not now. The message holds nothing of the token."""


class _Pinned(jws.JWSRegistry):
    """Admits the algorithm of one key of ours, and is silent about EdDSA having a newer name (RFC 9864)."""

    max_payload_length = MAX_TOKEN_CHARACTERS

    def get_alg(self, name: str) -> Any:
        """The algorithm, if it is the key's. Raises UnsupportedAlgorithmError."""
        if name not in (self.allowed or ()):
            raise UnsupportedAlgorithmError
        return self.algorithms[name]


def verify_access_token(
    token: str, published: Mapping[str, Mapping[str, Any]], *, issuer: str, audience: str, now: float
) -> VerifiedClaims:
    """The claims of an access token (RFC 9068 section 4). Raises TokenRejected."""
    if len(token) > MAX_TOKEN_CHARACTERS or not token.isascii():
        raise TokenRejected("it is not a token of ours")
    try:
        header = jws.extract_compact(token.encode()).headers()
        jwk = published.get(str(header.get("kid")))
        if jwk is None:
            raise TokenRejected("its key is not published")
        if header.get("typ") != ACCESS_TOKEN_TYPE:
            raise TokenRejected("it is not an access token")
        if "crit" in header:
            raise TokenRejected("it demands an extension that is not known here")
        registry = _Pinned(algorithms=[str(jwk["alg"])])
        key = import_key({name: value for name, value in jwk.items() if name != "use"})
        claims = parse_json(jws.deserialize_compact(token, key, registry=registry).payload)
    except (JoseError, ManifestError, ValueError, KeyError):
        raise TokenRejected("its signature or encoding is wrong") from None
    if not isinstance(claims, dict) or claims.get("iss") != issuer or claims.get("aud") != audience:
        raise TokenRejected("it is for another audience")
    issued_at, expires_at = claims.get("iat"), claims.get("exp")
    if not isinstance(issued_at, int) or not isinstance(expires_at, int):
        raise TokenRejected("it has no lifetime")
    if not issued_at - LEEWAY_S <= now < expires_at + LEEWAY_S:
        raise TokenRejected("it has expired, or the clocks differ")
    return cast("VerifiedClaims", claims)
