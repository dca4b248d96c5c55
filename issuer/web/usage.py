"""GET of numbers: how an account was used, and how often strangers were refused."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from issuer.administration.authorize import Principal
from issuer.administration.usage import REFUSAL_COUNT, UsageReader
from issuer.model.kinds import SERVICE_ACCOUNT
from issuer.model.resource import API_VERSION
from issuer.web.body import answer
from issuer.web.guarded import GuardedRoutes, Target


class UsageApi:
    """`/usage` of an account, and the list of refusal counts."""

    def __init__(self, routes: GuardedRoutes, usage: UsageReader) -> None:
        self._routes = routes
        self._usage = usage

    def routes(self) -> list[Route]:
        """Both."""
        account = f"/apis/{API_VERSION}/namespaces/{{namespace}}/{SERVICE_ACCOUNT.plural}/{{name}}/usage"
        counts = f"/apis/{API_VERSION}/{REFUSAL_COUNT.plural}"
        return [
            self._routes.route(SERVICE_ACCOUNT, account, {"GET": self._of_account}, "usage"),
            self._routes.route(REFUSAL_COUNT, counts, {"GET": self._refusals}, verbs={"GET": "list"}),
        ]

    async def _of_account(self, request: Request, principal: Principal, target: Target) -> Response:
        query = request.query_params.multi_items()
        return answer(request, await self._usage.of_account(principal, target.namespace, target.name, query))

    async def _refusals(self, request: Request, principal: Principal, _: Target) -> Response:
        items = await self._usage.refusals(principal, request.query_params.multi_items())
        kind = f"{REFUSAL_COUNT.kind}List"
        return answer(request, {"apiVersion": API_VERSION, "kind": kind, "metadata": {}, "items": items})
