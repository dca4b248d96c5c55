"""What an account asked for last is answered from memory: as it would be decided, whatever changes between."""

from datetime import timedelta

from issuer.issuance import MAX_ASKED_BYTES
from tests.record.test_recorder import claims_of
from tests.world import Client, World

POLICIES = "/apis/auth.nauthera.io/v1alpha1/clusterauthpolicies"


def remembered(client: Client) -> bool:
    account = client.world.issuer.directory.recall(client.client_id)
    assert account is not None
    return account.answered is not None


async def test_the_same_question_again_is_the_same_token_but_for_its_times_and_id(world: World) -> None:
    client = await world.account(scopes=["api:read", "api:write"])
    first, second = [claims_of(await client.token(scope="api:read")) for _ in range(2)]
    assert remembered(client)
    assert first.pop("jti") != second.pop("jti")
    assert first == second
    assert first["scope"] == "api:read"


async def test_another_question_has_its_own_answer(world: World) -> None:
    client = await world.account(scopes=["api:read", "api:write"], audiences=["https://a.example", "https://b.example"])
    for _ in range(2):
        assert claims_of(await client.token(scope="api:read"))["scope"] == "api:read"
        assert claims_of(await client.token(scope="api:write"))["scope"] == "api:write"
        assert claims_of(await client.token())["scope"] == "api:read api:write"
        assert claims_of(await client.token(resource="https://b.example"))["aud"] == "https://b.example"
        assert claims_of(await client.token(audience="https://a.example"))["aud"] == "https://a.example"
        assert (await client.token(scope="api:admin")).status_code == 400


async def test_a_policy_is_in_force_at_the_next_question(world: World) -> None:
    client = await world.account(scopes=["api:read", "api:write"])
    assert claims_of(await client.token())["scope"] == "api:read api:write"
    policy = {"metadata": {"name": "less"}, "spec": {"scopes": {"denied": ["api:write"]}}}
    assert (await world.admin.post(POLICIES, json=policy)).status_code == 201
    assert claims_of(await client.token())["scope"] == "api:read"
    assert (await world.admin.delete(f"{POLICIES}/less")).is_success
    assert claims_of(await client.token())["scope"] == "api:read api:write"


async def test_an_answer_that_time_changes_is_not_kept(world: World) -> None:
    ends = world.clock.now() + timedelta(minutes=8)
    client = await world.account(expiresAt=f"{ends:%Y-%m-%dT%H:%M:%SZ}")
    first = claims_of(await client.token())
    world.clock.advance(minutes=5)
    second = claims_of(await client.token())
    assert first["exp"] == second["exp"]
    assert not remembered(client)


async def test_a_long_question_is_not_kept(world: World) -> None:
    client = await world.account()
    assert (await client.token(scope=" ".join(["api:read"] * MAX_ASKED_BYTES))).status_code == 200
    assert not remembered(client)


async def test_a_question_that_was_refused_is_not_kept(world: World) -> None:
    """It may be a secret in the wrong field."""
    client = await world.account()
    assert (await client.token(scope=client.secret)).status_code == 400
    assert not remembered(client)
