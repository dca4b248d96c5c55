"""RFC 8414 section 3 and OpenID Connect Discovery section 4: what is said of the server, and where."""

from collections.abc import Mapping
from typing import Any

import jwt
import pytest
from authlib.oauth2.rfc8414 import AuthorizationServerMetadata
from authlib.oidc.discovery import OpenIDProviderMetadata

from issuer.protocol.authentication import METHODS
from issuer.protocol.grants import GRANTS
from issuer.protocol.metadata import authorization_server_metadata, openid_metadata
from tests.conformance.endpoint import SECRET, Endpoint, Ring, basic

PLAIN = "https://issuer.example"
TENANT = "https://issuer.example/tenant"
DEEP = "https://issuer.example/a/b-c"
ENCODED = "https://issuer.example/ten%20ant"
LOCAL = "http://127.0.0.1:8080"

# Issuer, path of the RFC 8414 document (inserted before the path), path of the OpenID one (appended to it), of the JWKS.
PLACES = {
    PLAIN: (
        "/.well-known/oauth-authorization-server",
        "/.well-known/openid-configuration",
        "/.well-known/jwks.json",
    ),
    TENANT: (
        "/.well-known/oauth-authorization-server/tenant",
        "/tenant/.well-known/openid-configuration",
        "/tenant/.well-known/jwks.json",
    ),
    DEEP: (
        "/.well-known/oauth-authorization-server/a/b-c",
        "/a/b-c/.well-known/openid-configuration",
        "/a/b-c/.well-known/jwks.json",
    ),
    ENCODED: (
        "/.well-known/oauth-authorization-server/ten%20ant",
        "/ten%20ant/.well-known/openid-configuration",
        "/ten%20ant/.well-known/jwks.json",
    ),
    LOCAL: (
        "/.well-known/oauth-authorization-server",
        "/.well-known/openid-configuration",
        "/.well-known/jwks.json",
    ),
}
every_issuer = pytest.mark.parametrize("issuer", PLACES)


@every_issuer
async def test_3_each_document_is_in_its_own_place(ring: Ring, issuer: str) -> None:
    endpoint = Endpoint(ring, issuer=issuer)
    oauth, openid, jwks = [await endpoint.send("GET", path) for path in PLACES[issuer]]
    assert oauth.json() == authorization_server_metadata(issuer)
    assert openid.json() == openid_metadata(issuer, ["RS256"])
    assert len(jwks.json()["keys"]) == 4


@pytest.mark.parametrize("issuer", [TENANT, DEEP])
async def test_3_nothing_answers_in_the_place_of_an_issuer_without_path(ring: Ring, issuer: str) -> None:
    endpoint = Endpoint(ring, issuer=issuer)
    answers = [await endpoint.send("GET", path) for path in (*PLACES[PLAIN], "/oauth2/token")]
    assert [answer.status_code for answer in answers] == [404, 404, 404, 404]


@pytest.mark.parametrize("issuer", [TENANT, DEEP])
async def test_3_neither_document_answers_in_the_place_of_the_other(ring: Ring, issuer: str) -> None:
    endpoint = Endpoint(ring, issuer=issuer)
    path = issuer.removeprefix(PLAIN)
    swapped = [f"{path}/.well-known/oauth-authorization-server", f"/.well-known/openid-configuration{path}"]
    assert [(await endpoint.send("GET", place)).status_code for place in swapped] == [404, 404]


@every_issuer
async def test_3_3_issuer_is_the_url_the_document_was_looked_up_by(ring: Ring, issuer: str) -> None:
    endpoint = Endpoint(ring, issuer=issuer)
    for path in PLACES[issuer][:2]:
        assert (await endpoint.send("GET", path)).json()["issuer"] == issuer


@every_issuer
async def test_3_2_the_endpoints_named_are_where_they_answer(ring: Ring, issuer: str) -> None:
    endpoint = Endpoint(ring, issuer=issuer)
    document = authorization_server_metadata(issuer)
    origin = issuer[: issuer.index("/", 8)] if "/" in issuer[8:] else issuer
    jwks_path, token_path = (document[name].removeprefix(origin) for name in ("jwks_uri", "token_endpoint"))
    headers = [
        ("authorization", basic(endpoint.client_id, SECRET)),
        ("content-type", "application/x-www-form-urlencoded"),
    ]
    token = await endpoint.send("POST", token_path, headers, b"grant_type=client_credentials")
    assert token.status_code == 200
    assert (await endpoint.send("GET", jwks_path)).json()["keys"]


@every_issuer
def test_2_endpoints_are_under_the_issuer(issuer: str) -> None:
    document = authorization_server_metadata(issuer)
    assert document["token_endpoint"] == f"{issuer}/oauth2/token"
    assert document["jwks_uri"] == f"{issuer}/.well-known/jwks.json"


def test_2_grants_and_methods_are_those_of_the_tables() -> None:
    document = authorization_server_metadata(PLAIN)
    assert document["grant_types_supported"] == list(GRANTS)
    assert document["token_endpoint_auth_methods_supported"] == list(METHODS)


def test_2_a_new_row_is_discovered(monkeypatch: pytest.MonkeyPatch) -> None:
    row = next(iter(GRANTS.values()))
    monkeypatch.setattr("issuer.protocol.metadata.GRANTS", {**GRANTS, "urn:example:grant": row})
    assert "urn:example:grant" in authorization_server_metadata(PLAIN)["grant_types_supported"]


def test_2_no_response_types_since_there_is_no_authorization_endpoint() -> None:
    document = authorization_server_metadata(PLAIN)
    assert document["response_types_supported"] == []
    assert "authorization_endpoint" not in document


def faults(document: Mapping[str, Any], kind: type[AuthorizationServerMetadata]) -> list[str]:
    """Members that break Authlib's rules."""
    checked, found = kind(document), []
    for member in kind.REGISTRY_KEYS:
        try:
            getattr(checked, f"validate_{member}")()
        except ValueError:
            found.append(member)
    return found


@pytest.mark.parametrize("issuer", [PLAIN, TENANT, DEEP])
def test_2_authlib_accepts_everything_but_the_empty_response_types(issuer: str) -> None:
    """A deviation documented and asserted: RFC 8414 wants the member, Authlib wants it filled; empty is our truth."""
    assert faults(authorization_server_metadata(issuer), AuthorizationServerMetadata) == ["response_types_supported"]
    assert faults(openid_metadata(issuer, ["RS256"]), OpenIDProviderMetadata) == ["response_types_supported"]


@pytest.mark.parametrize(
    ("wrong", "said"), [("ftp://issuer.example", "https"), ("https://issuer.example?a=b", "query")]
)
def test_2_a_document_that_breaks_authlibs_rules_is_not_made(wrong: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        authorization_server_metadata(wrong)


def test_oidc_3_what_is_said_of_id_tokens() -> None:
    document = openid_metadata(PLAIN, ["RS256"])
    assert document["id_token_signing_alg_values_supported"] == ["RS256"]
    assert document["subject_types_supported"] == ["public"]
    assert "openid" in document["scopes_supported"]


async def test_oidc_3_claims_supported_are_those_of_an_id_token(endpoint: Endpoint) -> None:
    reply = await endpoint.grant(scope="openid")
    claims = jwt.decode(reply.body["id_token"], options={"verify_signature": False})
    assert sorted(claims) == sorted(openid_metadata(PLAIN, ["RS256"])["claims_supported"])


def test_2_nothing_is_promised_that_is_not_served() -> None:
    promised = {name for name in openid_metadata(PLAIN, ["RS256"]) if name.endswith(("_endpoint", "_uri"))}
    assert promised == {"token_endpoint", "jwks_uri"}
