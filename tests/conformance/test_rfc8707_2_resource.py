"""RFC 8707 section 2: the `resource` parameter, and `audience`, its alias by habit of Hydra and Auth0 users."""

import jwt
import pytest

from tests.conformance.endpoint import API, ISSUER, Endpoint

LEDGER = "https://ledger.example"
GRANT = ("grant_type", "client_credentials")


def audience_of(token: str) -> object:
    return jwt.decode(token, options={"verify_signature": False})["aud"]


async def test_2_resource_becomes_the_audience(endpoint: Endpoint) -> None:
    assert audience_of((await endpoint.grant(resource=LEDGER)).body["access_token"]) == LEDGER


async def test_2_without_resource_the_first_audience_of_the_account(endpoint: Endpoint) -> None:
    assert audience_of((await endpoint.grant()).body["access_token"]) == API


async def test_2_an_account_without_audiences_has_the_servers_default(endpoint: Endpoint) -> None:
    endpoint.client_id = endpoint.add(name="other")
    assert audience_of((await endpoint.grant()).body["access_token"]) == ISSUER
    assert audience_of((await endpoint.grant(resource=ISSUER)).body["access_token"]) == ISSUER


TARGETS = {
    "resource twice, one value": ([("resource", LEDGER), ("resource", LEDGER)], LEDGER),
    "audience alone": ([("audience", LEDGER)], LEDGER),
    "audience twice, one value": ([("audience", LEDGER), ("audience", LEDGER)], LEDGER),
    "resource and audience agree": ([("audience", LEDGER), ("resource", LEDGER)], LEDGER),
    "an empty resource counts as omitted": ([("resource", "")], API),
    "an empty resource beside an audience": ([("resource", ""), ("audience", LEDGER)], LEDGER),
}


@pytest.mark.parametrize(("targets", "audience"), TARGETS.values(), ids=TARGETS.keys())
async def test_2_one_target(endpoint: Endpoint, targets: list[tuple[str, str]], audience: str) -> None:
    reply = await endpoint.ask([GRANT, *targets])
    assert audience_of(reply.body["access_token"]) == audience


CONFLICTS = {
    "two resources": [("resource", API), ("resource", LEDGER)],
    "two audiences": [("audience", API), ("audience", LEDGER)],
    "resource and audience differ": [("resource", API), ("audience", LEDGER)],
    "an unknown one beside a known one": [("resource", API), ("resource", "https://nobody.example")],
    "the same but for a slash": [("resource", API), ("resource", API + "/")],
}


@pytest.mark.parametrize("targets", CONFLICTS.values(), ids=CONFLICTS.keys())
async def test_2_two_targets_are_invalid_target(endpoint: Endpoint, targets: list[tuple[str, str]]) -> None:
    refused = await endpoint.ask([GRANT, *targets])
    assert (refused.error, endpoint.cause()) == ((400, "invalid_target"), "resource_repeated")


# MUST: "an absolute URI, as specified by Section 4.3 of [RFC3986]"; "MUST NOT include a fragment component".
MALFORMED = {
    "no scheme": "api.example",
    "scheme-relative": "//api.example/",
    "a path": "/api",
    "a fragment": "https://api.example#x",
    "an empty fragment": "https://api.example#",
    "a scheme alone": "https:",
    "a scheme without host or path": "https://",
    "a scheme that begins with a digit": "1https://api.example",
    "a scheme with an underscore": "a_b:c",
    "a space": "https://api.example/a b",
    "a line feed": "https://api.example\n",
    "non-ASCII": "https://äpi.example",
    "an unclosed IPv6 address": "https://[::1",
}


@pytest.mark.parametrize("resource", MALFORMED.values(), ids=MALFORMED.keys())
async def test_2_resource_must_be_an_absolute_uri_without_fragment(endpoint: Endpoint, resource: str) -> None:
    refused = await endpoint.grant(resource=resource)
    assert (refused.error, endpoint.cause()) == ((400, "invalid_target"), "resource_malformed")


@pytest.mark.parametrize(
    "resource",
    ["https://api.example/v1?tenant=a", "urn:example:api", "https://[::1]:8443/", "spiffe://a/b", "http://localhost:1"],
)
async def test_2_any_absolute_uri_may_be_a_resource(endpoint: Endpoint, resource: str) -> None:
    endpoint.client_id = endpoint.add(name="other", audiences=[resource])
    assert audience_of((await endpoint.grant(resource=resource)).body["access_token"]) == resource


async def test_an_audience_need_not_be_a_uri(endpoint: Endpoint) -> None:
    endpoint.client_id = endpoint.add(name="other", audiences=["ledger"])
    assert audience_of((await endpoint.grant(audience="ledger")).body["access_token"]) == "ledger"


UNKNOWN = {
    "another server": "https://nobody.example",
    "a path below": API + "/v1",
    "a trailing slash": API + "/",
    "another case": API.upper(),
    "a longer host name (prefix)": API + ".evil.example",
    "a shorter one": API[:-1],
    "the server's default, when the account names its own": ISSUER,
    "the admin API, outside issuer-system": "urn:issuer:admin",
}


@pytest.mark.parametrize("parameter", ["resource", "audience"])
@pytest.mark.parametrize("target", UNKNOWN.values(), ids=UNKNOWN.keys())
async def test_2_an_unknown_target_is_invalid_target(endpoint: Endpoint, parameter: str, target: str) -> None:
    refused = await endpoint.ask([GRANT, (parameter, target)])
    assert (refused.error, endpoint.cause()) == ((400, "invalid_target"), "target_not_held")


async def test_2_the_default_is_never_a_fallback_for_a_refused_target(endpoint: Endpoint) -> None:
    refused = await endpoint.grant(resource="https://nobody.example")
    assert "access_token" not in refused.body
