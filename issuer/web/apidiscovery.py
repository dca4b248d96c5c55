"""The API about itself: OpenAPI, the discovery documents of Kubernetes, the version.

Behind the guard like everything else here, for whoever may read: who has no token has no use for them, and what an issuer
can do is nobody's business who cannot reach it. All are made once, when they are first asked for.
"""

from collections.abc import Callable, Mapping
from functools import cache, partial
from importlib.metadata import version
from typing import Any

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from issuer.administration.authorize import Principal
from issuer.model.kinds import Kind
from issuer.model.resource import API_VERSION, GROUP
from issuer.reference.discovery import core_versions, group, groups, resources, version_info
from issuer.web.documents import Document, conditional, document_of
from issuer.web.guarded import GuardedRoutes, Target
from issuer.web.openapi import openapi_document

# What `authorize` and the log call these documents; no kind of the table.
_DOCUMENTS = Kind("APIDocument", "apidocuments", None, writable=False)


class ApiDocuments:
    """GET of every document about the API."""

    def __init__(self, issuer: str, routes: GuardedRoutes) -> None:
        self._issuer = issuer
        self._routes = routes

    def routes(self) -> list[Route]:
        """The routes of all of them."""
        said = version("issuer")
        made: Mapping[str, Callable[[], Mapping[str, Any] | BaseModel]] = {
            "/openapi/v3": partial(openapi_document, self._issuer, said),
            "/version": partial(version_info, said),
            "/api": core_versions,
            "/api/v1": partial(resources, "v1"),
            "/apis": groups,
            f"/apis/{GROUP}": group,
            f"/apis/{API_VERSION}": partial(resources, API_VERSION),
        }
        return [self._route(path, make) for path, make in made.items()]

    def _route(self, path: str, make: Callable[[], Mapping[str, Any] | BaseModel]) -> Route:
        @cache
        def document() -> Document:
            value = make()
            return document_of(
                value.model_dump(by_alias=True, exclude_none=True) if isinstance(value, BaseModel) else value
            )

        async def answer(request: Request, _: Principal, __: Target) -> Response:
            # Whoever asks again is asked for the token again: `no-cache`, and nothing in between may keep it.
            return conditional(request, document(), {"cache-control": "private, no-cache"})

        return self._routes.route(_DOCUMENTS, path, {"GET": answer})
