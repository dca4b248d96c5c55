"""RFC 9068 section 2: the access token, read by two verifiers that are not ours, and pinned byte for byte."""

import json
from base64 import urlsafe_b64decode
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import jwt
import pytest
from joserfc import jwk
from joserfc import jwt as joserfc_jwt

from issuer.policy.decide import Allowed
from issuer.signing.signer import ALGORITHMS, Signer, generate_key
from issuer.signing.ticket import TokenIdentity, prepare_access_token, prepare_id_token
from tests.conformance.endpoint import API, ISSUER, NOW, Endpoint
from tests.governance import builders

VECTORS = Path(__file__).parents[1] / "vectors"
ISSUED_AT = int(NOW.timestamp())


def vector(name: str) -> dict[str, Any]:
    return cast("dict[str, Any]", json.loads((VECTORS / name).read_text()))


def segment(token: str, number: int) -> bytes:
    text = token.split(".")[number]
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


async def token_of(endpoint: Endpoint, **form: str) -> str:
    return str((await endpoint.grant(**form)).body["access_token"])


# --- golden bytes -----------------------------------------------------------------------------------------------------


def golden_signer(golden: dict[str, Any]) -> Signer:
    """The private key of RFC 8037 appendix A.1: Ed25519 signatures are deterministic, so a whole token can be pinned."""
    key = jwk.OKPKey.import_key(vector(golden["key"])["private_jwk"])
    return Signer(vector(golden["key"])["thumbprint"], "Ed25519", key.as_pem(private=True))


def golden_allowed(golden: dict[str, Any]) -> Allowed:
    given = golden["allowed"]
    grant = builders.grant(
        uid=given["uid"],
        client_id=f"sa-{given['uid']}",
        namespace="payments",
        name="payment-service",
        scopes=("api:payments", "openid"),
        default_scopes=None,
        audiences=(given["audience"],),
        ttl_s=300,
        claims=given["claims"],
    )
    return builders.allowed(grant, ("api:payments", "openid"), given["audience"], 300)


@pytest.mark.parametrize(
    ("name", "prepare"),
    [("access-token.json", prepare_access_token), ("id-token.json", prepare_id_token)],
    ids=["access token", "ID token"],
)
def test_our_own_token_byte_for_byte(name: str, prepare: Any) -> None:
    golden = vector(name)
    token = golden_signer(golden).sign(prepare(golden_allowed(golden), TokenIdentity(**golden["identity"])))
    assert segment(token, 0).decode() == golden["header"]
    assert segment(token, 1).decode() == golden["payload"]
    assert token == golden["compact"]


# --- the header -------------------------------------------------------------------------------------------------------


async def test_2_1_typ_is_at_jwt(endpoint: Endpoint) -> None:
    assert jwt.get_unverified_header(await token_of(endpoint))["typ"] == "at+jwt"


async def test_2_1_header_names_algorithm_type_and_key_and_nothing_else(endpoint: Endpoint) -> None:
    header = jwt.get_unverified_header(await token_of(endpoint))
    assert header == {"alg": "ES256", "typ": "at+jwt", "kid": endpoint.snapshot.signers["default"].kid}


@pytest.mark.filterwarnings("ignore:EdDSA is deprecated via RFC 9864")
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_2_1_every_algorithm_signs_what_both_verifiers_read(algorithm: str) -> None:
    generated = generate_key(algorithm)
    golden = vector("access-token.json")
    signer = Signer(generated.kid, algorithm, generated.private_pem)
    token = signer.sign(prepare_access_token(golden_allowed(golden), TokenIdentity(**golden["identity"])))
    jose_name = ALGORITHMS[algorithm].jose_name
    by_joserfc = joserfc_jwt.decode(token, jwk.import_key(dict(generated.public_jwk)), algorithms=[jose_name])
    options: Any = {"verify_exp": False}
    by_pyjwt = jwt.decode(
        token,
        jwt.PyJWK.from_dict(dict(generated.public_jwk)),
        algorithms=[jose_name],
        audience=golden["allowed"]["audience"],
        options=options,
    )
    assert by_joserfc.header == {"alg": jose_name, "typ": "at+jwt", "kid": generated.kid}
    assert by_pyjwt == by_joserfc.claims == json.loads(golden["payload"])


async def test_4_a_resource_server_verifies_with_pyjwt_and_the_jwks_alone(endpoint: Endpoint) -> None:
    jwks = (await endpoint.send("GET", "/.well-known/jwks.json")).json()
    token = await token_of(endpoint)
    key = jwt.PyJWKSet.from_dict(jwks)[jwt.get_unverified_header(token)["kid"]]
    options: Any = {"verify_exp": False, "verify_iat": False, "require": ["iss", "sub", "aud", "exp", "iat", "jti"]}
    claims = jwt.decode(token, key, algorithms=["ES256"], audience=API, issuer=ISSUER, options=options)
    assert claims["sub"] == endpoint.client_id


async def test_4_a_resource_server_verifies_with_joserfc_and_the_jwks_alone(endpoint: Endpoint) -> None:
    jwks = (await endpoint.send("GET", "/.well-known/jwks.json")).json()
    token = joserfc_jwt.decode(await token_of(endpoint), jwk.KeySet.import_key_set(jwks), algorithms=["ES256"])
    registry = joserfc_jwt.JWTClaimsRegistry(
        now=ISSUED_AT,
        iss={"essential": True, "value": ISSUER},
        aud={"essential": True, "value": API},
        sub={"essential": True, "value": endpoint.client_id},
        exp={"essential": True},
        iat={"essential": True},
        jti={"essential": True},
        client_id={"essential": True, "value": endpoint.client_id},
    )
    registry.validate(token.claims)


# --- the claims -------------------------------------------------------------------------------------------------------


async def claims_of(endpoint: Endpoint, **form: str) -> dict[str, Any]:
    return cast("dict[str, Any]", json.loads(segment(await token_of(endpoint, **form), 1)))


async def test_2_2_exactly_these_claims(endpoint: Endpoint) -> None:
    account = endpoint.account(endpoint.client_id)
    assert await claims_of(endpoint, scope="api:read") == {
        "iss": ISSUER,
        "sub": endpoint.client_id,
        "aud": API,
        "exp": ISSUED_AT + 600,
        "iat": ISSUED_AT,
        "jti": "a-token-id",
        "client_id": endpoint.client_id,
        "scope": "api:read",
        "auth.nauthera.io": {
            "namespace": "payments",
            "serviceaccount": {"name": "api", "uid": str(account.resource.uid)},
            "type": "service",
            "credential": "secret/1",
        },
    }


async def test_2_2_sub_is_the_client_id_where_no_resource_owner_is_involved(endpoint: Endpoint) -> None:
    claims = await claims_of(endpoint)
    assert claims["sub"] == claims["client_id"] == endpoint.client_id


async def test_2_2_aud_is_one_string(endpoint: Endpoint) -> None:
    assert type((await claims_of(endpoint))["aud"]) is str


async def test_2_2_times_are_whole_seconds_and_expires_in_says_the_same(endpoint: Endpoint) -> None:
    endpoint.now = NOW.replace(microsecond=999_999)
    reply = await endpoint.grant()
    claims = json.loads(segment(reply.body["access_token"], 1))
    assert (type(claims["iat"]), claims["iat"]) == (int, ISSUED_AT)
    assert claims["exp"] - claims["iat"] == reply.body["expires_in"]


async def test_no_nbf_since_a_verifier_a_little_behind_would_refuse_a_fresh_token(endpoint: Endpoint) -> None:
    assert "nbf" not in await claims_of(endpoint)


async def test_2_2_3_scope_claim_is_the_scope_granted(endpoint: Endpoint) -> None:
    reply = await endpoint.grant(scope="api:write api:read")
    assert json.loads(segment(reply.body["access_token"], 1))["scope"] == reply.body["scope"] == "api:write api:read"


async def test_static_claims_of_the_account_are_in_the_token(endpoint: Endpoint) -> None:
    endpoint.client_id = endpoint.add(name="other", claims={"https://example.com/team": "payments", "env": "prüf"})
    claims = await claims_of(endpoint)
    assert (claims["https://example.com/team"], claims["env"]) == ("payments", "prüf")


async def test_the_type_of_the_account_is_in_the_token_so_that_agents_can_be_told_apart(endpoint: Endpoint) -> None:
    endpoint.client_id = endpoint.add(name="other", type="agent")
    assert (await claims_of(endpoint))["auth.nauthera.io"]["type"] == "agent"


async def test_the_credential_in_the_token_is_the_version_that_was_presented(endpoint: Endpoint) -> None:
    client_id = endpoint.add(name="other", secrets=["older", "newer"])
    named = []
    for secret in ("older", "newer"):
        reply = await endpoint.ask(
            {"grant_type": "client_credentials", "client_id": client_id, "client_secret": secret}, authorization=None
        )
        named.append(json.loads(segment(reply.body["access_token"], 1))["auth.nauthera.io"]["credential"])
    assert named == ["secret/1", "secret/2"]


async def test_5_a_token_for_an_audience_with_its_own_keyset_is_signed_by_that_one(endpoint: Endpoint) -> None:
    endpoint.snapshot = replace(endpoint.snapshot, keyset_by_audience={API: "rs256"})
    assert jwt.get_unverified_header(await token_of(endpoint))["alg"] == "RS256"
    assert jwt.get_unverified_header(await token_of(endpoint, resource="https://ledger.example"))["alg"] == "ES256"
