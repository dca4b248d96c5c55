"""Discovery as Kubernetes clients do it: from `/apis` to every kind, and nothing that is not there."""

from typing import Any

from issuer.model.kinds import KINDS, NAMESPACE
from issuer.reference.operations import operations
from tests.administration.paths import status_of
from tests.web.validation import errors_against
from tests.world import World

GROUP = "auth.nauthera.io"
RESOURCES = f"/apis/{GROUP}/v1alpha1"


async def read(world: World, path: str, schema: str) -> dict[str, Any]:
    answer = await world.admin.get(path)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/json"
    document: dict[str, Any] = answer.json()
    assert errors_against(schema, document) == []
    return document


async def test_a_client_finds_its_way_from_the_groups_to_the_kinds(world: World) -> None:
    (group,) = (await read(world, "/apis", "APIGroupList"))["groups"]
    assert group == await read(world, f"/apis/{group['name']}", "APIGroup")
    version = group["preferredVersion"]["groupVersion"]
    listed = await read(world, f"/apis/{version}", "APIResourceList")
    assert listed["groupVersion"] == version
    kinds = {each["kind"] for each in listed["resources"]}
    assert kinds == {kind.kind for kind in KINDS if kind is not NAMESPACE} | {
        "AuditRecord",
        "DecisionRecord",
        "RefusalCount",
    }


async def test_the_core_api_has_namespaces(world: World) -> None:
    assert (await read(world, "/api", "APIVersions"))["versions"] == ["v1"]
    (found,) = (await read(world, "/api/v1", "APIResourceList"))["resources"]
    assert (found["name"], found["namespaced"], found["shortNames"]) == ("namespaces", False, ["ns"])


async def test_a_kind_says_what_can_be_done_with_it(world: World) -> None:
    listed = (await read(world, RESOURCES, "APIResourceList"))["resources"]
    found = {each["name"]: each for each in listed}
    everything = ["create", "delete", "get", "list", "patch", "update", "watch"]
    accounts = found["serviceaccounts"]
    assert (accounts["kind"], accounts["singularName"], accounts["namespaced"]) == (
        "ServiceAccount",
        "serviceaccount",
        True,
    )
    assert (accounts["verbs"], accounts["shortNames"]) == (everything, ["sa"])
    assert found["keysets"]["verbs"] == everything
    assert found["auditrecords"]["verbs"] == ["list"]
    assert found["serviceaccounts/status"]["verbs"] == ["get", "patch", "update"]
    assert found["serviceaccounts/credentials"]["verbs"] == ["create", "get"]
    assert "shortNames" not in found["serviceaccounts/status"]


async def test_every_sub_resource_there_is_is_found(world: World) -> None:
    listed = (await read(world, RESOURCES, "APIResourceList"))["resources"]
    found = {each["name"].partition("/")[2] for each in listed} - {""}
    assert found == {each.subresource for each in operations()} - {""}


async def test_the_version_is_told_in_the_words_of_kubernetes_clients(world: World) -> None:
    said = await read(world, "/version", "VersionInfo")
    assert said["gitVersion"].startswith(f"v{said['major']}.{said['minor']}.")


async def test_discovery_is_for_who_may_read(world: World) -> None:
    for path in ("/api", "/api/v1", "/apis", f"/apis/{GROUP}", RESOURCES, "/version"):
        assert status_of(await world.anonymous.get(path)) == (401, "Unauthorized")
        assert status_of(await world.admin.post(path)) == (405, "MethodNotAllowed")
    assert status_of(await world.admin.get("/apis/other.example.com")) == (404, "NotFound")


async def test_a_token_without_a_scope_of_the_admin_api_reads_no_document(world: World) -> None:
    client = await world.account(
        "odd", "issuer-system", scopes=["api:read"], audiences=["urn:issuer:admin"], justification="a test"
    )
    token = (await client.token()).json()["access_token"]
    answer = await world.anonymous.get("/openapi/v3", headers={"authorization": f"Bearer {token}"})
    assert status_of(answer) == (403, "Forbidden")
    assert "issuer:admin:read" in answer.json()["message"]
