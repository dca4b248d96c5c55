"""The only way to an unsigned token: `prepare` takes what policy allowed and gives a ticket that signs once.

`signer` accepts nothing but tickets, and a ticket cannot be built without an `Allowed`: the type checker holds the order
decide, prepare, sign. Claims are RFC 9068 section 2.2 and, for ID tokens, OpenID Connect Core section 2.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from issuer.model.claims import RESERVED_PREFIX
from issuer.policy.decide import Allowed

ACCESS_TOKEN_TYPE: Final = "at+jwt"  # noqa: S105 - a media type
ID_TOKEN_TYPE: Final = "JWT"  # noqa: S105 - same
_ISSUED_BY_PREPARE = object()


class TicketError(Exception):
    """A ticket was made by hand, or used twice: a bug, never an input."""


class Ticket:
    """An unsigned token: media type and claims. Redeemable once."""

    __slots__ = ("_claims", "typ")

    def __init__(self, typ: str, claims: Mapping[str, Any], *, key: object) -> None:
        if key is not _ISSUED_BY_PREPARE:
            raise TicketError("only prepare_access_token and prepare_id_token make tickets")
        self.typ = typ
        self._claims: Mapping[str, Any] | None = claims

    def redeem(self) -> Mapping[str, Any]:
        """The claims, the first time. Raises TicketError afterwards."""
        claims, self._claims = self._claims, None
        if claims is None:
            raise TicketError("this ticket was redeemed before")
        return claims


@dataclass(frozen=True, slots=True)
class TokenIdentity:
    """What the edge contributes: who signs, which id, when (POSIX seconds), proven by which credential (`secret/3`)."""

    issuer: str
    jti: str
    issued_at: int
    credential: str


def prepare_access_token(allowed: Allowed, identity: TokenIdentity) -> Ticket:
    """The access token the decision allows: an RFC 9068 JWT. No `nbf`: a verifier a little behind would refuse it."""
    grant = allowed.governed.grant
    claims: dict[str, Any] = {
        **allowed.governed.claims,
        "iss": identity.issuer,
        "sub": grant.client_id,
        "aud": allowed.audience,
        "exp": identity.issued_at + allowed.ttl_s,
        "iat": identity.issued_at,
        "jti": identity.jti,
        "client_id": grant.client_id,
        "scope": " ".join(allowed.scopes),
        RESERVED_PREFIX: {
            "namespace": grant.namespace,
            "serviceaccount": {"name": grant.name, "uid": grant.uid},
            "type": grant.type,
            "credential": identity.credential,
        },
    }
    return Ticket(ACCESS_TOKEN_TYPE, claims, key=_ISSUED_BY_PREPARE)


def prepare_id_token(allowed: Allowed, identity: TokenIdentity) -> Ticket:
    """The ID token that goes with it when `openid` was granted: for the client itself, never an access token."""
    client_id = allowed.governed.grant.client_id
    claims = {
        "iss": identity.issuer,
        "sub": client_id,
        "aud": client_id,
        "exp": identity.issued_at + allowed.ttl_s,
        "iat": identity.issued_at,
        "jti": identity.jti,
    }
    return Ticket(ID_TOKEN_TYPE, claims, key=_ISSUED_BY_PREPARE)
