"""The admin API is a resource server of the issuer's own tokens: first the token, then the *current* state behind it.

A token proves who spoke when it was issued. The account may have been disabled, deleted, narrowed or its credential cut
since; all of that is checked here, at every request (CVE-2026-1609, CVE-2025-64521).
"""

from collections.abc import Callable

from issuer.administration.authorize import Principal
from issuer.directory import Directory
from issuer.model.claims import RESERVED_PREFIX
from issuer.model.faults import Fault, Reason
from issuer.model.scopes import ADMIN_AUDIENCE, SYSTEM_NAMESPACE
from issuer.signing.verifier import TokenRejected, VerifiedClaims, verify_access_token
from issuer.snapshot import Known, Snapshot
from issuer.sources import Sources


class Guard:
    """Bearer token in, principal out."""

    def __init__(
        self, issuer: str, snapshot: Callable[[], Snapshot | None], directory: Directory, sources: Sources
    ) -> None:
        self._issuer = issuer
        self._snapshot = snapshot
        self._directory = directory
        self._sources = sources

    async def principal(self, authorization: str | None) -> Principal:
        """Who is asking. Raises Fault (401, 503)."""
        snapshot = self._snapshot()
        if snapshot is None:
            raise Fault(Reason.SERVICE_UNAVAILABLE, "not ready yet; try again")
        scheme, _, token = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            raise Fault(
                Reason.UNAUTHORIZED,
                f"send a bearer token: ask the token endpoint for one with resource={ADMIN_AUDIENCE}",
            )
        now = self._sources.now().timestamp()
        try:
            claims = verify_access_token(
                token.strip(), snapshot.published, issuer=self._issuer, audience=ADMIN_AUDIENCE, now=now
            )
        except TokenRejected as error:
            raise Fault(Reason.UNAUTHORIZED, f"the token is refused: {error}") from None
        account = await self._directory.account(str(claims.get("client_id")))
        known = account.under(snapshot.governance) if account is not None else None
        if known is None or not _stands(known, claims, snapshot, now):
            raise Fault(Reason.UNAUTHORIZED, "the token is refused: its account or its credential is no longer good")
        grant = known.governed.grant
        granted = frozenset(str(claims.get("scope", "")).split())
        return Principal(
            kind="account",
            name=f"{grant.namespace}/{grant.name}",
            uid=grant.uid,
            credential=str(claims[RESERVED_PREFIX]["credential"]),
            scopes=granted & frozenset(grant.scopes),
        )


def _stands(account: Known, claims: VerifiedClaims, snapshot: Snapshot, now: float) -> bool:
    """Whether what the token was issued on still holds: account, namespace, audience, a credential that was not cut.

    A secret retired by rotation does not shorten the tokens it got; one cut as compromised does.
    """
    grant = account.governed.grant
    credential = claims.get(RESERVED_PREFIX, {}).get("credential")
    cut = {f"secret/{secret.version}": secret.cut for secret in account.secrets}
    return (
        grant.namespace == SYSTEM_NAMESPACE
        and grant.namespace not in snapshot.terminating
        and not account.disabled
        and not account.terminating
        and ADMIN_AUDIENCE in grant.audiences
        and (grant.expires_at is None or now < grant.expires_at)
        and cut.get(credential) is False
    )
