"""The public port: token endpoint and discovery, and nothing that administers."""

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from issuer.issuance import Issuance
from issuer.protocol.metadata import TOKEN_PATH, issuer_path
from issuer.web.discovery import discovery_routes
from issuer.web.token import token_endpoint


async def _not_found(_: Request, __: Exception) -> Response:
    return JSONResponse({"error": "not_found"}, status_code=404)


def public_app(issuance: Issuance, jwks_max_age_s: int) -> ASGIApp:
    """The ASGI app. The token path is matched first and by hand: it is the hot one."""
    token_path = issuer_path(issuance.issuer) + TOKEN_PATH
    routes = discovery_routes(issuance.issuer, jwks_max_age_s, issuance.snapshot)
    documents = Starlette(routes=routes, exception_handlers={404: _not_found})

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] == token_path:
            await token_endpoint(issuance, scope, receive, send)
        else:
            await documents(scope, receive, send)

    return app
