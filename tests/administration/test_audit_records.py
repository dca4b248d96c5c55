"""Audit records as a list: who did what to which object, the newest first, for whom may read."""

from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
import sqlalchemy as sa

from issuer.administration.records import LIMIT, MAX_LIMIT
from issuer.store.audit import RecordFilter, newest_records
from tests.administration.paths import ACCOUNT, MERGE, account, account_path, status_of
from tests.world import NAMESPACES, SCOPES, World

EVERYWHERE = "/apis/auth.nauthera.io/v1alpha1/auditrecords"
PAYMENTS = "/apis/auth.nauthera.io/v1alpha1/namespaces/payments/auditrecords"


@pytest.fixture
async def uid(world: World) -> str:
    """An account that was made, changed, given a secret and disabled, a second apart."""
    await world.namespace("payments")
    world.clock.advance(seconds=1)
    made = await world.admin.post(ACCOUNT, json=account("api"))
    world.clock.advance(seconds=1)
    await world.admin.post(f"{account_path('api')}/credentials")
    world.clock.advance(seconds=1)
    await world.admin.get(f"{account_path('api')}/credentials/current")
    world.clock.advance(seconds=1)
    await world.admin.patch(account_path("api"), json={"spec": {"disabled": True}}, headers=MERGE)
    return str(made.json()["metadata"]["uid"])


async def records(world: World, path: str = EVERYWHERE, **query: Any) -> list[dict[str, Any]]:
    answer = await world.admin.get(path, params=query)
    assert answer.status_code == 200, answer.text
    document = answer.json()
    assert (document["apiVersion"], document["kind"]) == ("auth.nauthera.io/v1alpha1", "AuditRecordList")
    items: list[dict[str, Any]] = document["items"]
    return items


async def test_the_newest_record_is_the_first(world: World, uid: str) -> None:
    listed = await records(world, uid=uid)
    assert [each["verb"] for each in listed] == ["patch", "get credentials", "create credentials", "create"]


async def test_a_record_says_who_did_what_to_which_object_and_what_it_was_before_and_after(
    world: World, uid: str
) -> None:
    disabled, shown, handed_out, made = await records(world, uid=uid)
    assert disabled["kind"] == "AuditRecord"
    assert UUID(disabled["metadata"]["name"]).version == 7
    assert disabled["metadata"]["namespace"] == "payments"
    assert disabled["metadata"]["creationTimestamp"].endswith("Z")
    assert disabled["principal"] == {
        "kind": "account",
        "name": "issuer-system/admin",
        "uid": world.bootstrapped.admin.client_id.removeprefix("sa-"),
        "credential": "secret/1",
    }
    assert disabled["subject"] == {"kind": "ServiceAccount", "namespace": "payments", "name": "api", "uid": uid}
    assert (disabled["before"]["spec"]["disabled"], disabled["after"]["spec"]["disabled"]) == (False, True)
    now = (await world.admin.get(account_path("api"))).json()
    assert disabled["revision"] == now["metadata"]["resourceVersion"]
    assert "note" not in disabled
    assert "before" not in made
    assert handed_out["note"] == {"version": 1, "made": False}
    # Nothing was written when the secret was shown again: no revision, no before and after.
    assert not {"revision", "before", "after"} & shown.keys()


async def test_no_secret_is_in_any_record(world: World) -> None:
    await world.namespace("payments")
    await world.admin.post(ACCOUNT, json=account("api"))
    given = await world.admin.post(f"{account_path('api')}/credentials")
    assert given.json()["clientSecret"] not in (await world.admin.get(EVERYWHERE)).text


async def test_a_namespace_holds_the_records_of_its_objects_only(world: World, uid: str) -> None:
    assert {each["subject"]["uid"] for each in await records(world, PAYMENTS)} == {uid}
    everywhere = {each["subject"]["kind"] for each in await records(world, limit=MAX_LIMIT)}
    assert {"ServiceAccount", "Namespace"} <= everywhere


async def test_filters_narrow_the_list_and_all_of_them_must_hold(world: World) -> None:
    await world.namespace("payments")
    for name in ("one", "two"):
        await world.admin.post(SCOPES, json={"metadata": {"name": name}, "spec": {"scope": f"api:{name}"}})
    table: list[tuple[dict[str, str], set[str]]] = [
        ({"kind": "Scope"}, {"Scope/one", "Scope/two"}),
        ({"kind": "Scope", "name": "one"}, {"Scope/one"}),
        ({"name": "payments"}, {"Namespace/payments"}),
        ({"name": "never-was"}, set()),
        ({"uid": str(uuid4())}, set()),
    ]
    for query, expected in table:
        subjects = [each["subject"] for each in await records(world, **query)]
        assert {f"{each['kind']}/{each['name']}" for each in subjects} == expected, query


async def test_records_outlive_the_object_and_its_namespace(world: World, uid: str) -> None:
    world.clock.advance(seconds=1)
    await world.admin.delete(account_path("api"))
    await world.admin.delete(f"{NAMESPACES}/payments")
    while not await world.issuer.resources.empty_namespace("payments"):
        pass
    assert (await world.admin.get(f"{NAMESPACES}/payments")).status_code == 404
    listed = await records(world, PAYMENTS, uid=uid)
    assert listed[0]["verb"] == "delete"
    assert "after" not in listed[0]


async def test_a_recreated_account_of_the_same_name_has_a_history_of_its_own(world: World, uid: str) -> None:
    await world.admin.delete(account_path("api"))
    again = await world.admin.post(ACCOUNT, json=account("api"))
    listed = await records(world, uid=again.json()["metadata"]["uid"])
    assert [each["verb"] for each in listed] == ["create"]
    assert len(await records(world, PAYMENTS, name="api")) == 6
    assert uid not in {each["subject"]["uid"] for each in listed}


async def test_a_list_ends_at_its_limit(world: World) -> None:
    for number in range(LIMIT + 3):
        await world.namespace(f"n{number}")
    assert len(await records(world)) == LIMIT
    assert len(await records(world, limit=3)) == 3
    assert len(await records(world, limit=MAX_LIMIT)) > LIMIT


REFUSED = {
    "limit=0": ["limit"],
    "limit=501": ["limit"],
    "limit=many": ["limit"],
    "uid=someone": ["uid"],
    "kind=Pod": ["kind"],
    "name=%00": ["name"],
    "name=UPPER": ["name"],
    "since=yesterday": ["since"],
    "labelSelector=a%3Db": ["labelSelector"],
    "uid=0&kind=x&limit=-1&watch=true": ["kind", "limit", "uid", "watch"],
    "name=a&name=b": ["name"],
}


async def test_what_cannot_be_asked_for_is_refused_with_every_fault(world: World) -> None:
    for query, fields in REFUSED.items():
        refused = await world.admin.get(f"{EVERYWHERE}?{query}")
        assert status_of(refused) == (400, "BadRequest"), query
        assert sorted(cause["field"] for cause in refused.json()["details"]["causes"]) == fields, query


async def test_strangers_read_no_record_and_nobody_writes_one(world: World) -> None:
    assert status_of(await world.anonymous.get(EVERYWHERE)) == (401, "Unauthorized")
    for method in ("POST", "PUT", "PATCH", "DELETE"):
        assert status_of(await world.admin.request(method, EVERYWHERE)) == (405, "MethodNotAllowed")
    assert (await world.admin.get(f"{EVERYWHERE}/{uuid4()}")).status_code == 404


async def test_the_right_to_read_is_enough_and_no_right_is_too_little(world: World) -> None:
    reader = await world.account(
        "reader",
        "issuer-system",
        scopes=["issuer:admin:read", "api:read"],
        audiences=["urn:issuer:admin"],
        justification="reads",
    )

    async def asked_with(scope: str) -> httpx.Response:
        token = (await reader.token(scope=scope)).json()["access_token"]
        return await world.anonymous.get(PAYMENTS, headers={"authorization": f"Bearer {token}"})

    assert (await asked_with("issuer:admin:read")).status_code == 200
    refused = await asked_with("api:read")
    assert status_of(refused) == (403, "Forbidden")
    assert "may not list auditrecords.auth.nauthera.io payments" in refused.json()["message"]


async def test_the_records_of_one_object_are_found_by_an_index_in_the_order_of_the_list(world: World) -> None:
    database = world.issuer.databases[1]
    async with database.transaction() as connection:
        await connection.execute(sa.text("SET LOCAL enable_seqscan = off"))
        wanted = RecordFilter(None, None, None, uuid4())
        plan = await connection.execute(
            sa.text("EXPLAIN SELECT * FROM audit_records WHERE uid = :uid ORDER BY id DESC LIMIT 10"),
            {"uid": wanted.uid},
        )
        told = "\n".join(row[0] for row in plan)
        assert await newest_records(connection, wanted, 10) == []
    assert "audit_records_uid_id_idx" in told
    assert "Sort" not in told
