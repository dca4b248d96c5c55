"""Which claims of a token nobody but the issuer may write (DESIGN section 3, "How they combine").

Origin of the rule: CVE-2026-16102 and rauthy #1597/#1604, where a mapping could overwrite `iss`, `sub` or a role.
"""

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
