"""What verifiers fetch: the JWKS and both discovery documents. Cacheable, conditional, readable from any web page."""

from collections.abc import Callable, Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from issuer.protocol.metadata import (
    JWKS_PATH,
    authorization_server_metadata,
    issuer_path,
    oauth_metadata_path,
    openid_metadata,
    openid_metadata_path,
)
from issuer.snapshot import Snapshot
from issuer.web.documents import Document, conditional, document_of

_METHODS = ["GET", "HEAD", "OPTIONS"]
# RFC 7517 section 8.1 and RFC 7518 section 6: what a public key of each type consists of. Anything else never leaves.
_PUBLIC_MEMBERS: Mapping[str, frozenset[str]] = {
    "EC": frozenset({"crv", "x", "y"}),
    "OKP": frozenset({"crv", "x"}),
    "RSA": frozenset({"n", "e"}),
}
_COMMON_MEMBERS = frozenset({"kty", "kid", "use", "alg"})


def public_jwks(published: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The JWK Set: public members only, by allow-list, for every key type (CVE-2026-40965)."""
    return {
        "keys": [
            {name: value for name, value in jwk.items() if name in _COMMON_MEMBERS | _PUBLIC_MEMBERS[jwk["kty"]]}
            for jwk in published.values()
        ]
    }


def discovery_routes(issuer: str, max_age_s: int, snapshot: Callable[[], Snapshot | None]) -> list[Route]:
    """The routes of the public documents, each at its own place for an issuer with a path."""
    oauth = document_of(authorization_server_metadata(issuer))
    openid = document_of(openid_metadata(issuer, ["RS256"]))
    made: tuple[Snapshot | None, Document | None] = (None, None)

    def jwks() -> Document | None:
        nonlocal made
        current = snapshot()
        if current is None:
            return None
        if made[0] is not current:
            made = (current, document_of(public_jwks(current.published), "application/jwk-set+json"))
        return made[1]

    def route(path: str, document: Callable[[], Document | None]) -> Route:
        async def endpoint(request: Request) -> Response:
            return _answer(request, document(), max_age_s)

        return Route(path, endpoint, methods=_METHODS)

    return [
        route(issuer_path(issuer) + JWKS_PATH, jwks),
        route(oauth_metadata_path(issuer), lambda: oauth),
        route(openid_metadata_path(issuer), lambda: openid),
    ]


def _answer(request: Request, document: Document | None, max_age_s: int) -> Response:
    cors = {"access-control-allow-origin": "*"}
    if request.method == "OPTIONS":
        allowed = {"access-control-allow-methods": ", ".join(_METHODS), "access-control-allow-headers": "*"}
        return Response(status_code=204, headers={**cors, **allowed, "access-control-max-age": "86400"})
    if document is None:
        return Response(status_code=503, headers={**cors, "retry-after": "1", "cache-control": "no-store"})
    return conditional(request, document, {**cors, "cache-control": f"public, max-age={max_age_s}"})
