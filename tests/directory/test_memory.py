"""What is kept of an account: nothing that no token depends on, and what accounts have in common only once."""

from issuer.model.resource import Resource
from tests.world import World


async def _kept(world: World, name: str) -> Resource:
    client = await world.account(name, labels={"tier": "critical"}, claims={"team": "ledger"})
    account = await world.issuer.directory.account(client.client_id)
    assert account is not None
    return account.resource


async def test_status_is_not_kept(world: World) -> None:
    assert (await _kept(world, "api")).status == {}


async def test_everything_a_policy_may_look_at_is_kept(world: World) -> None:
    kept = await _kept(world, "api")
    answer = (await world.admin.get("/apis/auth.nauthera.io/v1alpha1/namespaces/payments/serviceaccounts/api")).json()
    assert {"metadata": kept.to_json()["metadata"], "spec": kept.spec} == {
        "metadata": answer["metadata"],
        "spec": answer["spec"],
    }


async def test_texts_that_accounts_have_in_common_are_kept_once(world: World) -> None:
    one, other = [await _kept(world, name) for name in ("one", "other")]
    assert one.namespace is other.namespace
    assert [id(scope) for scope in one.spec["scopes"]] == [id(scope) for scope in other.spec["scopes"]]
    assert {id(key) for key in one.spec} == {id(key) for key in other.spec}
    assert one.spec["claims"]["team"] is other.spec["claims"]["team"]


async def test_accounts_from_which_nothing_is_withheld_share_that_nothing(world: World) -> None:
    snapshot = world.issuer.reloader.snapshot()
    client = await world.account("api")
    account = await world.issuer.directory.account(client.client_id)
    assert snapshot is not None
    assert account is not None
    governed = account.under(snapshot.governance).governed
    assert len({id(each) for each in (governed.scopes, governed.audiences, governed.methods, governed.missing)}) == 1
