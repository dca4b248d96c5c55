"""The sub-resources of a KeySet: a rotation now, and a key that nobody must trust any more."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from issuer.administration.authorize import Principal
from issuer.administration.keys import KeyKeeper
from issuer.administration.keysteps import KeySteps
from issuer.model.faults import Fault, Reason
from issuer.model.kinds import KEY_SET
from issuer.model.resource import GROUP, VERSION
from issuer.web.body import answer, read_document
from issuer.web.guarded import GuardedRoutes, Target
from issuer.web.parameters import dry_run, switch

_KEYSET = f"/apis/{GROUP}/{VERSION}/{KEY_SET.plural}/{{name}}"


class KeysApi:
    """`/rotate` and `/compromise`."""

    def __init__(self, routes: GuardedRoutes, keeper: KeyKeeper, steps: KeySteps) -> None:
        self._routes = routes
        self._keeper = keeper
        self._steps = steps

    def routes(self) -> list[Route]:
        """Both paths."""
        return [
            self._routes.route(KEY_SET, f"{_KEYSET}/rotate", {"POST": self._rotate}, "rotate"),
            self._routes.route(KEY_SET, f"{_KEYSET}/compromise", {"POST": self._compromise}, "compromise"),
        ]

    async def _rotate(self, request: Request, principal: Principal, target: Target) -> Response:
        if await read_document(request) not in (None, {}):
            raise Fault(Reason.BAD_REQUEST, "a rotation takes no body; ?emergency=true is all that can be said")
        emergency = switch(request.query_params.get("emergency"), "emergency")
        keyset = await self._keeper.rotate(principal, target.name, emergency=emergency, dry_run=dry_run(request))
        return answer(request, keyset.to_json())

    async def _compromise(self, request: Request, principal: Principal, target: Target) -> Response:
        body, dry = await read_document(request), dry_run(request)
        told = await self._keeper.compromise(principal, target.name, body, dry_run=dry)
        if told.signing is None and not dry:
            # Nothing signs: not even the second until the next look is waited for.
            await self._steps.bring_forward(target.name)
        return answer(request, told.to_json())
