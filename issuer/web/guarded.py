"""Every path of the admin API goes through here: who asks, whether they may, and every failure as a `Status`."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from issuer.administration.authorize import SECRET_SUBRESOURCES, Principal, authorize
from issuer.administration.guard import Guard
from issuer.events import AdminRequestRefused, Emit, RequestFailed, place_of
from issuer.model.faults import Fault, Reason, not_found
from issuer.model.kinds import NAMESPACE, Kind
from issuer.model.resource import GROUP
from issuer.store.database import DatabaseUnavailable
from issuer.web.body import answer

_RETRY = {"retry-after": "1"}
DATABASE_AWAY = Fault(Reason.SERVICE_UNAVAILABLE, "the database does not answer; try again")
_VERBS: Mapping[str, str] = {
    "GET": "get",
    "POST": "create",
    "PUT": "update",
    "PATCH": "patch",
    "DELETE": "delete",
}


@dataclass(frozen=True, slots=True)
class Target:
    """What a path addresses. `namespace` is empty for cluster-scoped kinds and for all namespaces."""

    kind: Kind
    namespace: str
    name: str
    subresource: str = ""


Handler = Callable[[Request, Principal, Target], Awaitable[Response]]


class GuardedRoutes:
    """Makes routes that only reach their handler for whom the guard knows and `authorize` lets."""

    def __init__(self, guard: Guard, emit: Emit) -> None:
        self._guard = guard
        self._emit = emit

    async def principal(self, request: Request) -> Principal:
        """Who is asking, as of now. Raises Fault (401, 503)."""
        return await self._guard.principal(request.headers.get("authorization"))

    def route(
        self,
        kind: Kind,
        path: str,
        handlers: Mapping[str, Handler],
        subresource: str = "",
        verbs: Mapping[str, str] = _VERBS,
    ) -> Route:
        """One path: who is asking, what is asked, and every failure as a `Status`.

        Nothing of a body is read before its sender is known to be allowed to send it.
        """
        # HEAD is GET without an answer: not for a secret, which would be handed out to nobody.
        heads = "GET" in handlers and subresource not in SECRET_SUBRESOURCES

        async def endpoint(request: Request) -> Response:
            params = request.path_params
            target = Target(kind, params.get("namespace", ""), params.get("name", ""), subresource)
            principal = "anonymous"
            try:
                caller = await self.principal(request)
                principal = caller.name
                method = "GET" if request.method == "HEAD" and heads else request.method
                handler = handlers.get(method)
                _check_names(target)
                if handler is not None:
                    authorize(caller, verbs[method], GROUP, kind.plural, target.namespace, target.name, subresource)
                if handler is None:
                    raise Fault(
                        Reason.METHOD_NOT_ALLOWED, f"{request.method} is not possible here; try {', '.join(handlers)}"
                    )
                return await handler(request, caller, target)
            except Fault as fault:
                if fault.reason in {Reason.UNAUTHORIZED, Reason.FORBIDDEN}:
                    # A stranger's path may hold anything, a secret pasted there included: only possible names are repeated.
                    named = target if _has_possible_names(target) else Target(kind, "", "")
                    verb = request.method.lower()
                    self._emit(
                        AdminRequestRefused(principal, verb, kind.kind, named.namespace, named.name, fault.message)
                    )
                return fault_answer(request, fault, handlers)
            except ClientDisconnect:
                return Response(status_code=400)  # nobody reads it
            except DatabaseUnavailable:
                return fault_answer(request, DATABASE_AWAY, handlers)
            except Exception as error:  # noqa: BLE001 - one request fails; the text of the error stays here
                self._emit(RequestFailed(path, type(error).__name__, place_of(error)))
                return fault_answer(
                    request, Fault(Reason.INTERNAL_ERROR, "an error of ours; it is in the log"), handlers
                )

        # All of them, so that a method that is not possible here is refused by `endpoint`, which knows those that are.
        return Route(path, endpoint, methods=["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"])


def fault_answer(request: Request, fault: Fault, handlers: Mapping[str, Handler] = MappingProxyType({})) -> Response:
    """The `Status` of a fault, with the headers its HTTP status wants."""
    headers: Mapping[str, str] = {}
    if fault.reason is Reason.UNAUTHORIZED:
        # RFC 6750 section 3.1: no error code for a request that brought no token.
        wrong = ', error="invalid_token"' if "authorization" in request.headers else ""
        headers = {"www-authenticate": f'Bearer realm="issuer"{wrong}'}
    elif fault.reason in {Reason.SERVICE_UNAVAILABLE, Reason.TOO_MANY_REQUESTS}:
        headers = _RETRY
    elif fault.reason is Reason.METHOD_NOT_ALLOWED:
        headers = {"allow": ", ".join(handlers)}
    return answer(request, fault.to_status(), fault.reason.code, headers)


def _has_possible_names(target: Target) -> bool:
    return NAMESPACE.accepts_name(target.namespace or "x") and target.kind.accepts_name(target.name or "x")


def _check_names(target: Target) -> None:
    """Nothing can be found under a name nothing can have; it does not reach the database (NUL, any length)."""
    if target.namespace and not NAMESPACE.accepts_name(target.namespace):
        raise not_found(NAMESPACE.kind, target.namespace)
    if target.name and not target.kind.accepts_name(target.name):
        raise not_found(target.kind.kind, target.name)
