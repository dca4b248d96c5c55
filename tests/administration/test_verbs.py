"""The verbs of the resource API over HTTP: status codes, Status objects, preconditions, no-ops, generations."""

from typing import Any
from uuid import uuid4

import pytest

from issuer.events import ResourceWritten
from issuer.model.kinds import KINDS
from tests.administration.paths import ACCOUNT, KEYSETS, MERGE, account, account_path, status_of
from tests.store.rows import Counts, count_rows
from tests.world import ACCOUNTS, NAMESPACES, SCOPES, World

POLICIES = ACCOUNT.replace("serviceaccounts", "authpolicies")
CLUSTER_POLICIES = SCOPES.replace("scopes", "clusterauthpolicies")
POLICY = {"metadata": {"name": "read"}, "spec": {"tokenSettings": {"maxAccessTokenTTL": "15m"}}}
SCOPE = {"metadata": {"name": "read"}, "spec": {"scope": "api:read"}}
# Collection, a document of it, and a spec that changes it.
WRITABLE: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "Namespace": (NAMESPACES, {"metadata": {"name": "read"}}, {"metadata": {"labels": {"a": "b"}}}),
    "ServiceAccount": (ACCOUNT, account("read"), {"spec": {"purpose": "reads"}}),
    "AuthPolicy": (POLICIES, POLICY, {"spec": {"scopes": {"denied": ["api:*"]}}}),
    "ClusterAuthPolicy": (CLUSTER_POLICIES, POLICY, {"spec": {"appliesToSystem": True}}),
    "Scope": (SCOPES, SCOPE, {"spec": {"description": "reads"}}),
    "KeySet": (
        KEYSETS,
        {"metadata": {"name": "read"}, "spec": {"algorithm": "ES256"}},
        {"spec": {"audiences": ["https://read.example.com"]}},
    ),
}


async def test_every_writable_kind_is_created_read_listed_replaced_patched_and_deleted(world: World) -> None:
    await world.namespace("payments")
    assert WRITABLE.keys() == {kind.kind for kind in KINDS if kind.writable}
    for collection, document, change in WRITABLE.values():
        await go_through_the_verbs(world, collection, document, change)


async def go_through_the_verbs(world: World, collection: str, document: dict[str, Any], change: dict[str, Any]) -> None:
    created = await world.admin.post(collection, json=document)
    assert created.status_code == 201
    path = f"{collection}/read"
    read = (await world.admin.get(path)).json()
    for key, value in created.json().items():
        if key != "status":
            assert read[key] == value
    listed = (await world.admin.get(collection)).json()
    assert listed["kind"] == f"{created.json()['kind']}List"
    assert "read" in [item["metadata"]["name"] for item in listed["items"]]

    patched = await world.admin.patch(path, json=change, headers={"content-type": "application/merge-patch+json"})
    assert patched.status_code == 200
    assert int(patched.json()["metadata"]["resourceVersion"]) > int(created.json()["metadata"]["resourceVersion"])
    replaced = await world.admin.put(path, json=document)
    assert replaced.status_code == 200
    assert replaced.json().get("spec") == created.json().get("spec")
    deleted = await world.admin.delete(path)
    assert deleted.status_code == 200
    if collection == NAMESPACES:
        assert deleted.json()["status"] == {"phase": "Terminating"}
    else:
        assert deleted.json()["status"] == "Success"
        assert (await world.admin.get(path)).status_code == 404


async def test_a_method_the_path_does_not_have_is_405_with_what_it_has(world: World) -> None:
    answer = await world.admin.delete(NAMESPACES)
    assert status_of(answer) == (405, "MethodNotAllowed")
    assert answer.headers["allow"] == "GET, POST"


async def test_a_refusal_is_a_status_object_with_every_cause(world: World) -> None:
    answer = await world.admin.post(SCOPES, json={"metadata": {"name": "A"}, "spec": {"scope": "a b", "x": 1}})
    assert answer.status_code == 422
    assert answer.json() == {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": answer.json()["message"],
        "reason": "Invalid",
        "details": {
            "kind": "Scope",
            "name": "A",
            "causes": [
                {
                    "field": "metadata.name",
                    "reason": "FieldValueInvalid",
                    "message": "must be a DNS-1123 name of at most 253 characters",
                },
                {
                    "field": "spec.scope",
                    "reason": "FieldValueInvalid",
                    "message": "must be a scope token (RFC 6749 section 3.3): printable ASCII without space, quote or "
                    "backslash",
                },
                {"field": "spec.x", "reason": "FieldValueForbidden", "message": "unknown field"},
            ],
        },
        "code": 422,
    }


REFUSED_CREATIONS: dict[str, tuple[str, dict[str, Any], tuple[int, str]]] = {
    "another apiVersion": (ACCOUNT, {**account("x"), "apiVersion": "v1"}, (422, "Invalid")),
    "another kind": (ACCOUNT, {**account("x"), "kind": "Scope"}, (422, "Invalid")),
    "another namespace than the path's": (ACCOUNT, account("x", namespace="other"), (422, "Invalid")),
    "a namespace for a cluster-scoped kind": (
        SCOPES,
        {"metadata": {"name": "x", "namespace": "payments"}, "spec": {"scope": "x"}},
        (422, "Invalid"),
    ),
    "a resourceVersion": (ACCOUNT, account("x", resourceVersion="1"), (400, "BadRequest")),
    "a missing namespace": (ACCOUNTS.format(namespace="nowhere"), account("x"), (404, "NotFound")),
    "a name that is taken": (ACCOUNT, account("taken"), (409, "AlreadyExists")),
    "a namespace that exists": (NAMESPACES, {"metadata": {"name": "payments"}}, (409, "AlreadyExists")),
    "a scope whose name is taken": (SCOPES, SCOPE, (409, "AlreadyExists")),
    "a scope token that is taken": (
        SCOPES,
        {"metadata": {"name": "other"}, "spec": {"scope": "api:read"}},
        (422, "Invalid"),
    ),
    "a scope of the issuer's own": (
        SCOPES,
        {"metadata": {"name": "other"}, "spec": {"scope": "issuer:admin"}},
        (422, "Invalid"),
    ),
    "a method without a row": (
        ACCOUNT,
        account("x", authentication={"methods": ["tls_client_auth"]}),
        (422, "Invalid"),
    ),
    "admin scopes outside issuer-system": (ACCOUNT, account("x", scopes=["issuer:admin"]), (422, "Invalid")),
}


@pytest.fixture
async def furnished(world: World) -> World:
    """A namespace `payments` with an account `taken`, and a Scope `read`."""
    await world.namespace("payments")
    assert (await world.admin.post(ACCOUNT, json=account("taken"))).status_code == 201
    assert (await world.admin.post(SCOPES, json=SCOPE)).status_code == 201
    return world


async def test_creations_are_refused_and_their_dry_runs_alike(furnished: World) -> None:
    before = await count_rows(furnished.database_url)
    for rule, (path, document, expected) in REFUSED_CREATIONS.items():
        for dry_run in ("", "?dryRun=All"):
            answer = await furnished.admin.post(path + dry_run, json=document)
            assert status_of(answer) == expected, (rule, dry_run)
    assert await count_rows(furnished.database_url) == before


async def test_a_duplicate_scope_token_is_named_by_its_field(furnished: World) -> None:
    answer = await furnished.admin.post(SCOPES, json={"metadata": {"name": "other"}, "spec": {"scope": "api:read"}})
    assert [(cause["field"], cause["reason"]) for cause in answer.json()["details"]["causes"]] == [
        ("spec.scope", "FieldValueDuplicate")
    ]


async def test_a_scope_token_is_fixed_at_creation(furnished: World) -> None:
    changed = {"spec": {"scope": "api:other"}}
    replaced = await furnished.admin.put(f"{SCOPES}/read", json={**SCOPE, **changed})
    patched = await furnished.admin.patch(f"{SCOPES}/read", json=changed, headers=MERGE)
    for answer in (replaced, patched):
        assert answer.status_code == 422
        assert [cause["field"] for cause in answer.json()["details"]["causes"]] == ["spec.scope"]


NOBODY = account_path("nobody")


async def test_what_does_not_exist_is_404(furnished: World) -> None:
    for method, body in (("GET", None), ("PUT", account("nobody")), ("PATCH", {}), ("DELETE", None)):
        headers = MERGE if method == "PATCH" else {}
        for path in (NOBODY, NOBODY.replace("payments", "nowhere")):
            answer = await furnished.admin.request(method, path, json=body, headers=headers)
            assert status_of(answer) == (404, "NotFound"), (method, path)


async def test_a_list_in_a_missing_namespace_is_404(world: World) -> None:
    assert status_of(await world.admin.get(ACCOUNTS.format(namespace="nowhere"))) == (404, "NotFound")


async def test_a_name_nothing_can_have_is_404_and_never_reaches_the_database(world: World) -> None:
    for name in ("%00", "UPPER", "a%20b", "x" * 3000, "%F0%9F%98%80"):
        assert status_of(await world.admin.get(account_path(name))) == (404, "NotFound")
        assert status_of(await world.admin.get(ACCOUNTS.format(namespace=name))) == (404, "NotFound")
        assert status_of(await world.admin.get(f"{NAMESPACES}/{name}")) == (404, "NotFound")


async def test_the_name_in_the_body_must_be_the_paths(furnished: World) -> None:
    answer = await furnished.admin.put(account_path("taken"), json=account("other"))
    assert [cause["field"] for cause in answer.json()["details"]["causes"]] == ["metadata.name"]


async def test_a_replace_without_a_name_takes_the_paths(furnished: World) -> None:
    document = {"metadata": {}, "spec": {"scopes": ["api:read"], "purpose": "x"}}
    answer = await furnished.admin.put(account_path("taken"), json=document)
    assert answer.status_code == 200
    assert answer.json()["spec"]["purpose"] == "x"


class TestPreconditions:
    async def test_a_stale_resource_version_is_409_for_every_verb(self, furnished: World) -> None:
        path = account_path("taken")
        stale = (await furnished.admin.get(path)).json()["metadata"]["resourceVersion"]
        first = await furnished.admin.put(path, json=account("taken", resourceVersion=stale, purpose="first"))
        assert first.status_code == 200
        second = account("taken", resourceVersion=stale, purpose="second")
        assert status_of(await furnished.admin.put(path, json=second)) == (409, "Conflict")
        patch = {"metadata": {"resourceVersion": stale}, "spec": {"purpose": "second"}}
        assert status_of(await furnished.admin.patch(path, json=patch, headers=MERGE)) == (409, "Conflict")
        status = {"metadata": {"resourceVersion": stale}, "status": {"conditions": []}}
        assert status_of(await furnished.admin.put(f"{path}/status", json=status)) == (409, "Conflict")
        options = {"preconditions": {"resourceVersion": stale}}
        answer = await furnished.admin.request("DELETE", path, json=options)
        assert status_of(answer) == (409, "Conflict")
        assert (await furnished.admin.get(path)).json()["spec"]["purpose"] == "first"

    async def test_another_uid_is_409_for_every_verb(self, furnished: World) -> None:
        path, uid = account_path("taken"), str(uuid4())
        assert status_of(await furnished.admin.put(path, json=account("taken", uid=uid))) == (409, "Conflict")
        patch = {"metadata": {"uid": uid}}
        assert status_of(await furnished.admin.patch(path, json=patch, headers=MERGE)) == (409, "Conflict")
        status = {"metadata": {"uid": uid}, "status": {"conditions": []}}
        assert status_of(await furnished.admin.put(f"{path}/status", json=status)) == (409, "Conflict")
        answer = await furnished.admin.request("DELETE", path, json={"preconditions": {"uid": uid}})
        assert status_of(answer) == (409, "Conflict")

    async def test_the_current_ones_are_met(self, furnished: World) -> None:
        path = account_path("taken")
        metadata = (await furnished.admin.get(path)).json()["metadata"]
        held = {"uid": metadata["uid"], "resourceVersion": metadata["resourceVersion"]}
        replaced = await furnished.admin.put(path, json=account("taken", **held, purpose="x"))
        held["resourceVersion"] = replaced.json()["metadata"]["resourceVersion"]
        assert (await furnished.admin.request("DELETE", path, json={"preconditions": held})).status_code == 200

    async def test_unreadable_ones_are_a_bad_request(self, furnished: World) -> None:
        unreadable: tuple[Any, ...] = ([], {"uid": 1}, "x")
        for asked in unreadable:
            answer = await furnished.admin.request("DELETE", account_path("taken"), json={"preconditions": asked})
            assert status_of(answer) == (400, "BadRequest"), asked


class TestEqualWrites:
    async def test_change_nothing_and_leave_no_trace(self, furnished: World) -> None:
        path = account_path("taken")
        read = (await furnished.admin.get(path)).json()
        before = await count_rows(furnished.database_url)
        for answer in (
            await furnished.admin.put(path, json=read),
            await furnished.admin.put(path, json=account("taken")),
            await furnished.admin.patch(path, json={}, headers=MERGE),
            await furnished.admin.patch(path, json={"spec": {"scopes": ["api:read"]}}, headers=MERGE),
            await furnished.admin.put(f"{path}/status", json=read),
        ):
            assert answer.status_code == 200
            assert answer.json()["metadata"] == read["metadata"]
        assert await count_rows(furnished.database_url) == before

    async def test_generation_moves_with_spec_only(self, furnished: World) -> None:
        path = account_path("taken")

        async def patch(change: dict[str, Any]) -> tuple[int, int]:
            document = (await furnished.admin.patch(path, json=change, headers=MERGE)).json()
            return document["metadata"]["generation"], document["status"]["observedGeneration"]

        assert await patch({"metadata": {"labels": {"a": "b"}}}) == (1, 1)
        assert await patch({"metadata": {"annotations": {"a": "b"}}}) == (1, 1)
        assert await patch({"metadata": {"finalizers": ["a/b"]}}) == (1, 1)
        assert await patch({"spec": {"purpose": "x"}}) == (2, 2)
        assert await patch({"spec": {"purpose": "x"}}) == (2, 2)

    async def test_a_main_write_drops_status_and_what_kubectl_adds(self, furnished: World) -> None:
        path = account_path("taken")
        read = (await furnished.admin.get(path)).json()
        read["status"] = {"phase": "Active", "clientId": "sa-x", "nonsense": 1}
        read["metadata"] |= {"managedFields": [{"manager": "kubectl"}], "selfLink": "/x", "generation": 99}
        answer = await furnished.admin.put(path, json=read)
        assert answer.status_code == 200
        assert answer.json()["status"]["phase"] == "Pending"
        assert answer.json()["metadata"]["generation"] == 1
        assert not {"managedFields", "selfLink"} & answer.json()["metadata"].keys()
        patched = await furnished.admin.patch(path, json={"status": {"phase": "Active"}}, headers=MERGE)
        assert patched.json()["status"]["phase"] == "Pending"


class TestPatch:
    async def test_null_restores_a_default(self, furnished: World) -> None:
        path = account_path("taken")
        change = {"displayName": "Other", "type": "agent", "purpose": "x", "credentialRotation": {"intervalDays": 30}}
        await furnished.admin.patch(path, json={"spec": change}, headers=MERGE)
        back = {"displayName": None, "type": None, "purpose": None, "credentialRotation": {"intervalDays": None}}
        spec = (await furnished.admin.patch(path, json={"spec": back}, headers=MERGE)).json()["spec"]
        assert (spec["displayName"], spec["type"], spec["credentialRotation"]["intervalDays"]) == (
            "taken",
            "service",
            90,
        )
        assert "purpose" not in spec

    async def test_lists_are_replaced_and_objects_merged(self, furnished: World) -> None:
        path = account_path("taken")
        await furnished.admin.patch(path, json={"spec": {"claims": {"a": "1", "b": "2"}}}, headers=MERGE)
        change = {"scopes": ["api:write"], "claims": {"b": "3", "c": "4"}}
        spec = (await furnished.admin.patch(path, json={"spec": change}, headers=MERGE)).json()["spec"]
        assert spec["scopes"] == ["api:write"]
        assert spec["claims"] == {"a": "1", "b": "3", "c": "4"}

    async def test_another_kind_of_patch_is_415_and_one_that_is_no_object_400(self, furnished: World) -> None:
        for media_type in (
            "application/json-patch+json",
            "application/strategic-merge-patch+json",
            "application/apply-patch+yaml",
            "application/json",
            "application/yaml",
        ):
            headers = {"content-type": media_type}
            answer = await furnished.admin.patch(account_path("taken"), content=b"[]", headers=headers)
            assert status_of(answer) == (415, "UnsupportedMediaType"), media_type
        for body in (b"", b"[]", b"null", b'"x"'):
            answer = await furnished.admin.patch(account_path("taken"), content=body, headers=MERGE)
            assert status_of(answer) == (400, "BadRequest"), body


class TestIssuerSystemOnUpdate:
    """CVE-2026-18573 (created harmless, then updated), CVE-2026-15572 (update not validated again)."""

    async def test_nothing_reaches_an_admin_grant_by_an_update(self, furnished: World) -> None:
        path = account_path("taken")
        for change in ({"scopes": ["issuer:admin"]}, {"audiences": ["urn:issuer:admin"]}):
            patched = await furnished.admin.patch(path, json={"spec": change}, headers=MERGE)
            replaced = await furnished.admin.put(path, json=account("taken", **change))
            assert [status_of(answer) for answer in (patched, replaced)] == [(422, "Invalid")] * 2, change

    async def test_the_justification_cannot_be_taken_away_afterwards(self, world: World) -> None:
        path = f"{ACCOUNTS.format(namespace='issuer-system')}/admin"
        patched = await world.admin.patch(path, json={"spec": {"justification": None}}, headers=MERGE)
        assert [cause["field"] for cause in patched.json()["details"]["causes"]] == ["spec.justification"]

    async def test_cve_2026_18570_a_patch_is_checked_with_the_defaults_of_what_it_leaves_out(
        self, furnished: World
    ) -> None:
        change = {"spec": {"credentialRotation": {"intervalDays": 1}}}
        patched = await furnished.admin.patch(account_path("taken"), json=change, headers=MERGE)
        assert [cause["field"] for cause in patched.json()["details"]["causes"]] == [
            "spec.credentialRotation.gracePeriodHours"
        ]


async def test_every_write_leaves_one_change_and_one_audit_record_of_who_did_it(world: World) -> None:
    start = await count_rows(world.database_url)
    await world.namespace("payments")
    await world.admin.post(ACCOUNT, json=account("x"))
    await world.admin.patch(account_path("x"), json={"spec": {"purpose": "p"}}, headers=MERGE)
    await world.admin.delete(account_path("x"))
    end = await count_rows(world.database_url)
    assert end == Counts(
        start.revision + 4, start.resources + 1, start.changes + 4, start.audit_records + 4, start.secrets
    )
    assert [event.verb for event in world.seen(ResourceWritten)] == ["create", "create", "patch", "delete"]
    assert {event.principal for event in world.seen(ResourceWritten)} == {"issuer-system/admin"}
