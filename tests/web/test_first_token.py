"""The main job, once, through both ports."""

import jwt

from tests.world import World


async def test_an_account_gets_a_token_that_its_jwks_verifies(world: World) -> None:
    client = await world.account(scopes=["api:payments", "api:ledger:read"], tokenSettings={"accessTokenTTL": "5m"})
    answer = await client.token()
    assert answer.status_code == 200
    body = answer.json()
    assert (body["token_type"], body["expires_in"], body["scope"]) == ("Bearer", 300, "api:payments api:ledger:read")
    jwks = jwt.PyJWKSet.from_dict((await world.public.get("/.well-known/jwks.json")).json())
    key = jwks[jwt.get_unverified_header(body["access_token"])["kid"]]
    claims = jwt.decode(body["access_token"], key, algorithms=["ES256"], audience=world.foundation.issuer, leeway=5)
    assert claims["sub"] == claims["client_id"] == client.client_id
