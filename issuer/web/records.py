"""GET of audit records, of one namespace or of all."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from issuer.administration.authorize import Principal
from issuer.administration.records import AUDIT_RECORD, AuditRecords
from issuer.model.resource import API_VERSION
from issuer.web.body import answer
from issuer.web.guarded import GuardedRoutes, Handler, Target

_VERBS = {"GET": "list"}


class RecordsApi:
    """The lists of audit records."""

    def __init__(self, routes: GuardedRoutes, records: AuditRecords) -> None:
        self._routes = routes
        self._records = records

    def routes(self) -> list[Route]:
        """Of all namespaces, and of one."""
        handlers: dict[str, Handler] = {"GET": self._list}
        return [
            self._routes.route(
                AUDIT_RECORD, f"/apis/{API_VERSION}{within}/{AUDIT_RECORD.plural}", handlers, verbs=_VERBS
            )
            for within in ("", "/namespaces/{namespace}")
        ]

    async def _list(self, request: Request, principal: Principal, target: Target) -> Response:
        items = await self._records.list(principal, target.namespace, request.query_params.multi_items())
        return answer(
            request,
            {
                "apiVersion": AUDIT_RECORD.api_version,
                "kind": f"{AUDIT_RECORD.kind}List",
                "metadata": {},
                "items": items,
            },
        )
