"""The sub-resources of a ServiceAccount: status, credentials, config, and the explanation of a decision."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from issuer.administration.authorize import Principal
from issuer.administration.explanation import Explanations
from issuer.administration.reading import ResourceReader
from issuer.administration.resources import Resources
from issuer.administration.secrets import SecretKeeper
from issuer.model.faults import Fault, Reason
from issuer.model.kinds import SERVICE_ACCOUNT
from issuer.model.resource import GROUP, VERSION, Resource
from issuer.protocol.metadata import JWKS_PATH, TOKEN_PATH
from issuer.web.body import answer, read_document, read_merge_patch
from issuer.web.guarded import GuardedRoutes, Handler, Target
from issuer.web.parameters import driver, dry_run

_ACCOUNT = f"/apis/{GROUP}/{VERSION}/namespaces/{{namespace}}/{SERVICE_ACCOUNT.plural}/{{name}}"


class AccountStatusApi:
    """`/status`, written by drivers, and what a workload needs beside its secret."""

    def __init__(self, issuer: str, routes: GuardedRoutes, reader: ResourceReader, resources: Resources) -> None:
        self._issuer = issuer
        self._routes = routes
        self._reader = reader
        self._resources = resources

    def routes(self) -> list[Route]:
        """`/status` and `/config`."""
        status: dict[str, Handler] = {"GET": self._get, "PUT": self._write_status, "PATCH": self._write_status}
        return [
            self._routes.route(SERVICE_ACCOUNT, f"{_ACCOUNT}/status", status, "status"),
            self._routes.route(SERVICE_ACCOUNT, f"{_ACCOUNT}/config", {"GET": self._config}, "config"),
        ]

    async def _get(self, request: Request, principal: Principal, target: Target) -> Response:
        found = await self._reader.get(principal, target.kind, target.namespace, target.name)
        return answer(request, found.to_json())

    async def _write_status(self, request: Request, principal: Principal, target: Target) -> Response:
        document = await (read_merge_patch(request) if request.method == "PATCH" else read_document(request))
        written = await self._resources.write_status(
            principal, target.namespace, target.name, document, dry_run=dry_run(request)
        )
        return answer(request, written.to_json())

    async def _config(self, request: Request, principal: Principal, target: Target) -> Response:
        """The seed's ConfigMap data: everything a workload needs beside its secret."""
        account: Resource = await self._reader.get(principal, target.kind, target.namespace, target.name)
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


class CredentialsApi:
    """`/credentials` and `/explain`: how an account proves itself, and what that gets it."""

    def __init__(self, routes: GuardedRoutes, keeper: SecretKeeper, explanations: Explanations) -> None:
        self._routes = routes
        self._keeper = keeper
        self._explanations = explanations

    def routes(self) -> list[Route]:
        """Every path below `/credentials`, and `/explain`."""
        credentials = f"{_ACCOUNT}/credentials"
        paths: dict[str, dict[str, Handler]] = {
            credentials: {"POST": self._hand_out},
            f"{credentials}/current": {"GET": self._current},
            f"{credentials}/{{version}}/acknowledge": {"POST": self._acknowledge},
        }
        return [
            self._routes.route(
                SERVICE_ACCOUNT, f"{_ACCOUNT}/explain", {"POST": self._explain}, "explain", {"POST": "get"}
            ),
            *(self._routes.route(SERVICE_ACCOUNT, path, handlers, "credentials") for path, handlers in paths.items()),
        ]

    async def _explain(self, request: Request, principal: Principal, target: Target) -> Response:
        body = await read_document(request)
        return answer(request, await self._explanations.explain(principal, target.namespace, target.name, body))

    async def _hand_out(self, request: Request, principal: Principal, target: Target) -> Response:
        _refuse_dry_run(request)
        body = await read_document(request)
        handed_out = await self._keeper.hand_out(principal, target.namespace, target.name, body, driver(request))
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


def _refuse_dry_run(request: Request) -> None:
    if dry_run(request):
        raise Fault(Reason.BAD_REQUEST, "there is no dry run of a secret: it is handed out, or it is not")


def _version(text: str) -> int:
    """Of a path. Not Starlette's `int`: that fails outside of every handler when there are too many digits."""
    if not text.isascii() or not text.isdecimal() or len(text) > 9:  # noqa: PLR2004
        raise Fault(Reason.NOT_FOUND, "there is no such version")
    return int(text)
