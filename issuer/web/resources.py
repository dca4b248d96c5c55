"""The resource API: paths, verbs and bodies of the Kubernetes API conventions, for every row of the table of kinds."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from issuer.administration.authorize import SECRET_SUBRESOURCES, Principal, authorize
from issuer.administration.explanation import Explanations
from issuer.administration.guard import Guard
from issuer.administration.preconditions import Driver, Preconditions
from issuer.administration.resources import LIST_LIMIT, Resources
from issuer.administration.secrets import SecretKeeper
from issuer.events import AdminRequestRefused, Emit, RequestFailed, place_of
from issuer.model.faults import Fault, Reason, not_found
from issuer.model.kinds import KINDS, NAMESPACE, SERVICE_ACCOUNT, Kind
from issuer.model.resource import GROUP, VERSION, Resource
from issuer.protocol.metadata import JWKS_PATH, TOKEN_PATH
from issuer.store.database import DatabaseUnavailable
from issuer.web.body import answer, read_document, read_merge_patch
from issuer.web.cursor import Cursor, Cursors

_GROUP_ROOT = f"/apis/{GROUP}/{VERSION}"
_RETRY = {"retry-after": "1"}
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


class ResourceApi:
    """Handlers of the resource paths, and their routes."""

    def __init__(
        self,
        issuer: str,
        guard: Guard,
        resources: Resources,
        keeper: SecretKeeper,
        explanations: Explanations,
        cursors: Cursors,
        emit: Emit,
    ) -> None:
        self._issuer = issuer
        self._guard = guard
        self._resources = resources
        self._keeper = keeper
        self._explanations = explanations
        self._cursors = cursors
        self._emit = emit

    def routes(self) -> list[Route]:
        """A collection and an object path for every kind; sub-resources for accounts."""
        routes = []
        for kind in KINDS:
            root = "/api/v1" if kind is NAMESPACE else _GROUP_ROOT
            scoped = f"{root}/namespaces/{{namespace}}/{kind.plural}" if kind.namespaced else f"{root}/{kind.plural}"
            collection: dict[str, Handler] = {"GET": self._list}
            objects: dict[str, Handler] = {"GET": self._get}
            if kind.writable:
                collection |= {"POST": self._create}
                objects |= {"PUT": self._replace, "PATCH": self._patch, "DELETE": self._delete}
            routes += [self._route(kind, scoped, collection), self._route(kind, f"{scoped}/{{name}}", objects)]
            if kind.namespaced:
                routes.append(self._route(kind, f"{root}/{kind.plural}", {"GET": self._list}))
        account = f"{_GROUP_ROOT}/namespaces/{{namespace}}/{SERVICE_ACCOUNT.plural}/{{name}}"
        status = {"GET": self._get, "PUT": self._write_status, "PATCH": self._write_status}
        routes += [
            self._route(SERVICE_ACCOUNT, f"{account}/status", status, "status"),
            self._route(SERVICE_ACCOUNT, f"{account}/config", {"GET": self._config}, "config"),
            self._route(SERVICE_ACCOUNT, f"{account}/explain", {"POST": self._explain}, "explain", {"POST": "get"}),
            self._route(SERVICE_ACCOUNT, f"{account}/credentials", {"POST": self._hand_out}, "credentials"),
            self._route(SERVICE_ACCOUNT, f"{account}/credentials/current", {"GET": self._current}, "credentials"),
            self._route(
                SERVICE_ACCOUNT,
                f"{account}/credentials/{{version}}/acknowledge",
                {"POST": self._acknowledge},
                "credentials",
            ),
        ]
        return routes

    def _route(
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
                caller = await self._guard.principal(request.headers.get("authorization"))
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
                return _fault_answer(request, fault, handlers)
            except ClientDisconnect:
                return Response(status_code=400)  # nobody reads it
            except DatabaseUnavailable:
                return _fault_answer(
                    request, Fault(Reason.SERVICE_UNAVAILABLE, "the database does not answer; try again"), handlers
                )
            except Exception as error:  # noqa: BLE001 - one request fails; the text of the error stays here
                self._emit(RequestFailed(path, type(error).__name__, place_of(error)))
                return _fault_answer(
                    request, Fault(Reason.INTERNAL_ERROR, "an error of ours; it is in the log"), handlers
                )

        return Route(path, endpoint, methods=["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"])

    async def _create(self, request: Request, principal: Principal, target: Target) -> Response:
        document = await read_document(request)
        created = await self._resources.create(
            principal, target.kind, target.namespace, document, dry_run=_dry_run(request)
        )
        return answer(request, created.to_json(), 201, _warnings(target.kind, created))

    async def _get(self, request: Request, principal: Principal, target: Target) -> Response:
        found = await self._resources.get(principal, target.kind, target.namespace, target.name)
        return answer(request, found.to_json())

    async def _list(self, request: Request, principal: Principal, target: Target) -> Response:
        query = request.query_params
        for unbuilt in ("labelSelector", "fieldSelector", "watch"):
            if query.get(unbuilt) not in {None, "", "false"}:
                raise Fault(Reason.BAD_REQUEST, f"{unbuilt} is not built yet")
        namespace = target.namespace if target.kind.namespaced and target.namespace else None
        continued = query.get("continue")
        cursor = self._cursors.read(continued, target.kind.plural, namespace) if continued else None
        page = await self._resources.list(
            principal,
            target.kind,
            namespace,
            limit=_whole_number(query.get("limit"), "limit") or LIST_LIMIT,
            after=cursor.after if cursor else None,
        )
        revision = cursor.revision if cursor else page.revision
        metadata = {"resourceVersion": str(revision)}
        if page.after is not None:
            metadata["continue"] = self._cursors.write(Cursor(target.kind.plural, namespace, revision, page.after))
        kind = target.kind
        items = [item.to_json() for item in page.items]
        return answer(
            request,
            {"apiVersion": kind.api_version, "kind": f"{kind.kind}List", "metadata": metadata, "items": items},
        )

    async def _replace(self, request: Request, principal: Principal, target: Target) -> Response:
        document = await read_document(request)
        replaced = await self._resources.replace(
            principal, target.kind, target.namespace, target.name, document, dry_run=_dry_run(request)
        )
        return answer(request, replaced.to_json(), headers=_warnings(target.kind, replaced))

    async def _patch(self, request: Request, principal: Principal, target: Target) -> Response:
        patch = await read_merge_patch(request)
        patched = await self._resources.patch(
            principal, target.kind, target.namespace, target.name, patch, dry_run=_dry_run(request)
        )
        return answer(request, patched.to_json(), headers=_warnings(target.kind, patched))

    async def _delete(self, request: Request, principal: Principal, target: Target) -> Response:
        options = await read_document(request)
        waiting = await self._resources.delete(
            principal,
            target.kind,
            target.namespace,
            target.name,
            preconditions=_preconditions(options),
            driver=_driver(request),
            dry_run=_dry_run(request) or _dry_run_option(options),
        )
        if waiting is not None:
            return answer(request, waiting.to_json())
        details = {"kind": target.kind.plural, "name": target.name}
        return answer(
            request, {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}
        )

    async def _write_status(self, request: Request, principal: Principal, target: Target) -> Response:
        document = await (read_merge_patch(request) if request.method == "PATCH" else read_document(request))
        written = await self._resources.write_status(
            principal, target.namespace, target.name, document, dry_run=_dry_run(request)
        )
        return answer(request, written.to_json())

    async def _config(self, request: Request, principal: Principal, target: Target) -> Response:
        """The seed's ConfigMap data: everything a workload needs beside its secret."""
        account: Resource = await self._resources.get(principal, target.kind, target.namespace, target.name)
        return answer(
            request,
            {
                "issuer_url": self._issuer,
                "token_endpoint": self._issuer + TOKEN_PATH,
                "jwks_uri": self._issuer + JWKS_PATH,
                "client_id": account.client_id,
                "scopes": " ".join(account.spec["scopes"]),
            },
        )

    async def _explain(self, request: Request, principal: Principal, target: Target) -> Response:
        body = await read_document(request)
        return answer(request, await self._explanations.explain(principal, target.namespace, target.name, body))

    async def _hand_out(self, request: Request, principal: Principal, target: Target) -> Response:
        _refuse_dry_run(request)
        body = await read_document(request)
        handed_out = await self._keeper.hand_out(principal, target.namespace, target.name, body, _driver(request))
        return answer(request, handed_out.to_json(), 201)

    async def _current(self, request: Request, principal: Principal, target: Target) -> Response:
        _refuse_dry_run(request)
        current = await self._keeper.current(principal, target.namespace, target.name)
        return answer(request, current.to_json())

    async def _acknowledge(self, request: Request, principal: Principal, target: Target) -> Response:
        _refuse_dry_run(request)
        version = _version(request.path_params["version"])
        account = await self._keeper.acknowledge(principal, target.namespace, target.name, version)
        return answer(request, account.to_json())


def _fault_answer(request: Request, fault: Fault, handlers: Mapping[str, Handler]) -> Response:
    headers: Mapping[str, str] = {}
    if fault.reason is Reason.UNAUTHORIZED:
        # RFC 6750 section 3.1: no error code for a request that brought no token.
        wrong = ', error="invalid_token"' if "authorization" in request.headers else ""
        headers = {"www-authenticate": f'Bearer realm="issuer"{wrong}'}
    elif fault.reason is Reason.SERVICE_UNAVAILABLE:
        headers = _RETRY
    elif fault.reason is Reason.METHOD_NOT_ALLOWED:
        headers = {"allow": ", ".join(handlers)}
    return answer(request, fault.to_status(), fault.reason.code, headers)


def _has_possible_names(target: Target) -> bool:
    return NAMESPACE.accepts_name(target.namespace or "x") and target.kind.accepts_name(target.name or "x")


def _warnings(kind: Kind, written: Resource) -> Mapping[str, str]:
    """What the writer should know although it was accepted (RFC 7234 section 5.5, as Kubernetes uses it)."""
    said = [f'299 - "{text}"' for text in kind.warnings(written.spec)]
    return {"warning": ", ".join(said)} if said else {}


def _check_names(target: Target) -> None:
    """Nothing can be found under a name nothing can have; it does not reach the database (NUL, any length)."""
    if target.namespace and not NAMESPACE.accepts_name(target.namespace):
        raise not_found(NAMESPACE.kind, target.namespace)
    if target.name and not target.kind.accepts_name(target.name):
        raise not_found(target.kind.kind, target.name)


def _refuse_dry_run(request: Request) -> None:
    if _dry_run(request):
        raise Fault(Reason.BAD_REQUEST, "there is no dry run of a secret: it is handed out, or it is not")


def _dry_run(request: Request) -> bool:
    value = request.query_params.get("dryRun")
    if value not in {None, "", "All"}:
        raise Fault(Reason.BAD_REQUEST, "dryRun must be All")
    return value == "All"


def _dry_run_option(options: Any) -> bool:
    """`dryRun` in a DeleteOptions body: client-go sends it there, and what it asked to be spared must not be deleted."""
    value = options.get("dryRun") if isinstance(options, dict) else None
    if value not in (None, [], ["All"]):
        raise Fault(Reason.BAD_REQUEST, 'dryRun must be ["All"]')
    return value == ["All"]


def _version(text: str) -> int:
    """Of a path. Not Starlette's `int`: that fails outside of every handler when there are too many digits."""
    if not text.isascii() or not text.isdecimal() or len(text) > 9:  # noqa: PLR2004
        raise Fault(Reason.NOT_FOUND, "there is no such version")
    return int(text)


def _driver(request: Request) -> Driver:
    query = request.query_params
    return Driver(managed_by=query.get("managedBy"), force=query.get("force") == "true")


def _preconditions(options: Any) -> Preconditions:
    """Of a DeleteOptions body, if there is one."""
    asked = options.get("preconditions") if isinstance(options, dict) else None
    if asked is None:
        return Preconditions()
    if not isinstance(asked, dict) or not all(isinstance(value, str) for value in asked.values()):
        raise Fault(Reason.BAD_REQUEST, "preconditions must hold uid and resourceVersion as strings")
    return Preconditions(asked.get("uid"), asked.get("resourceVersion"))


def _whole_number(text: str | None, name: str) -> int | None:
    if not text:
        return None
    if not text.isascii() or not text.isdecimal() or len(text) > 9:  # noqa: PLR2004
        raise Fault(Reason.BAD_REQUEST, f"{name} must be a whole number")
    return int(text)
