"""The admin port: the resource API behind the guard; health and metrics without names, and the reference, for whoever asks."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from issuer.model.faults import Fault, Reason
from issuer.store.database import DatabaseUnavailable
from issuer.web.guarded import DATABASE_AWAY, GuardedRoutes, fault_answer
from issuer.web.metrics import metrics_route
from issuer.web.referencepage import reference_route
from issuer.web.tracing import traced
from issuer.workers.readiness import Readiness

if TYPE_CHECKING:
    from issuer.observe.spans import Spans


def admin_app(
    routes: Sequence[Route], readiness: Readiness, guarded: GuardedRoutes, spans: "Spans | None" = None
) -> ASGIApp:
    """The ASGI app: health, metrics, and `routes`, which guard themselves."""

    async def livez(_: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def readyz(request: Request) -> Response:
        reason = readiness.why_not_ready
        lines = ["ok" if reason is None else f"not ready: {reason}"]
        if "verbose" in request.query_params:
            # Open it would tell a stranger how far each process is behind.
            try:
                await guarded.principal(request)
            except Fault as fault:
                return fault_answer(request, fault)
            except DatabaseUnavailable:
                return fault_answer(request, DATABASE_AWAY)
            lines = [*_verbose(readiness), *lines]
        headers = {} if reason is None else {"retry-after": "1"}
        return PlainTextResponse("\n".join(lines) + "\n", 200 if reason is None else 503, headers)

    async def not_found(_: Request, __: Exception) -> Response:
        fault = Fault(Reason.NOT_FOUND, "no such path; /apis and /openapi/v3 say what there is")
        return JSONResponse(fault.to_status(), status_code=404)

    async def not_allowed(_: Request, error: Exception) -> Response:
        headers = error.headers if isinstance(error, HTTPException) else None
        fault = Fault(Reason.METHOD_NOT_ALLOWED, "this method is not possible here")
        return JSONResponse(fault.to_status(), status_code=405, headers=headers)

    open_to_all = [Route("/livez", livez), Route("/readyz", readyz), metrics_route(readiness), reference_route()]
    templates: Mapping[object, str] = {route.endpoint: route.path for route in (*open_to_all, *routes)}
    app = Starlette(routes=[*open_to_all, *routes], exception_handlers={404: not_found, 405: not_allowed})
    app.router.redirect_slashes = False  # a redirect would be made of the Host header
    return traced(app, lambda scope: templates.get(scope.get("endpoint"), ""), spans)


def _verbose(readiness: Readiness) -> Iterator[str]:
    """A line for each process, as Kubernetes writes them."""
    for name, state in readiness.states().items():
        said = state.why_not_ready or state.degraded or "ok"
        clock = "" if state.clock_ahead_s is None else f", clock {state.clock_ahead_s:+.3f} s"
        yield f"[{'-' if state.why_not_ready else '+'}]{name} {said} (revision {state.revision}{clock})"
