"""OpenID Connect Core section 2, as far as a client without end users needs it (DESIGN section 6)."""

from dataclasses import replace
from typing import Any

import jwt
import pytest
from joserfc import jwk
from joserfc import jwt as joserfc_jwt

from issuer.model.scopes import ADMIN_AUDIENCE
from tests.conformance.endpoint import ISSUER, NOW, Endpoint
from tests.world import ACCOUNTS, World


async def id_token_of(endpoint: Endpoint) -> str:
    return str((await endpoint.grant(scope="openid api:read")).body["id_token"])


async def test_only_when_openid_was_granted(endpoint: Endpoint) -> None:
    assert "id_token" in (await endpoint.grant(scope="openid")).body
    assert "id_token" not in (await endpoint.grant(scope="api:read")).body


async def test_never_by_default(endpoint: Endpoint) -> None:
    assert "openid" in endpoint.account(endpoint.client_id).resource.spec["scopes"]
    reply = await endpoint.grant()
    assert "openid" not in reply.body["scope"].split()
    assert "id_token" not in reply.body


async def test_not_for_an_account_that_does_not_hold_openid(endpoint: Endpoint) -> None:
    endpoint.client_id = endpoint.add(name="other", scopes=["api:read"])
    assert (await endpoint.grant(scope="openid")).error == (400, "invalid_scope")


async def test_signed_with_rs256_by_a_published_key(endpoint: Endpoint) -> None:
    """OpenID Connect Core section 3.1.3.7: the default every client library checks."""
    token = await id_token_of(endpoint)
    header = jwt.get_unverified_header(token)
    assert header == {"alg": "RS256", "typ": "JWT", "kid": endpoint.snapshot.signers["rs256"].kid}
    jwks = (await endpoint.send("GET", "/.well-known/jwks.json")).json()
    read = joserfc_jwt.decode(token, jwk.KeySet.import_key_set(jwks), algorithms=["RS256"])
    assert read.claims["sub"] == endpoint.client_id


async def test_2_claims(endpoint: Endpoint) -> None:
    issued_at = int(NOW.timestamp())
    claims = jwt.decode(await id_token_of(endpoint), options={"verify_signature": False})
    assert claims == {
        "iss": ISSUER,
        "sub": endpoint.client_id,
        "aud": endpoint.client_id,
        "exp": issued_at + 600,
        "iat": issued_at,
        "jti": "a-token-id",
    }


async def test_lives_as_long_as_the_access_token(endpoint: Endpoint) -> None:
    endpoint.client_id = endpoint.add(name="other", tokenSettings={"accessTokenTTL": "77s"})
    reply = await endpoint.grant(scope="openid api:read")
    tokens = [reply.body[name] for name in ("access_token", "id_token")]
    access, identity = (jwt.decode(token, options={"verify_signature": False}) for token in tokens)
    assert access["exp"] == identity["exp"]
    assert identity["exp"] - identity["iat"] == 77


async def test_without_an_active_key_for_it_there_is_no_answer_rather_than_half_of_one(endpoint: Endpoint) -> None:
    signers = {name: signer for name, signer in endpoint.snapshot.signers.items() if name != "rs256"}
    endpoint.snapshot = replace(endpoint.snapshot, signers=signers)
    assert (await endpoint.grant(scope="openid")).error == (503, "temporarily_unavailable")
    assert (await endpoint.grant(scope="api:read")).status == 200


@pytest.mark.parametrize("audience", [None, ADMIN_AUDIENCE])
async def test_an_id_token_is_no_access_token_for_the_admin_api(world: World, audience: str | None) -> None:
    spec: dict[str, Any] = {
        "scopes": ["issuer:admin", "openid"],
        "audiences": [ADMIN_AUDIENCE],
        "justification": "a test",
    }
    client = await world.account("reader", "issuer-system", **spec)
    form = {"scope": "issuer:admin openid", **({"resource": audience} if audience else {})}
    tokens = (await client.token(**form)).json()
    path = ACCOUNTS.format(namespace="issuer-system")
    statuses = [
        (await world.anonymous.get(path, headers={"authorization": f"Bearer {tokens[name]}"})).status_code
        for name in ("access_token", "id_token")
    ]
    assert statuses == [200, 401]
