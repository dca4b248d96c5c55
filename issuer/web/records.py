"""GET of records, of one namespace or of all: what administrators did, and what was decided about tokens."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from issuer.administration.authorize import Principal
from issuer.administration.decisions import DECISION_RECORD, DecisionRecords, Place
from issuer.administration.records import AUDIT_RECORD, AuditRecords
from issuer.model.kinds import Kind
from issuer.model.resource import API_VERSION
from issuer.web.body import answer
from issuer.web.cursor import Cursor, Cursors
from issuer.web.guarded import GuardedRoutes, Handler, Target

_VERBS = {"GET": "list"}


class RecordsApi:
    """The lists of audit records and of decision records."""

    def __init__(
        self, routes: GuardedRoutes, records: AuditRecords, decisions: DecisionRecords, cursors: Cursors
    ) -> None:
        self._routes = routes
        self._records = records
        self._decisions = decisions
        self._cursors = cursors

    def routes(self) -> list[Route]:
        """Of all namespaces, and of one."""
        return [
            *self._both(AUDIT_RECORD, self._list_records),
            *self._both(DECISION_RECORD, self._list_decisions),
        ]

    def _both(self, kind: Kind, handler: Handler) -> Iterator[Route]:
        for within in ("", "/namespaces/{namespace}"):
            path = f"/apis/{API_VERSION}{within}/{kind.plural}"
            yield self._routes.route(kind, path, {"GET": handler}, verbs=_VERBS)

    async def _list_records(self, request: Request, principal: Principal, target: Target) -> Response:
        items = await self._records.list(principal, target.namespace, request.query_params.multi_items())
        return answer(request, _list_of(AUDIT_RECORD, {}, items))

    async def _list_decisions(self, request: Request, principal: Principal, target: Target) -> Response:
        asked = [(name, value) for name, value in request.query_params.multi_items() if name != "continue"]
        # Pages may differ in size, and in nothing else.
        wanted = urlencode(sorted(pair for pair in asked if pair[0] != "limit"))
        continued = request.query_params.get("continue")
        place = None
        if continued:
            cursor = self._cursors.read(continued, DECISION_RECORD.plural, target.namespace, wanted)
            place = Place(*(UUID(each) for each in cursor.after))
        page = await self._decisions.list(principal, target.namespace, asked, place)
        metadata = {}
        if page.rest is not None:
            after = page.rest.before.hex, page.rest.least.hex
            cursor = Cursor(DECISION_RECORD.plural, target.namespace, wanted, 0, after)
            metadata["continue"] = self._cursors.write(cursor)
        return answer(request, _list_of(DECISION_RECORD, metadata, page.items))


def _list_of(kind: Kind, metadata: dict[str, str], items: list[dict[str, Any]]) -> dict[str, Any]:
    return {"apiVersion": kind.api_version, "kind": f"{kind.kind}List", "metadata": metadata, "items": items}
