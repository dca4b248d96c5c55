"""DESIGN section 6, "The request, corner by corner": one row of the page, one row here. Rows not built yet: 429."""

import pytest

from issuer.policy.catalogue import CataloguedScope
from tests.conformance.endpoint import API, FORM, SECRET, Endpoint, Form, Ring, basic, raw_basic

GRANT = ("grant_type", "client_credentials")

CORNERS: dict[str, tuple[Form, tuple[int, str] | int]] = {
    "unknown grant": ({"grant_type": "password"}, (400, "unsupported_grant_type")),
    "resource repeated with one value": ([GRANT, ("resource", API), ("resource", API)], 200),
    "resource repeated with two": (
        [GRANT, ("resource", API), ("resource", "https://ledger.example")],
        (400, "invalid_target"),
    ),
    "audience is an alias of resource": ([GRANT, ("audience", API)], 200),
    "audience in conflict with resource": (
        [GRANT, ("audience", API), ("resource", "https://ledger.example")],
        (400, "invalid_target"),
    ),
    "other parameter repeated": ([GRANT, ("scope", "api:read"), ("scope", "api:read")], (400, "invalid_request")),
    "two mechanisms": ([GRANT, ("client_secret", SECRET)], (400, "invalid_request")),
    "not UTF-8 in a parameter": (b"grant_type=client_credentials&scope=%FF", (400, "invalid_request")),
    "NUL in a parameter": (b"grant_type=client_credentials&scope=%00", (400, "invalid_request")),
    "scope= empty": ([GRANT, ("scope", "")], 200),
    "unknown parameter": ([GRANT, ("nonce", "1")], 200),
}


@pytest.mark.parametrize(("form", "expected"), CORNERS.values(), ids=CORNERS.keys())
async def test_corner(endpoint: Endpoint, form: Form, expected: tuple[int, str] | int) -> None:
    reply = await endpoint.ask(form)
    assert expected == (reply.status if isinstance(expected, int) else reply.error)


async def test_credentials_in_the_query(endpoint: Endpoint) -> None:
    reply = await endpoint.ask(query=f"?client_id={endpoint.client_id}&client_secret={SECRET}", authorization=None)
    assert reply.error == (400, "invalid_request")


async def test_wrong_content_type(endpoint: Endpoint) -> None:
    assert (await endpoint.ask(content_type="application/json")).error == (400, "invalid_request")
    assert (await endpoint.ask(content_type=FORM)).status == 200


@pytest.mark.parametrize(
    "header", ["Basic %%%", raw_basic(b"a\xff:b"), raw_basic(b"a:b%00")], ids=["bad base64", "not UTF-8", "NUL"]
)
async def test_unreadable_inside_basic(endpoint: Endpoint, header: str) -> None:
    assert (await endpoint.ask(authorization=header)).error == (401, "invalid_client")


async def test_policy_forbids_any_token_ttl_under_10_s(ring: Ring) -> None:
    scopes = {"api:read": CataloguedScope(name="reads", audiences=None, destructive=False, max_ttl_s=9, unmet=None)}
    endpoint = Endpoint(ring, scopes=scopes)
    reply = await endpoint.grant(scope="api:read")
    assert (reply.error, endpoint.cause()) == ((400, "unauthorized_client"), "lifetime_too_short")


async def test_our_trouble_no_snapshot_yet(endpoint: Endpoint) -> None:
    endpoint.snapshot = None  # type: ignore[assignment]
    reply = await endpoint.grant()
    assert (reply.error, reply.headers["retry-after"]) == ((503, "temporarily_unavailable"), "1")


async def test_our_trouble_the_database_is_away(endpoint: Endpoint) -> None:
    endpoint.away = True
    reply = await endpoint.grant()
    assert (reply.error, reply.headers["retry-after"]) == ((503, "temporarily_unavailable"), "1")
    assert endpoint.cause() == "database_unavailable"


async def test_our_trouble_an_account_in_memory_still_gets_tokens(endpoint: Endpoint) -> None:
    assert (await endpoint.grant()).status == 200
    endpoint.away = True
    assert (await endpoint.grant()).status == 200


@pytest.mark.parametrize("second", [0, 30], ids=["read within this second", "read long ago"])
async def test_while_a_reread_is_impossible_a_wrong_secret_is_503_not_401(endpoint: Endpoint, second: int) -> None:
    """DESIGN section 4: the secret may have been made on another replica a moment ago."""
    assert (await endpoint.grant()).status == 200
    endpoint.now = endpoint.now.replace(second=second)
    endpoint.away = True
    reply = await endpoint.ask(authorization=basic(endpoint.client_id, "wrong"))
    assert reply.error == (503, "temporarily_unavailable")
