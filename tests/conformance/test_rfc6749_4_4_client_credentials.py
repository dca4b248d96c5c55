"""RFC 6749 section 4.4: the client credentials grant."""

import pytest

from tests.conformance.endpoint import Endpoint


async def test_4_4_2_grant_type_client_credentials(endpoint: Endpoint) -> None:
    assert (await endpoint.ask({"grant_type": "client_credentials"})).status == 200


async def test_4_4_2_grant_type_is_required(endpoint: Endpoint) -> None:
    refused = await endpoint.ask({"scope": "api:read"})
    assert (refused.error, endpoint.cause()) == ((400, "invalid_request"), "grant_type_missing")


@pytest.mark.parametrize(
    "grant_type",
    [
        "password",
        "authorization_code",
        "refresh_token",
        "implicit",
        "urn:ietf:params:oauth:grant-type:jwt-bearer",
        "urn:ietf:params:oauth:grant-type:token-exchange",
        "Client_Credentials",
        " client_credentials",
        "client_credentials\n",
        "ü",
    ],
)
async def test_5_2_a_grant_without_a_row_is_unsupported(endpoint: Endpoint, grant_type: str) -> None:
    refused = await endpoint.ask({"grant_type": grant_type})
    assert refused.error == (400, "unsupported_grant_type")


async def test_4_4_2_the_client_must_authenticate(endpoint: Endpoint) -> None:
    assert (await endpoint.ask(authorization=None)).error == (401, "invalid_client")


async def test_4_4_3_a_refresh_token_should_not_be_included(endpoint: Endpoint) -> None:
    reply = await endpoint.grant(scope="openid api:read")
    assert "refresh_token" not in reply.body


async def test_4_4_3_two_requests_are_two_answers_of_the_same_kind(endpoint: Endpoint) -> None:
    first, second = await endpoint.grant(), await endpoint.grant()
    assert first.body.keys() == second.body.keys()
    assert first.body["access_token"] != second.body["access_token"], "ES256 signatures are randomised"
