"""Parameters of a query: one that cannot be understood is refused, wherever guessing could do harm."""

import pytest

from issuer.web.parameters import switch
from tests.administration.paths import ACCOUNT, status_of
from tests.world import NAMESPACES, SCOPES, World


@pytest.mark.parametrize(
    "query",
    [
        "watch=yes",
        "watch=",
        "allowWatchBookmarks=2",
        "timeoutSeconds=soon",
        "timeoutSeconds=-1",
        "timeoutSeconds=",
        "limit=many",
        "limit=",
        "resourceVersion=x",
        "resourceVersionMatch=Newer&resourceVersion=1",
        "resourceVersionMatch=&resourceVersion=1",
    ],
)
async def test_a_list_does_not_guess_what_its_query_means(world: World, query: str) -> None:
    answer = await world.admin.get(f"{NAMESPACES}?{query}")
    assert status_of(answer) == (400, "BadRequest")
    assert query.partition("=")[0] in answer.json()["message"]


async def test_an_empty_resource_version_is_none_as_kubernetes_has_it(world: World) -> None:
    assert (await world.admin.get(f"{NAMESPACES}?resourceVersion=")).json()["kind"] == "NamespaceList"


async def test_a_switch_is_read_as_json_and_as_pythons_clients_write_it(world: World) -> None:
    for off in ("false", "False", "0"):
        assert (await world.admin.get(f"{NAMESPACES}?watch={off}")).json()["kind"] == "NamespaceList"
    assert [switch(on, "watch") for on in ("true", "True", "1")] == [True] * 3


async def test_a_dry_run_that_is_misspelt_writes_nothing(world: World) -> None:
    for value in ("", "all", "true"):
        answer = await world.admin.post(
            f"{SCOPES}?dryRun={value}", json={"metadata": {"name": "x"}, "spec": {"scope": "x"}}
        )
        assert status_of(answer) == (400, "BadRequest")
    assert status_of(await world.admin.get(f"{SCOPES}/x")) == (404, "NotFound")


async def test_a_deletion_with_options_that_are_none_does_not_happen(world: World) -> None:
    client = await world.account()
    for body in ("[]", '"All"', "false", "0"):
        answer = await world.admin.request("DELETE", client.path, content=body)
        assert status_of(answer) == (400, "BadRequest"), body
    assert (await world.admin.get(client.path)).status_code == 200


async def test_force_is_no_guess_either(world: World) -> None:
    client = await world.account()
    answer = await world.admin.delete(f"{client.path}?force=yes")
    assert status_of(answer) == (400, "BadRequest")
    assert "force must be true or false" in answer.json()["message"]
    assert (await world.admin.get(ACCOUNT)).json()["items"] != []
