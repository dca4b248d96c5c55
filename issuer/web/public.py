"""The public port: token endpoint and discovery, and nothing that administers."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from starlette.responses import JSONResponse
from starlette.routing import Router
from starlette.types import ASGIApp, Receive, Scope, Send

from issuer.issuance import Issuance
from issuer.protocol.metadata import TOKEN_PATH, issuer_path
from issuer.protocol.source import Network
from issuer.web.discovery import discovery_routes
from issuer.web.token import token_endpoint
from issuer.web.tracing import traced

if TYPE_CHECKING:
    from issuer.observe.spans import Spans

_NOT_FOUND = JSONResponse({"error": "not_found"}, status_code=404)


def public_app(
    issuance: Issuance, jwks_max_age_s: int, trusted_proxies: Sequence[Network] = (), spans: "Spans | None" = None
) -> ASGIApp:
    """The ASGI app. The token path is matched first and by hand: it is the hot one."""
    token_path = issuer_path(issuance.issuer) + TOKEN_PATH
    routes = discovery_routes(issuance.issuer, jwks_max_age_s, issuance.snapshot)
    # A path is itself or nothing: a redirect to the path without its slash would be made of the Host header.
    documents = Router(routes, redirect_slashes=False, default=_NOT_FOUND)
    paths = {token_path, *(route.path for route in routes)}

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] == token_path:
            await token_endpoint(issuance, trusted_proxies, scope, receive, send)
        else:
            await documents(scope, receive, send)

    return traced(app, lambda scope: scope["path"] if scope["path"] in paths else "", spans)
