"""security-cases.md section 4c: nobody but the issuer writes what identifies, limits or authorises."""

import pytest

from issuer.model.claims import AUTHORIZATION_CLAIMS, RESERVED_CLAIMS
from issuer.model.faults import Fault
from issuer.signing.ticket import TokenIdentity, prepare_access_token, prepare_id_token
from tests.conformance.endpoint import Endpoint
from tests.governance import builders

NAMED_BY_THE_DESIGN = {
    *("iss", "sub", "aud", "exp", "nbf", "iat", "jti", "client_id", "scope", "cnf", "act", "may_act", "auth_time"),
    *("acr", "amr", "azp", "nonce", "at_hash", "sid", "status", "txn", "events", "sub_id", "scp", "token_use"),
    *("authorization_details", "kubernetes.io"),
}


def test_the_reserved_names_are_those_of_the_design() -> None:
    assert RESERVED_CLAIMS == NAMED_BY_THE_DESIGN


@pytest.mark.parametrize(
    "name",
    sorted(
        RESERVED_CLAIMS
        | AUTHORIZATION_CLAIMS
        | {"auth.nauthera.io", "auth.nauthera.io/namespace", "auth.nauthera.io.type"}
    ),
)
def test_an_account_cannot_write_a_reserved_claim(endpoint: Endpoint, name: str) -> None:
    """CVE-2026-16102, rauthy #1597 and #1604."""
    with pytest.raises(Fault) as caught:
        endpoint.add(name="other", claims={name: "x"})
    assert all(cause.field.startswith("spec.claims") for cause in caught.value.causes)


SET_BY_THE_ISSUER = ["iss", "sub", "aud", "exp", "iat", "jti", "client_id", "scope", "auth.nauthera.io"]


@pytest.mark.parametrize("name", SET_BY_THE_ISSUER)
def test_even_if_stored_state_says_otherwise_the_issuers_claims_are_the_issuers(name: str) -> None:
    allowed = builders.allowed(builders.grant(claims={name: "evil"}), ("a",), "https://a", 600)
    identity = TokenIdentity("https://issuer.example", "j", 0, "secret/1")
    assert prepare_access_token(allowed, identity).redeem()[name] != "evil"
    assert "evil" not in prepare_id_token(allowed, identity).redeem().values()


def test_static_claims_do_not_reach_the_id_token() -> None:
    allowed = builders.allowed(builders.grant(claims={"env": "prod"}), ("a",), "https://a", 600)
    claims = prepare_id_token(allowed, TokenIdentity("https://issuer.example", "j", 0, "secret/1")).redeem()
    assert set(claims) == {"iss", "sub", "aud", "exp", "iat", "jti"}
