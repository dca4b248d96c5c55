"""LIST: pages in one order, one resourceVersion, and cursors nobody else can write (CVE-2026-33504)."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Awaitable, Callable
from typing import Any
from unittest.mock import ANY

import pytest

from issuer.store import batches
from issuer.store.batches import BATCH_BYTES
from issuer.store.changelog import trim_log
from tests.administration.paths import ACCOUNT, KEYSETS, MERGE, account, account_path, status_of
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
    second, following = await page(filled, ACCOUNT, limit=2, **{"continue": metadata["continue"]})
    assert (first, second) == (["a", "b"], ["c"])
    assert following == {"resourceVersion": version}


async def whole_list(world: World, path: str, then: Callable[[], Awaitable[Any]], **query: Any) -> list[dict[str, Any]]:
    """All pages of one object each, with something happening behind the first."""
    items, query = [], {"limit": 1, **query}
    while True:
        document = (await world.admin.get(path, params=query)).json()
        items += document["items"]
        if "continue" not in document["metadata"]:
            return items
        if len(items) == 1:
            await then()
        query["continue"] = document["metadata"]["continue"]


async def test_every_page_shows_what_was_there_when_the_first_was_read(filled: World) -> None:
    before = (await filled.admin.get(EVERYWHERE)).json()["items"]

    async def meanwhile() -> None:
        await filled.admin.delete(account_path("a"))
        await filled.admin.patch(account_path("b"), json={"metadata": {"labels": {"new": "label"}}}, headers=MERGE)
        await filled.admin.patch(account_path("b"), json={"spec": {"disabled": True}}, headers=MERGE)
        await filled.admin.delete(account_path("c"))
        await filled.admin.post(ACCOUNT, json=account("c", labels={"another": "identity"}))
        await filled.admin.post(ACCOUNT, json=account("bb"))
        await filled.admin.patch(f"{OTHER}/z", json={"spec": {"disabled": True}}, headers=MERGE)

    assert await whole_list(filled, EVERYWHERE, meanwhile) == before
    assert await page(filled, ACCOUNT) == (["b", "bb", "c"], {"resourceVersion": ANY})


@pytest.mark.parametrize("most_bytes", [1, 1_500, 3_000])
async def test_a_page_that_ends_early_because_its_objects_are_great_loses_nothing_and_shows_the_same_moment(
    filled: World, monkeypatch: pytest.MonkeyPatch, most_bytes: int
) -> None:
    before = (await filled.admin.get(EVERYWHERE)).json()["items"]
    monkeypatch.setattr(batches, "BATCH_BYTES", most_bytes)
    small, metadata = await page(filled, EVERYWHERE)
    assert 0 < len(small) < len(before)
    assert "continue" in metadata

    async def meanwhile() -> None:
        for name in ("b", "a"):
            await filled.admin.patch(account_path(name), json={"spec": {"disabled": True}}, headers=MERGE)
        await filled.admin.delete(account_path("c"))
        for name in ("aa", "d"):
            await filled.admin.post(ACCOUNT, json=account(name))

    query = {"continue": metadata["continue"], "limit": 500}
    await meanwhile()
    rest = []
    while "continue" in query:
        document = (await filled.admin.get(EVERYWHERE, params=query)).json()
        rest += document["items"]
        query = {key: value for key, value in document["metadata"].items() if key == "continue"} | {"limit": 500}
    assert before[len(small) :] == rest


async def test_a_page_of_the_greatest_objects_is_bounded_in_bytes(filled: World) -> None:
    great = {"note": "x" * 250_000}
    for number in range(80):
        answer = await filled.admin.post(ACCOUNT, json=account(f"great-{number:02}", annotations=great))
        assert answer.status_code == 201, answer.text
    names, metadata = await page(filled, ACCOUNT, limit=5_000)
    assert BATCH_BYTES <= len(names) * 250_000 < BATCH_BYTES + 4 * 250_000
    rest, metadata = await page(filled, ACCOUNT, limit=5_000, **{"continue": metadata["continue"]})
    assert len(names) + len(rest) == 83
    assert "continue" not in metadata


async def test_pages_of_a_namespace_outlive_it(filled: World) -> None:
    before = (await filled.admin.get(ACCOUNT)).json()["items"]

    async def meanwhile() -> None:
        await filled.admin.delete(f"{NAMESPACES}/payments")
        while not await filled.issuer.resources.empty_namespace("payments"):
            pass

    assert await whole_list(filled, ACCOUNT, meanwhile) == before
    assert status_of(await filled.admin.get(ACCOUNT)) == (404, "NotFound")


async def test_an_older_state_can_be_asked_for_by_its_resource_version(filled: World) -> None:
    version = (await filled.admin.get(ACCOUNT)).json()["metadata"]["resourceVersion"]
    await filled.admin.delete(account_path("a"))
    exact = {"resourceVersion": version, "resourceVersionMatch": "Exact"}
    assert await page(filled, ACCOUNT, **exact) == (["a", "b", "c"], {"resourceVersion": version})
    for current in (
        {"resourceVersion": "0"},
        {"resourceVersion": version},
        exact | {"resourceVersionMatch": "NotOlderThan"},
    ):
        assert (await page(filled, ACCOUNT, **current))[0] == ["b", "c"]


async def test_a_revision_that_is_trimmed_or_was_never_reached_is_410(filled: World) -> None:
    _, metadata = await page(filled, ACCOUNT, limit=1)
    await filled.admin.delete(account_path("c"))
    async with filled.issuer.databases[0].transaction() as connection:
        assert not await trim_log(connection, keep_s=-1)
    exact = {"resourceVersion": metadata["resourceVersion"], "resourceVersionMatch": "Exact"}
    for query in ({"continue": metadata["continue"]}, exact, {"resourceVersion": "999999"}):
        assert status_of(await filled.admin.get(ACCOUNT, params=query)) == (410, "Expired"), query
    assert (await page(filled, ACCOUNT))[0] == ["a", "b"]


async def test_a_resource_version_that_makes_no_sense_is_400(filled: World) -> None:
    _, metadata = await page(filled, ACCOUNT, limit=1)
    for query in (
        {"resourceVersion": "x"}, {"resourceVersion": "-1"}, {"resourceVersion": "1" * 19}, {"resourceVersionMatch": "Exact"},
        {"resourceVersion": "1", "resourceVersionMatch": "Newest"}, {"resourceVersion": "0", "resourceVersionMatch": "Exact"},
        {"resourceVersion": "1", "continue": metadata["continue"]},
    ):  # fmt: skip
        assert status_of(await filled.admin.get(ACCOUNT, params=query)) == (400, "BadRequest"), query
    answer = await filled.admin.get(ACCOUNT, params={"sendInitialEvents": "true"})
    assert (status_of(answer), answer.json()["details"]["causes"][0]["field"]) == (
        (422, "Invalid"),
        "sendInitialEvents",
    )


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
    for limit in ("0", "500", "999999999"):
        assert (await page(filled, ACCOUNT, limit=limit))[0] == ["a", "b", "c"]
    for limit in ("", "-1", "x", "1.0", "1" * 10, "\u0663"):
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
    for selector in ({"labelSelector": "a=b"}, {"fieldSelector": "metadata.name=c"}):
        answer = await filled.admin.get(ACCOUNT, params={"continue": cursor, **selector})
        assert status_of(answer) == (400, "BadRequest"), selector
    assert (await page(filled, ACCOUNT, **{"continue": cursor}))[0] == ["b", "c"]


async def test_a_cursor_works_on_every_replica(filled: World, databases: Databases) -> None:
    _, metadata = await page(filled, ACCOUNT, limit=1)
    async with started_world(filled.database_url, databases.bootstrapped, filled.clock) as replica:
        assert (await page(replica, ACCOUNT, **{"continue": metadata["continue"]}))[0] == ["b", "c"]
