"""The resource API: paths, verbs and bodies of the Kubernetes API conventions, for every row of the table of kinds."""

from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from issuer.administration.authorize import Principal
from issuer.administration.preconditions import Preconditions
from issuer.administration.reading import ResourceReader
from issuer.administration.resources import Resources
from issuer.model.faults import Fault, Reason
from issuer.model.kinds import KINDS, NAMESPACE, Kind
from issuer.model.resource import GROUP, VERSION, Resource
from issuer.web.body import answer, read_document, read_merge_patch
from issuer.web.guarded import GuardedRoutes, Handler, Target
from issuer.web.lists import ListApi
from issuer.web.parameters import driver, dry_run, dry_run_option

_COLLECTION_VERBS = {"GET": "list", "POST": "create"}


class ResourceApi:
    """A collection and an object path for every kind."""

    def __init__(self, routes: GuardedRoutes, reader: ResourceReader, resources: Resources, lists: ListApi) -> None:
        self._routes = routes
        self._reader = reader
        self._resources = resources
        self._lists = lists

    def routes(self) -> list[Route]:
        """The routes of every kind."""
        return [route for kind in KINDS for route in self._routes_of(kind)]

    def _routes_of(self, kind: Kind) -> list[Route]:
        root = "/api/v1" if kind is NAMESPACE else f"/apis/{GROUP}/{VERSION}"
        scoped = f"{root}/namespaces/{{namespace}}/{kind.plural}" if kind.namespaced else f"{root}/{kind.plural}"
        listing: dict[str, Handler] = {"GET": self._lists.list_or_watch}
        collection, objects = dict(listing), {"GET": self._get}
        if kind.writable:
            collection |= {"POST": self._create}
            objects |= {"PUT": self._replace, "PATCH": self._patch, "DELETE": self._delete}
        routes = [
            self._routes.route(kind, scoped, collection, verbs=_COLLECTION_VERBS),
            self._routes.route(kind, f"{scoped}/{{name}}", objects),
        ]
        if kind.namespaced:
            routes.append(self._routes.route(kind, f"{root}/{kind.plural}", listing, verbs=_COLLECTION_VERBS))
        return routes

    async def _create(self, request: Request, principal: Principal, target: Target) -> Response:
        document = await read_document(request)
        created = await self._resources.create(
            principal, target.kind, target.namespace, document, dry_run=dry_run(request)
        )
        return answer(request, created.to_json(), 201, _warnings(target.kind, created))

    async def _get(self, request: Request, principal: Principal, target: Target) -> Response:
        found = await self._reader.get(principal, target.kind, target.namespace, target.name)
        return answer(request, found.to_json())

    async def _replace(self, request: Request, principal: Principal, target: Target) -> Response:
        document = await read_document(request)
        replaced = await self._resources.replace(
            principal, target.kind, target.namespace, target.name, document, dry_run=dry_run(request)
        )
        return answer(request, replaced.to_json(), headers=_warnings(target.kind, replaced))

    async def _patch(self, request: Request, principal: Principal, target: Target) -> Response:
        patch = await read_merge_patch(request)
        patched = await self._resources.patch(
            principal, target.kind, target.namespace, target.name, patch, dry_run=dry_run(request)
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
            driver=driver(request),
            dry_run=dry_run(request) or dry_run_option(options),
        )
        if waiting is not None:
            return answer(request, waiting.to_json())
        details = {"kind": target.kind.plural, "name": target.name}
        return answer(
            request, {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}
        )


def _warnings(kind: Kind, written: Resource) -> Mapping[str, str]:
    """What the writer should know although it was accepted (RFC 7234 section 5.5, as Kubernetes uses it)."""
    said = [f'299 - "{text}"' for text in kind.warnings(written.spec)]
    return {"warning": ", ".join(said)} if said else {}


def _preconditions(options: Any) -> Preconditions:
    """Of a DeleteOptions body, if there is one."""
    if options is None:
        return Preconditions()
    if not isinstance(options, dict):
        # Whoever sends one wants something of this deletion, and must not get another.
        raise Fault(Reason.BAD_REQUEST, "the body of a DELETE is a DeleteOptions object, or nothing")
    asked = options.get("preconditions")
    if asked is None:
        return Preconditions()
    if not isinstance(asked, dict) or not all(isinstance(value, str) for value in asked.values()):
        raise Fault(Reason.BAD_REQUEST, "preconditions must hold uid and resourceVersion as strings")
    return Preconditions(asked.get("uid"), asked.get("resourceVersion"))
