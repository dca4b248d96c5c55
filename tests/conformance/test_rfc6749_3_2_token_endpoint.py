"""RFC 6749 section 3.2: the token endpoint and how its parameters are read."""

from collections.abc import Mapping

import pytest

from issuer.protocol.request import MAX_BODY_BYTES, MAX_PARAMETERS
from tests.conformance.endpoint import FORM, SECRET, TOKEN_PATH, Endpoint, Form, basic

GRANT = "grant_type=client_credentials"


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND"])
async def test_3_2_must_use_post(endpoint: Endpoint, method: str) -> None:
    headers = [("authorization", basic(endpoint.client_id, SECRET)), ("content-type", FORM)]
    answer = await endpoint.send(method, TOKEN_PATH, headers, GRANT.encode())
    assert (answer.status_code, answer.json()["error"], answer.headers["allow"]) == (405, "invalid_request", "POST")


async def test_3_2_head_is_refused_as_get_is(endpoint: Endpoint) -> None:
    answer = await endpoint.send("HEAD", TOKEN_PATH)
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")


# "Parameters sent without a value MUST be treated as if they were omitted from the request": MUST.
OMITTED = {
    "scope": "scope=",
    "resource": "resource=",
    "audience": "audience=",
    "client_secret beside Basic": "client_secret=",
    "client_assertion beside Basic": "client_assertion=&client_assertion_type=",
    "no equals sign": "scope",
    "an unknown one": "foo=",
    "twice without a value is not repeated": "scope=&scope=",
    "once without and once with a value": "scope=&scope=api:read",
    "no name": "=",
    "nothing between ampersands": "&&",
}


@pytest.mark.parametrize("parameter", OMITTED.values(), ids=OMITTED.keys())
async def test_3_2_without_a_value_counts_as_omitted(endpoint: Endpoint, parameter: str) -> None:
    assert (await endpoint.ask(f"{GRANT}&{parameter}".encode())).status == 200


async def test_3_2_grant_type_without_a_value_is_missing(endpoint: Endpoint) -> None:
    refused = await endpoint.ask(b"grant_type=")
    assert (refused.error, endpoint.cause()) == ((400, "invalid_request"), "grant_type_missing")


@pytest.mark.parametrize("parameter", ["foo=bar", "password=x&username=y", "code=z", "assertion=a.b.c"])
async def test_3_2_must_ignore_unrecognised_parameters(endpoint: Endpoint, parameter: str) -> None:
    plain, with_more = await endpoint.grant(), await endpoint.ask(f"{GRANT}&{parameter}".encode())
    assert with_more.status == 200
    assert with_more.body["scope"] == plain.body["scope"]


# MUST NOT: "Request and response parameters MUST NOT be included more than once."
REPEATED = {
    "grant_type": "grant_type=client_credentials",
    "grant_type with another value": "grant_type=password",
    "scope": "scope=api:read&scope=api:read",
    "client_id": "client_id={id}&client_id={id}",
    "an unknown one": "foo=1&foo=2",
    "the same name in another encoding": "scope=api:read&%73cope=api:read",
}


@pytest.mark.parametrize("parameters", REPEATED.values(), ids=REPEATED.keys())
async def test_3_2_must_not_repeat_a_parameter(endpoint: Endpoint, parameters: str) -> None:
    refused = await endpoint.ask(f"{GRANT}&{parameters.format(id=endpoint.client_id)}".encode())
    assert (refused.error, endpoint.cause()) == ((400, "invalid_request"), "parameter_repeated")


async def test_3_2_must_not_repeat_the_secret(endpoint: Endpoint) -> None:
    body = f"{GRANT}&client_id={endpoint.client_id}&client_secret={SECRET}&client_secret={SECRET}"
    assert (await endpoint.ask(body.encode(), authorization=None)).error == (400, "invalid_request")


# MUST NOT: section 2.3.1, "The parameters can only be transmitted in the request-body and MUST NOT be included in the
# request URI" (spring AS #1378 and #1451, opencrvs PR #13599, coder PR #29508).
IN_THE_QUERY = [
    "client_secret=x",
    "client_id=x",
    "scope=api:read",
    "resource=https://api.example",
    GRANT,
    "foo=bar",
    "=",
]


@pytest.mark.parametrize("query", IN_THE_QUERY)
async def test_2_3_1_must_not_put_parameters_in_the_query(endpoint: Endpoint, query: str) -> None:
    refused = await endpoint.ask(query=f"?{query}")
    assert (refused.error, endpoint.cause()) == ((400, "invalid_request"), "parameter_in_query")


async def test_2_3_1_a_secret_in_the_query_is_not_read_even_with_an_empty_body(endpoint: Endpoint) -> None:
    query = f"?{GRANT}&client_id={endpoint.client_id}&client_secret={SECRET}"
    assert (await endpoint.ask(b"", authorization=None, query=query)).error == (400, "invalid_request")


ACCEPTED_TYPES = [FORM, f"{FORM}; charset=UTF-8", f"{FORM};charset=utf-8", FORM.upper(), f" {FORM} "]
REFUSED_TYPES = [None, "", "application/json", "multipart/form-data; boundary=x", "text/plain", f"{FORM}x", f"x {FORM}"]


@pytest.mark.parametrize("content_type", ACCEPTED_TYPES)
async def test_4_4_2_form_content_type(endpoint: Endpoint, content_type: str) -> None:
    assert (await endpoint.ask(content_type=content_type)).status == 200


@pytest.mark.parametrize("content_type", REFUSED_TYPES, ids=repr)
async def test_4_4_2_no_other_content_type(endpoint: Endpoint, content_type: str | None) -> None:
    refused = await endpoint.ask(content_type=content_type)
    assert (refused.error, endpoint.cause()) == ((400, "invalid_request"), "content_type")


NOT_TEXT = {
    "a value that is not UTF-8": b"scope=\xff",
    "a name that is not UTF-8": b"\xff=1",
    "percent-encoded bytes that are not UTF-8": b"scope=%FF",
    "a name of percent-encoded bytes that are not UTF-8": b"%FF=1",
    "a percent-encoded surrogate": b"scope=%ED%A0%80",
    "an overlong encoding": b"scope=%C0%80",
    "NUL in a value": b"scope=a%00b",
    "NUL in a name": b"sc%00pe=a",
    "NUL as it is": b"scope=a\0b",
    "NUL in an unknown parameter": b"foo=%00",
    "NUL in a client_id": b"client_id=%00",
    "NUL in a resource": b"resource=https://x/%00",
}


@pytest.mark.parametrize("parameter", NOT_TEXT.values(), ids=NOT_TEXT.keys())
async def test_appendix_b_parameters_are_utf8_without_nul(endpoint: Endpoint, parameter: bytes) -> None:
    """django-oauth-toolkit #1006: a NUL once reached PostgreSQL and came back as 500."""
    refused = await endpoint.ask(GRANT.encode() + b"&" + parameter)
    assert (refused.error, endpoint.cause()) == ((400, "invalid_request"), "parameter_encoding")


READ_AS_WRITTEN: Mapping[str, Form] = {
    "'+' is a space": b"grant_type=client_credentials&scope=api:read+api:write",
    "'%20' is a space": b"grant_type=client_credentials&scope=api:read%20api:write",
    "names are decoded too": b"%67rant_type=client_credentials&scope=api:read+api:write",
    "a semicolon does not separate": b"foo=1;scope=openid&grant_type=client_credentials&scope=api:read+api:write",
}


@pytest.mark.parametrize("body", READ_AS_WRITTEN.values(), ids=READ_AS_WRITTEN.keys())
async def test_appendix_b_form_decoding(endpoint: Endpoint, body: bytes) -> None:
    assert (await endpoint.ask(body)).body["scope"] == "api:read api:write"


def _padded(length: int) -> bytes:
    start = f"{GRANT}&foo=".encode()
    return start + b"x" * (length - len(start))


async def test_body_of_64_kib_is_read(endpoint: Endpoint) -> None:
    assert (await endpoint.ask(_padded(MAX_BODY_BYTES))).status == 200


async def test_body_above_64_kib_is_refused(endpoint: Endpoint) -> None:
    assert (await endpoint.ask(_padded(MAX_BODY_BYTES + 1))).error == (413, "invalid_request")


@pytest.mark.parametrize(("count", "status"), [(MAX_PARAMETERS, 200), (MAX_PARAMETERS + 1, 400)])
async def test_number_of_parameters_is_bounded(endpoint: Endpoint, count: int, status: int) -> None:
    body = "&".join([GRANT, *(f"p{number}=1" for number in range(count - 1))])
    assert (await endpoint.ask(body.encode())).status == status
