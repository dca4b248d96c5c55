"""`dryRun=All`: everything a write would answer and refuse, and nothing of what it would leave behind."""

from typing import Any

from issuer.events import ResourceWritten
from tests.administration.paths import ACCOUNT, MERGE, account, account_path, status_of
from tests.store.rows import count_rows
from tests.world import NAMESPACES, SCOPES, World

CONDITION = {"type": "ConfigProvisioned", "status": "True", "reason": "ConfigMapCreated"}
# Method, path, body, headers, and what the answer must show of the write that did not happen.
WRITES: dict[str, tuple[str, str, Any, dict[str, str], dict[str, Any]]] = {
    "create an account": ("POST", ACCOUNT, account("new", purpose="x"), {}, {"spec.purpose": "x"}),
    "create a scope": ("POST", SCOPES, {"metadata": {"name": "n"}, "spec": {"scope": "n"}}, {}, {"spec.risk": "read"}),
    "create a namespace": ("POST", NAMESPACES, {"metadata": {"name": "n"}}, {}, {"status.phase": "Active"}),
    "replace": ("PUT", account_path("api"), account("api", purpose="x"), {}, {"spec.purpose": "x"}),
    "patch": ("PATCH", account_path("api"), {"spec": {"disabled": True}}, MERGE, {"status.phase": "Disabled"}),
    "write status": (
        "PUT",
        f"{account_path('api')}/status",
        {"status": {"conditions": [CONDITION]}},
        {},
        {"status.ready": False},
    ),
    "delete": ("DELETE", account_path("api"), None, {}, {"status": "Success"}),
    "delete with finalizers": ("DELETE", account_path("held"), None, {}, {"status.phase": "Terminating"}),
    "delete a namespace": ("DELETE", f"{NAMESPACES}/payments", None, {}, {"status.phase": "Terminating"}),
    "remove the last finalizer": (
        "PATCH",
        account_path("leaving"),
        {"metadata": {"finalizers": []}},
        MERGE,
        {"status.phase": "Terminating"},
    ),
}


def at(document: dict[str, Any], path: str) -> Any:
    value: Any = document
    for part in path.split("."):
        value = value[part]
    return value


async def furnish(world: World) -> None:
    await world.namespace("payments")
    for document in (account("api"), account("held", finalizers=["a/b"]), account("leaving", finalizers=["a/b"])):
        assert (await world.admin.post(ACCOUNT, json=document)).status_code == 201
    assert (await world.admin.delete(account_path("leaving"))).status_code == 200


async def test_it_answers_the_object_and_writes_nothing(world: World) -> None:
    await furnish(world)
    counts, events = await count_rows(world.database_url), len(world.seen(ResourceWritten))
    everything = [(await world.admin.get(path)).json() for path in (ACCOUNT, NAMESPACES, SCOPES)]
    for rule, (method, path, body, headers, shown) in WRITES.items():
        answer = await world.admin.request(method, path, params={"dryRun": "All"}, json=body, headers=headers)
        assert answer.status_code == (201 if method == "POST" else 200), (rule, answer.text)
        for field, value in shown.items():
            assert at(answer.json(), field) == value, rule
        assert await count_rows(world.database_url) == counts, rule
    assert [(await world.admin.get(path)).json() for path in (ACCOUNT, NAMESPACES, SCOPES)] == everything
    assert len(world.seen(ResourceWritten)) == events


async def test_the_options_of_a_delete_may_say_it_in_the_body_as_client_go_does(world: World) -> None:
    await furnish(world)
    options = {"kind": "DeleteOptions", "apiVersion": "v1", "dryRun": ["All"]}
    assert (await world.admin.request("DELETE", account_path("api"), json=options)).status_code == 200
    assert (await world.admin.get(account_path("api"))).status_code == 200
    refused = await world.admin.request("DELETE", account_path("api"), json={"dryRun": ["Some"]})
    assert status_of(refused) == (400, "BadRequest")
    assert (await world.admin.get(account_path("api"))).status_code == 200


async def test_another_value_is_refused_instead_of_written(world: World) -> None:
    await world.namespace("payments")
    for value in ("all", "true", "Server"):
        answer = await world.admin.post(ACCOUNT, params={"dryRun": value}, json=account("api"))
        assert status_of(answer) == (400, "BadRequest"), value
    assert (await world.admin.get(account_path("api"))).status_code == 404


async def test_the_object_of_a_dry_run_has_no_resource_version_of_its_own(world: World) -> None:
    await world.namespace("payments")
    created = (await world.admin.post(ACCOUNT, params={"dryRun": "All"}, json=account("api"))).json()
    assert "resourceVersion" not in created["metadata"]


async def test_a_secret_is_never_handed_out_by_one(world: World) -> None:
    await furnish(world)
    before = await count_rows(world.database_url)
    answer = await world.admin.post(f"{account_path('api')}/credentials", params={"dryRun": "All"})
    assert status_of(answer) == (400, "BadRequest")
    assert await count_rows(world.database_url) == before
