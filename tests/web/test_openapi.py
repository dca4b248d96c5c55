"""The OpenAPI document: valid, whole, and true of what is served."""

import ast
import json
import re
from pathlib import Path
from typing import Any

import httpx
import pytest
from openapi_spec_validator import validate
from starlette.applications import Starlette
from starlette.routing import Route

from issuer.model.scopes import ADMIN_READ_SCOPE
from issuer.reference.operations import operations
from issuer.reference.parameters import QUERY
from issuer.reference.schemas import component_schemas
from issuer.web.openapi import openapi_document
from tests.administration.paths import MERGE, account_path, status_of
from tests.databases import ISSUER
from tests.web.validation import errors_against
from tests.world import World

OPENAPI = "/openapi/v3"
METHODS = ("get", "post", "put", "patch", "delete")
WEB = Path(__file__).parents[2] / "issuer" / "web"


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return json.loads(json.dumps(openapi_document(ISSUER, "1.2.3")))  # type: ignore[no-any-return]


def test_the_document_is_valid_openapi(document: dict[str, Any]) -> None:
    validate(document)


async def test_what_is_served_is_that_document(world: World, document: dict[str, Any]) -> None:
    served = (await world.admin.get(OPENAPI)).json()
    assert re.fullmatch(r"\d+\.\d+\.\d+", served["info"]["version"])
    assert served == {**document, "info": {**document["info"], "version": served["info"]["version"]}}


async def test_every_route_is_in_the_document_and_every_path_of_it_is_served(
    world: World, document: dict[str, Any]
) -> None:
    app = world.issuer.admin
    assert isinstance(app, Starlette)
    assert {route.path for route in app.routes if isinstance(route, Route)} == document["paths"].keys()


async def test_every_method_in_the_document_is_possible_and_no_other(world: World, document: dict[str, Any]) -> None:
    for template, item in document["paths"].items():
        path = template.format(namespace="nowhere", name="nobody", version="1")
        for method in METHODS:
            answer = await world.admin.request(method, path)
            assert (answer.status_code == 405) is (method not in item), f"{method} {path}: {answer.status_code}"
            if answer.status_code == 405:
                allowed = {each.strip().lower() for each in answer.headers["allow"].split(",")}
                assert allowed - {"head"} == item.keys() - {"parameters"}


def test_every_parameter_that_is_read_of_a_query_is_in_the_document() -> None:
    read: set[str] = set()
    for path in WEB.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "get":
                whose, (first, *_) = ast.unparse(node.func.value), node.args
                if whose in {"query", "request.query_params"} and isinstance(first, ast.Constant):
                    read.add(str(first.value))
    assert "watch" in read
    assert "dryRun" in read
    assert read <= {parameter.name or name for name, parameter in QUERY.items()}


def test_every_operation_has_a_name_of_its_own_as_kubernetes_gives_them() -> None:
    ids = [each.id for each in operations()]
    assert len(set(ids)) == len(ids)
    assert {
        "listNamespacedServiceAccount",
        "listServiceAccountForAllNamespaces",
        "createNamespacedServiceAccount",
        "readNamespacedServiceAccount",
        "replaceNamespacedServiceAccountStatus",
        "patchNamespacedAuthPolicy",
        "deleteClusterAuthPolicy",
        "listNamespace",
    } <= set(ids)


def test_every_operation_but_health_metrics_and_reference_needs_a_token(document: dict[str, Any]) -> None:
    free = {
        path
        for path, item in document["paths"].items()
        for method in METHODS
        if not item.get(method, {}).get("security", 1)
    }
    assert free == {"/livez", "/readyz", "/metrics", "/reference"}


async def test_what_the_document_says_needs_a_token_is_refused_without_one(world: World) -> None:
    for each in operations():
        path = each.path.format(namespace="payments", name="api", version="1")
        answer = await world.anonymous.request(each.method, path)
        assert (answer.status_code == 401) is each.guarded, each.id


async def test_the_scope_the_document_names_is_the_one_that_is_needed(world: World) -> None:
    await world.namespace("payments")
    reader = await world.account(
        "reader",
        "issuer-system",
        scopes=[ADMIN_READ_SCOPE],
        audiences=["urn:issuer:admin"],
        justification="a test",
    )
    token = (await reader.token()).json()["access_token"]
    for each in operations():
        path = each.path.format(namespace="payments", name="api", version="1")
        answer = await world.anonymous.request(each.method, path, headers={"authorization": f"Bearer {token}"})
        assert (answer.status_code == 403) is (each.guarded and each.scope != ADMIN_READ_SCOPE), each.id


def test_every_refusal_is_a_status_object(document: dict[str, Any]) -> None:
    for response in document["components"]["responses"].values():
        assert response["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/Status"}


def test_nothing_of_a_newer_dialect_is_in_a_schema() -> None:
    newer = (
        r'"(const|\$defs|prefixItems|patternProperties|propertyNames|exclusiveMinimum|unevaluatedProperties)":|"null"'
    )
    assert re.findall(newer, json.dumps(component_schemas())) == []


def test_every_pattern_is_anchored() -> None:
    patterns = re.findall(r'"pattern": "(.*?[^\\])"', json.dumps(component_schemas()))
    assert patterns
    assert [pattern for pattern in patterns if not (pattern.startswith("^") and pattern.endswith("$"))] == []


async def test_the_document_is_for_who_may_read_and_names_nobody(world: World) -> None:
    assert status_of(await world.anonymous.get(OPENAPI)) == (401, "Unauthorized")
    await world.account("secret-project")
    assert "secret-project" not in (await world.admin.get(OPENAPI)).text


@pytest.mark.parametrize("path", [OPENAPI, "/apis", "/version"])
async def test_who_has_a_document_is_not_sent_it_again_but_is_asked_for_a_token(world: World, path: str) -> None:
    first = await world.admin.get(path)
    etag = {"if-none-match": first.headers["etag"]}
    again = await world.admin.get(path, headers=etag)
    assert (again.status_code, again.content) == (304, b"")
    assert (await world.anonymous.get(path, headers=etag)).status_code == 401
    assert first.headers["cache-control"] == "private, no-cache"


def test_the_document_names_the_token_endpoint(document: dict[str, Any]) -> None:
    flows = document["components"]["securitySchemes"]["clientCredentials"]["flows"]
    assert flows["clientCredentials"]["tokenUrl"] == f"{ISSUER}/oauth2/token"


async def test_what_sub_resources_answer_is_as_the_schemas_say(world: World) -> None:
    client = await world.account(credentialRotation={"enabled": True})
    await world.admin.post(
        "/apis/auth.nauthera.io/v1alpha1/clusterauthpolicies",
        json={"metadata": {"name": "strict"}, "spec": {"scopes": {"allowed": []}}},
    )
    for name, answer in (
        ("Config", await world.admin.get(f"{client.path}/config")),
        ("ServiceAccount", await world.admin.get(f"{client.path}/status")),
        ("Explanation", await world.admin.post(f"{client.path}/explain", json={"without": ["strict"]})),
        ("Credential", await world.admin.post(f"{client.path}/credentials")),
        ("Credential", await world.admin.get(f"{client.path}/credentials/current")),
        ("ServiceAccount", await world.admin.post(f"{client.path}/credentials/2/acknowledge")),
        ("AuditRecordList", await world.admin.get("/apis/auth.nauthera.io/v1alpha1/auditrecords")),
        ("DecisionRecordList", await world.admin.get("/apis/auth.nauthera.io/v1alpha1/decisionrecords")),
        ("AuthPolicy", await _dry_run_of_a_policy(world)),
        ("Status", await world.admin.get(account_path("nobody"))),
        ("Status", await world.admin.post(account_path("nobody"), json={})),
        ("Status", await world.admin.delete(client.path)),
    ):
        assert errors_against(name, answer.json()) == [], (name, answer.text)


async def _dry_run_of_a_policy(world: World) -> httpx.Response:
    path = "/apis/auth.nauthera.io/v1alpha1/namespaces/payments/authpolicies?dryRun=All"
    spec = {"tokenSettings": {"maxAccessTokenTTL": "10s"}}
    answer = await world.admin.post(path, json={"metadata": {"name": "short"}, "spec": spec})
    assert answer.json()["status"]["effect"]["accounts"] == 1
    return answer


FORBIDDEN: list[dict[str, Any]] = [
    {"scopes": ["api:*"]},
    {"scopes": []},
    {"scopes": ["a", "a"]},
    {"tokenSettings": {"accessTokenTTL": "5"}},
    {"expiresAt": "tomorrow"},
    {"authentication": {"methods": ["none"]}},
    {"audiences": ["a b"]},
    {"credentialsSecretName": "Upper"},
    {"managedBy": {"cluster": "a"}},
    {"unknown": 1},
]


async def test_what_the_schema_forbids_the_server_refuses(world: World) -> None:
    client = await world.account()
    current = (await world.admin.get(client.path)).json()["spec"]
    for change in FORBIDDEN:
        assert errors_against("ServiceAccountSpec", {**current, **change}) != [], change
        answer = await world.admin.patch(client.path, json={"spec": change}, headers=MERGE)
        assert status_of(answer) == (422, "Invalid"), change
