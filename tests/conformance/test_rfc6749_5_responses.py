"""RFC 6749 section 5: what the token endpoint sends back."""

import json
import re

import pytest

from issuer.failures import Failure
from issuer.protocol.response import refusal_answer
from tests.conformance.endpoint import SECRET, Endpoint, basic

DESCRIPTION = re.compile(r"[\x20-\x21\x23-\x5b\x5d-\x7e]+")
"""RFC 6749 section 5.2: characters of `error` and `error_description`."""

# RFC 6749 section 5.2, RFC 8707 section 2, RFC 6749 section 4.1.2.1 for the last one.
CODES = {
    "invalid_request",
    "invalid_client",
    "unauthorized_client",
    "unsupported_grant_type",
    "invalid_scope",
    "invalid_target",
    "temporarily_unavailable",
}


async def test_5_1_success_has_exactly_these_members(endpoint: Endpoint) -> None:
    reply = await endpoint.grant()
    assert (reply.status, set(reply.body)) == (200, {"access_token", "token_type", "expires_in", "scope"})


async def test_5_1_token_type_is_bearer(endpoint: Endpoint) -> None:
    assert (await endpoint.grant()).body["token_type"] == "Bearer"


@pytest.mark.parametrize(("ttl", "seconds"), [("10s", 10), ("5m", 300), ("1h30m", 5400), ("24h", 86_400)])
async def test_5_1_expires_in_is_a_number_of_seconds(endpoint: Endpoint, ttl: str, seconds: int) -> None:
    endpoint.client_id = endpoint.add(name="other", tokenSettings={"accessTokenTTL": ttl})
    expires_in = (await endpoint.grant()).body["expires_in"]
    assert (expires_in, type(expires_in)) == (seconds, int)


NO_STORE = {"cache-control": "no-store", "pragma": "no-cache", "content-type": "application/json"}


@pytest.mark.parametrize("name", NO_STORE)
async def test_5_1_must_include_no_store_on_success(endpoint: Endpoint, name: str) -> None:
    assert (await endpoint.grant()).headers[name] == NO_STORE[name]


@pytest.mark.parametrize("name", NO_STORE)
@pytest.mark.parametrize("failure", Failure, ids=lambda failure: failure.name.lower())
def test_5_2_refusals_are_not_stored_either(failure: Failure, name: str) -> None:
    headers = {key.decode(): value.decode() for key, value in refusal_answer(failure).headers}
    assert headers[name] == NO_STORE[name]


@pytest.mark.parametrize("failure", Failure, ids=lambda failure: failure.name.lower())
def test_5_2_every_refusal_is_code_and_description_of_permitted_characters(failure: Failure) -> None:
    body = json.loads(refusal_answer(failure).body)
    assert set(body) == {"error", "error_description"}
    assert body["error"] in CODES
    assert DESCRIPTION.fullmatch(body["error_description"])


STATUS = {
    "invalid_request": {400, 405, 413},
    "invalid_client": {401},
    "unauthorized_client": {400},
    "unsupported_grant_type": {400},
    "invalid_scope": {400},
    "invalid_target": {400},
    "temporarily_unavailable": {429, 503},
}


@pytest.mark.parametrize("failure", Failure, ids=lambda failure: failure.name.lower())
def test_5_2_status_of_every_refusal(failure: Failure) -> None:
    assert refusal_answer(failure).status in STATUS[failure.code]


def test_5_2_only_method_and_size_have_a_status_of_their_own() -> None:
    special = {failure for failure in Failure if refusal_answer(failure).status in {405, 413}}
    assert special == {Failure.METHOD_NOT_POST, Failure.BODY_TOO_LARGE}


@pytest.mark.parametrize("failure", Failure, ids=lambda failure: failure.name.lower())
def test_5_2_headers_that_belong_to_a_status(failure: Failure) -> None:
    """401 MUST carry WWW-Authenticate (RFC 9110 section 15.5.2), 405 Allow, and every 503 of ours Retry-After."""
    answer = refusal_answer(failure)
    names = {name for name, _ in answer.headers}
    assert (b"www-authenticate" in names) == (answer.status == 401)
    assert (b"allow" in names) == (answer.status == 405)
    assert (b"retry-after" in names) == (answer.status == 503)


async def test_5_2_must_answer_with_the_scheme_the_client_used(endpoint: Endpoint) -> None:
    refused = await endpoint.ask(authorization=basic(endpoint.client_id, "wrong"))
    assert refused.headers["www-authenticate"] == 'Basic realm="issuer", charset="UTF-8"'


def test_5_2_every_failed_authentication_has_the_same_public_side() -> None:
    answers = {refusal_answer(failure) for failure in Failure if failure.code == "invalid_client"}
    assert len(answers) == 1


def test_5_2_causes_stay_distinct_in_the_record() -> None:
    names = [failure.name for failure in Failure if failure.code == "invalid_client"]
    assert {"CLIENT_UNKNOWN", "SECRET_WRONG", "ACCOUNT_DISABLED", "ACCOUNT_EXPIRED"} <= set(names)
    assert len({Failure[name] for name in names}) == len(names)


async def test_5_2_a_server_error_is_oauth_json_without_a_word_of_the_cause(
    endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("canary in the message")

    monkeypatch.setattr("issuer.issuance.decide", broken)
    reply = await endpoint.grant()
    assert reply.error == (500, "server_error")
    assert reply.headers["cache-control"] == "no-store"
    assert "canary" not in f"{reply} {endpoint.events}"


@pytest.mark.parametrize("wrong", [{"scope": "not-held"}, {"resource": "https://nobody.example"}, {"scope": '"'}])
async def test_5_2_a_description_never_repeats_what_was_sent(endpoint: Endpoint, wrong: dict[str, str]) -> None:
    refused = await endpoint.grant(**wrong)
    assert refused.status == 400
    assert all(value not in refused.body["error_description"] for value in wrong.values())


async def test_5_2_authentication_comes_before_any_question_about_the_account(endpoint: Endpoint) -> None:
    """A stranger learns nothing about scopes or audiences from the order of the answers."""
    form = {"grant_type": "client_credentials", "scope": "not-held", "resource": "https://nobody.example"}
    stranger = await endpoint.ask(form, authorization=basic(endpoint.client_id, "wrong"))
    assert stranger.error == (401, "invalid_client")
    client = await endpoint.ask(form, authorization=basic(endpoint.client_id, SECRET))
    assert client.error[0] == 400
