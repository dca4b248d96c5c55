"""A small issuer behind httpx's transport: enough of both ports to see what the command line asks, in which order."""

import json
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

import httpx
from joserfc import jwt
from joserfc.jwk import ECKey
from typer.testing import Result

from issuer.model.kinds import KINDS
from issuer.model.mergepatch import merge_patch

ADMIN = "http://127.0.0.1:8081"
PUBLIC = "http://127.0.0.1:8080"
SECRET = "isk1_adminsecretCANARY"
DEMO_SECRET = "isk1_demosecretCANARY"
NEW_SECRET = "isk1_newsecretCANARY"
ENVIRONMENT = {
    "ISSUER_URL": PUBLIC,
    "ISSUER_ADMIN_URL": ADMIN,
    "ISSUER_ADMIN_CLIENT_ID": "sa-admin",
    "ISSUER_ADMIN_CLIENT_SECRET": SECRET,
    "ISSUER_CLIENT_ID": "sa-demo",
    "ISSUER_CLIENT_SECRET": DEMO_SECRET,
}


Run = Callable[..., Result]
Answer = Callable[[httpx.Request], httpx.Response]


def failure(code: int, reason: str, message: str, *causes: tuple[str, str], kind: str = "") -> httpx.Response:
    listed = [{"field": where, "reason": "FieldValueInvalid", "message": what} for where, what in causes]
    details = {"kind": kind, "causes": listed}
    body = {
        "kind": "Status",
        "apiVersion": "v1",
        "message": message,
        "reason": reason,
        "details": details,
        "code": code,
    }
    return httpx.Response(code, json=body)


@dataclass
class FakeIssuer:
    """Objects by path. `overrides` answer first, by method and end of the path; every WATCH takes the next of `streams`."""

    objects: dict[str, dict[str, Any]] = field(default_factory=dict)
    overrides: dict[tuple[str, str], Answer] = field(default_factory=dict)
    streams: list[Iterable[bytes]] = field(default_factory=list)
    requests: list[httpx.Request] = field(default_factory=list)
    revision: int = 1
    key: ECKey = field(default_factory=lambda: ECKey.generate_key("P-256", parameters={"kid": "key-1"}))
    claims: dict[str, Any] = field(default_factory=dict)
    secrets: tuple[str, ...] = (SECRET, DEMO_SECRET)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        request.read()
        self.requests.append(request)
        for (method, end), answer in self.overrides.items():
            if request.method == method and request.url.path.endswith(end):
                return answer(request)
        if request.url.path == "/oauth2/token":
            return self._token()
        if request.url.path == "/.well-known/jwks.json":
            return httpx.Response(200, json={"keys": [self.key.as_dict(private=False)]})
        if request.headers.get("authorization", "").partition(" ")[0] != "Bearer":
            return failure(401, "Unauthorized", "no token")
        return self.resource(request)

    @property
    def seen(self) -> list[str]:
        """`METHOD path` of every request to the admin API."""
        return [f"{each.method} {each.url.path}" for each in self.requests if str(each.url).startswith(ADMIN)]

    @property
    def forms(self) -> list[dict[str, list[str]]]:
        return [parse_qs(each.content.decode()) for each in self.requests if each.url.path == "/oauth2/token"]

    def writes(self) -> list[str]:
        return [each for each in self.seen if not each.startswith("GET ")]

    def body(self, method: str) -> Any:
        """What the first request of that method to the admin API held."""
        asked = (each for each in self.requests if each.method == method and str(each.url).startswith(ADMIN))
        return json.loads(next(asked).content)

    def put(self, path: str, document: Mapping[str, Any]) -> None:
        self.revision += 1
        metadata = {
            "uid": f"uid-{self.revision}",
            **document.get("metadata", {}),
            "resourceVersion": str(self.revision),
        }
        self.objects[path] = {**document, "metadata": metadata}

    def _token(self) -> httpx.Response:
        now = int(time.time())
        claims = {"iss": PUBLIC, "sub": "sa-demo", "iat": now, "exp": now + 300, **self.claims}
        text = jwt.encode({"alg": "ES256", "typ": "at+jwt", "kid": "key-1"}, claims, self.key)
        body = {"access_token": text, "token_type": "Bearer", "expires_in": 300, "scope": "api:payments"}
        return httpx.Response(200, json=body)

    def resource(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path
        known = self.objects.get(path)
        collection = path.rsplit("/", 1)[-1] in {kind.plural for kind in KINDS}
        if collection and request.url.params.get("watch"):
            return httpx.Response(200, content=self.streams.pop(0))
        namespace = path.partition("/namespaces/")[2].partition("/")[0]
        if "/apis/" in path and namespace and f"/api/v1/namespaces/{namespace}" not in self.objects:
            return failure(404, "NotFound", f"Namespace '{namespace}' not found", kind="Namespace")
        if request.method == "POST" and collection:
            document = json.loads(request.content)
            path = f"{path}/{document['metadata']['name']}"
            if path in self.objects:
                return failure(409, "AlreadyExists", "exists already")
            return httpx.Response(201, json=self._written(path, document, request))
        if request.method == "GET" and collection:
            metadata = {"resourceVersion": str(self.revision)}
            items = [item for item in self._under(path) if _is_selected(item, request.url.params)]
            return httpx.Response(200, json={"kind": "XList", "metadata": metadata, "items": items})
        if known is None:
            return failure(404, "NotFound", "not found", kind="ServiceAccount")
        if request.method == "PATCH":
            patch = json.loads(request.content)
            if patch["metadata"].pop("resourceVersion") != known["metadata"]["resourceVersion"]:
                return failure(409, "Conflict", "the object has been modified")
            return httpx.Response(200, json=self._written(path, merge_patch(known, patch), request))
        if request.method == "DELETE" and not request.url.params.get("dryRun"):
            del self.objects[path]
        return httpx.Response(200, json=self.objects.get(path, known))

    def _written(self, path: str, document: dict[str, Any], request: httpx.Request) -> dict[str, Any]:
        if request.url.params.get("dryRun"):
            return document
        if document != self.objects.get(path):
            self.put(path, document)
        return self.objects[path]

    def _under(self, path: str) -> list[dict[str, Any]]:
        prefix, plural = path.rsplit("/", 1)
        inside = [key for key in self.objects if key.rsplit("/", 2)[1] == plural and key.startswith(prefix)]
        return [self.objects[key] for key in sorted(inside)]


def _is_selected(item: Mapping[str, Any], params: httpx.QueryParams) -> bool:
    """As far as tests go: `label=value`, and `metadata.name=name`."""
    label, _, value = params.get("labelSelector", "").partition("=")
    name = params.get("fieldSelector", "").partition("metadata.name=")[2]
    labels = item["metadata"].get("labels", {})
    return (not label or labels.get(label) == value) and name in {"", item["metadata"]["name"]}
