"""The admin port: the resource API behind the guard, and health without names for whoever probes it."""

from collections.abc import Callable

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from issuer.model.faults import Fault, Reason
from issuer.web.resources import ResourceApi


def admin_app(api: ResourceApi, why_not_ready: Callable[[], str | None]) -> ASGIApp:
    """The ASGI app. `why_not_ready` answers None once tokens can be issued."""

    async def livez(_: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def readyz(_: Request) -> Response:
        reason = why_not_ready()
        if reason is None:
            return PlainTextResponse("ok\n")
        return PlainTextResponse(f"not ready: {reason}\n", status_code=503, headers={"retry-after": "1"})

    async def not_found(_: Request, __: Exception) -> Response:
        fault = Fault(Reason.NOT_FOUND, "no such path; resources are below /apis/auth.nauthera.io/v1alpha1")
        return JSONResponse(fault.to_status(), status_code=404)

    health = [Route("/livez", livez), Route("/readyz", readyz)]
    app = Starlette(routes=[*health, *api.routes()], exception_handlers={404: not_found})
    app.router.redirect_slashes = False  # a redirect would be made of the Host header
    return app
