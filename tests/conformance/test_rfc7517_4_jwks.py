"""RFC 7517 sections 4 and 5, RFC 7518 section 6, RFC 7638 section 3: what verifiers are given."""

import json
from pathlib import Path
from typing import Any

import pytest
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey, import_key

from issuer.signing.signer import ALGORITHMS, generate_key
from issuer.web.discovery import public_jwks
from tests.conformance.endpoint import Endpoint
from tests.world import World

VECTORS = Path(__file__).parents[1] / "vectors"
PRIVATE_MEMBERS = {"d", "p", "q", "dp", "dq", "qi", "oth", "k"}
"""RFC 7518 sections 6.2.2, 6.3.2 and 6.4.1; RFC 8037 section 2."""

PRIVATE_KEYS: dict[str, Any] = {
    "EC P-256": lambda: ECKey.generate_key("P-256", private=True),
    "EC P-384": lambda: ECKey.generate_key("P-384", private=True),
    "EC P-521": lambda: ECKey.generate_key("P-521", private=True),
    "RSA": lambda: RSAKey.generate_key(2048, private=True),
    "OKP Ed25519": lambda: OKPKey.generate_key("Ed25519", private=True),
    "OKP X25519": lambda: OKPKey.generate_key("X25519", private=True),
}


@pytest.mark.parametrize("make", PRIVATE_KEYS.values(), ids=PRIVATE_KEYS.keys())
def test_no_private_member_leaves_even_if_a_private_key_was_stored_as_a_public_one(make: Any) -> None:
    """CVE-2026-40965: UAA published the private half of EC keys."""
    private = make().as_dict(private=True)
    assert PRIVATE_MEMBERS & private.keys(), "the case must be able to fail"
    (published,) = public_jwks({"k": {**private, "kid": "k", "use": "sig", "alg": "any"}})["keys"]
    assert not PRIVATE_MEMBERS & published.keys()
    assert not {private[name] for name in PRIVATE_MEMBERS & private.keys()} & set(published.values())
    assert import_key(published).thumbprint() == import_key(private).thumbprint(), "and the public half is whole"


@pytest.mark.parametrize("member", ["oth", "x5c", "x5u", "key_ops", "ext", "iat", "secret"])
def test_members_that_are_not_listed_do_not_leave(member: str) -> None:
    public = generate_key("RS256").public_jwk
    assert public_jwks({"k": {**public, member: "anything"}}) == {"keys": [dict(public)]}


def test_a_symmetric_key_is_never_published() -> None:
    secret = OctKey.generate_key(256).as_dict(private=True)
    with pytest.raises(KeyError, match="oct"):
        public_jwks({"k": {**secret, "kid": "k"}})


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_4_use_alg_and_kid_are_present(algorithm: str) -> None:
    generated = generate_key(algorithm)
    (published,) = public_jwks({generated.kid: generated.public_jwk})["keys"]
    assert (published["use"], published["alg"]) == ("sig", ALGORITHMS[algorithm].jose_name)
    assert published["kid"] == generated.kid


EXPECTED_MEMBERS = {
    "ES256": {"kty", "crv", "x", "y", "kid", "use", "alg"},
    "RS256": {"kty", "n", "e", "kid", "use", "alg"},
    "Ed25519": {"kty", "crv", "x", "kid", "use", "alg"},
}


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_6_members_of_a_public_key(algorithm: str) -> None:
    generated = generate_key(algorithm)
    (published,) = public_jwks({generated.kid: generated.public_jwk})["keys"]
    assert set(published) == EXPECTED_MEMBERS[algorithm]


@pytest.mark.parametrize(("file", "member"), [("rfc7638-3.1.json", "jwk"), ("rfc8037-a.json", "private_jwk")])
def test_rfc7638_3_thumbprint_vectors(file: str, member: str) -> None:
    """What joserfc calls a thumbprint is what the RFCs print."""
    vector = json.loads((VECTORS / file).read_text())
    assert import_key(vector[member]).thumbprint() == vector["thumbprint"]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_rfc7638_kid_is_the_thumbprint_of_the_public_key(algorithm: str) -> None:
    generated = generate_key(algorithm)
    required = {name: value for name, value in generated.public_jwk.items() if name not in {"kid", "use", "alg"}}
    assert generated.kid == import_key(required).thumbprint()


async def test_5_media_type_of_a_jwk_set(endpoint: Endpoint) -> None:
    """RFC 7517 section 8.5.2."""
    answer = await endpoint.send("GET", "/.well-known/jwks.json")
    assert answer.headers["content-type"] == "application/jwk-set+json"


async def test_5_a_bootstrapped_issuer_publishes_an_active_and_a_pending_key_of_each_keyset(world: World) -> None:
    keys = (await world.public.get("/.well-known/jwks.json")).json()["keys"]
    assert sorted(key["alg"] for key in keys) == ["ES256", "ES256", "RS256", "RS256"]
    assert len({key["kid"] for key in keys}) == 4
    assert all(not PRIVATE_MEMBERS & key.keys() for key in keys)
    assert all(key["kid"] == import_key(key).thumbprint() and key["use"] == "sig" for key in keys)


async def test_5_the_key_that_signs_is_published_before_its_first_token(world: World) -> None:
    snapshot = world.issuer.reloader.snapshot()
    assert snapshot is not None
    assert {signer.kid for signer in snapshot.signers.values()} < set(snapshot.published)
