"""Which claims of a token nobody but the issuer may write (DESIGN section 3, "How they combine").

Origin of the rule: CVE-2026-16102 and rauthy #1597/#1604, where a mapping could overwrite `iss`, `sub` or a role.
"""

from typing import Annotated

from pydantic import AfterValidator
from pydantic_core import PydanticCustomError

# fmt: off
RESERVED_CLAIMS = frozenset({
    "iss", "sub", "aud", "exp", "nbf", "iat", "jti", "client_id", "scope", "cnf", "act", "may_act", "auth_time", "acr", "amr",
    "azp", "nonce", "at_hash", "sid", "status", "txn", "events", "sub_id", "scp", "token_use", "authorization_details",
    "kubernetes.io",
})
# fmt: on
RESERVED_PREFIX = "auth.nauthera.io"
MAX_CLAIMS_BYTES = 4096
MAX_CLAIM_NAME_CHARACTERS = 256

AUTHORIZATION_CLAIMS = frozenset({"groups", "roles", "entitlements"})
"""Resource servers grant rights by these: only a ClusterAuthPolicy's mappings may write them."""


def is_reserved_claim(name: str) -> bool:
    """Whether only the issuer itself writes the claim."""
    return name in RESERVED_CLAIMS or name.startswith(RESERVED_PREFIX)


def _claim_name(name: str) -> str:
    if not 0 < len(name) <= MAX_CLAIM_NAME_CHARACTERS:
        raise PydanticCustomError("claim", "a claim name has 1 to 256 characters")
    if is_reserved_claim(name):
        raise PydanticCustomError("forbidden", "the claim {name} is reserved for the issuer", {"name": name})
    if name in AUTHORIZATION_CLAIMS:
        raise PydanticCustomError(
            "forbidden", "the claim {name} may come only from a ClusterAuthPolicy", {"name": name}
        )
    return name


def _claims_fit(claims: dict[str, str]) -> dict[str, str]:
    if sum(len(name.encode()) + len(value.encode()) for name, value in claims.items()) > MAX_CLAIMS_BYTES:
        raise PydanticCustomError("string_too_long", "all claims together are limited to 4 KiB")
    return claims


# Checked one by one, so that every bad entry is named by its place.
ClaimName = Annotated[str, AfterValidator(_claim_name)]
Claims = Annotated[dict[ClaimName, str], AfterValidator(_claims_fit)]
"""Static claims of an account."""
