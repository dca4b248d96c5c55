"""LIST: pages in one order, one resourceVersion, and cursors nobody else can write (CVE-2026-33504)."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Any

import pytest

from tests.administration.paths import ACCOUNT, KEYSETS, account, account_path, status_of
from tests.databases import Databases
from tests.world import ACCOUNTS, NAMESPACES, SCOPES, World, started_world

EVERYWHERE = "/apis/auth.nauthera.io/v1alpha1/serviceaccounts"
OTHER = ACCOUNTS.format(namespace="aaa")


@pytest.fixture
async def filled(world: World) -> World:
    """Accounts c, a, b in `payments` and z in `aaa`."""
    await world.namespace("payments")
    await world.namespace("aaa")
    for name in ("c", "a", "b"):
        await world.admin.post(ACCOUNT, json=account(name))
    await world.admin.post(OTHER, json=account("z"))
    return world


async def page(world: World, path: str, **query: Any) -> tuple[list[str], dict[str, Any]]:
    answer = await world.admin.get(path, params=query)
    assert answer.status_code == 200, answer.text
    document = answer.json()
    return [each["metadata"]["name"] for each in document["items"]], document["metadata"]


async def test_pages_follow_one_another_under_the_first_ones_resource_version(filled: World) -> None:
    first, metadata = await page(filled, ACCOUNT, limit=2)
    version = metadata["resourceVersion"]
    await filled.admin.post(ACCOUNT, json=account("bb"))
    second, following = await page(filled, ACCOUNT, limit=2, **{"continue": metadata["continue"]})
    assert (first, second) == (["a", "b"], ["bb", "c"])
    assert following == {"resourceVersion": version}


async def test_an_object_that_ends_a_page_may_vanish_meanwhile(filled: World) -> None:
    _, metadata = await page(filled, ACCOUNT, limit=2)
    await filled.admin.delete(account_path("b"))
    assert (await page(filled, ACCOUNT, limit=2, **{"continue": metadata["continue"]}))[0] == ["c"]


async def test_all_namespaces_are_listed_by_namespace_and_name(filled: World) -> None:
    names, metadata = await page(filled, EVERYWHERE, limit=3)
    assert names == ["z", "admin", "a"]
    assert (await page(filled, EVERYWHERE, **{"continue": metadata["continue"]}))[0] == ["b", "c"]


async def test_a_list_says_what_it_lists_and_computes_nothing(filled: World) -> None:
    document = (await filled.admin.get(ACCOUNT)).json()
    assert (document["apiVersion"], document["kind"]) == ("auth.nauthera.io/v1alpha1", "ServiceAccountList")
    for item in document["items"]:
        assert item["kind"] == "ServiceAccount"
        assert item["metadata"]["namespace"] == "payments"
        assert not {"credentials", "effective"} & item["status"].keys()


async def test_a_limit_of_nothing_is_the_default_and_an_unreadable_one_is_refused(filled: World) -> None:
    for limit in ("", "0", "500", "999999999"):
        assert (await page(filled, ACCOUNT, limit=limit))[0] == ["a", "b", "c"]
    for limit in ("-1", "x", "1.0", "1" * 10, "\u0663"):
        assert status_of(await filled.admin.get(ACCOUNT, params={"limit": limit})) == (400, "BadRequest")


async def test_cve_2026_33504_a_cursor_we_did_not_write_for_this_list_is_400(filled: World) -> None:
    _, metadata = await page(filled, ACCOUNT, limit=1)
    cursor = metadata["continue"]
    data = urlsafe_b64decode(cursor)
    forged = {
        "no base64": "!!!",
        "empty but for a letter": "x",
        "beyond ASCII": "é",
        "another tag": urlsafe_b64encode(bytes([data[0] ^ 1]) + data[1:]).decode(),
        "another payload": urlsafe_b64encode(data[:-3] + b"z" + data[-2:]).decode(),
        "only a payload": urlsafe_b64encode(data[32:]).decode(),
        "cut": cursor[:-4],
        "longer": urlsafe_b64encode(data + b" ").decode(),
        "SQL": urlsafe_b64encode(b"x" * 32 + b"' OR 1=1 --").decode(),
    }
    for rule, text in forged.items():
        assert status_of(await filled.admin.get(ACCOUNT, params={"continue": text})) == (400, "BadRequest"), rule
    for other in (SCOPES, NAMESPACES, KEYSETS, OTHER, EVERYWHERE):
        answer = await filled.admin.get(other, params={"continue": cursor})
        assert status_of(answer) == (400, "BadRequest"), other
    assert (await page(filled, ACCOUNT, **{"continue": cursor}))[0] == ["b", "c"]


async def test_a_cursor_works_on_every_replica(filled: World, databases: Databases) -> None:
    _, metadata = await page(filled, ACCOUNT, limit=1)
    async with started_world(filled.database_url, databases.bootstrapped, filled.clock) as replica:
        assert (await page(replica, ACCOUNT, **{"continue": metadata["continue"]}))[0] == ["b", "c"]


async def test_what_is_not_built_is_refused_instead_of_ignored(world: World) -> None:
    for query in ("labelSelector=a%3Db", "fieldSelector=x%3Dy", "watch=true", "watch=1"):
        assert status_of(await world.admin.get(f"{SCOPES}?{query}")) == (400, "BadRequest"), query
