"""RFC 6749 section 2.3: client authentication. Rows: the rule, what is sent, what comes back."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, quote_plus

import pytest

from issuer.failures import Failure, Refusal
from issuer.protocol.authentication import read_credential
from issuer.protocol.request import parse_token_request
from tests.conformance.endpoint import SECRET, Endpoint, basic, raw_basic, wire_request

GRANT = {"grant_type": "client_credentials"}

# What a client may have as id or secret. Each must survive the way there (spring-security-oauth #1826, spring AS #985,
# openid-client #134, pyop #35, workers-oauth-provider #196).
VALUES = {
    "plus": "a+b",
    "percent": "a%2Bb",
    "colon": "a:b:c",
    "slash": "a/b",
    "space": "a b",
    "equals and ampersand": "a=b&c=d",
    "non-ASCII (RFC 6749 appendix B: UTF-8)": "pässwörd-日本語-🔑",
    "base62, which no encoding changes": "isk1_0Az9",
}


@pytest.mark.parametrize("value", VALUES.values(), ids=VALUES.keys())
async def test_2_3_1_basic_secret_is_form_decoded(endpoint: Endpoint, value: str) -> None:
    client_id = endpoint.add(name="other", secrets=[value])
    assert (await endpoint.ask(authorization=basic(client_id, value))).status == 200


@pytest.mark.parametrize("value", VALUES.values(), ids=VALUES.keys())
async def test_2_3_1_post_secret_is_form_decoded(endpoint: Endpoint, value: str) -> None:
    client_id = endpoint.add(name="other", secrets=[value])
    form = {**GRANT, "client_id": client_id, "client_secret": value}
    assert (await endpoint.ask(form, authorization=None)).status == 200


DECODED = {
    "'+' is a space": ("a+b", "c+d", ("a b", "c d")),
    "'%2B' is a plus": ("a%2Bb", "c%2Bd", ("a+b", "c+d")),
    "'%2b' in lower case too": ("a%2bb", "x", ("a+b", "x")),
    "'%3A' is a colon, in the id too": ("a%3Ab", "c%3Ad", ("a:b", "c:d")),
    "the first colon divides, the others belong to the secret": ("a", "b:c:d", ("a", "b:c:d")),
    "'%25' is decoded once": ("%252B", "%252B", ("%2B", "%2B")),
    "'%C3%BC' is UTF-8": ("%C3%BC", "%E6%97%A5", ("ü", "日")),
    "bytes of UTF-8 left as they are": ("ü", "日", ("ü", "日")),
    "a secret may be empty": ("a", "", ("a", "")),
    "an id may be empty": ("", "b", ("", "b")),
}


@pytest.mark.parametrize(("client_id", "secret", "expected"), DECODED.values(), ids=DECODED.keys())
def test_2_3_1_basic_reads(client_id: str, secret: str, expected: tuple[str, str]) -> None:
    wire = wire_request(b"", authorization=(raw_basic(f"{client_id}:{secret}".encode()).encode(),))
    presented = read_credential(parse_token_request(wire))
    assert (presented.client_id, presented.secret.decode()) == expected


# 401 and not 500, and in no way another answer than for a wrong secret.
UNREADABLE: Mapping[str, str | bytes] = {
    "no credentials behind the scheme": "Basic ",
    "the scheme alone": "Basic",
    "not base64": "Basic !!!!",
    "base64url alphabet": "Basic " + "YTo_Pz8-",
    "base64 without padding": "Basic YTpiYw",
    "padding in the middle": "Basic YTpi=YTpi",
    "white space inside base64": "Basic YTp iYw==",
    "something behind the padding": "Basic YTpiYw==YTpiYw==",
    "bytes above 127": b"Basic \xff\xfe",
    "no colon": raw_basic(b"abc"),
    "an encoded colon does not divide": raw_basic(b"a%3Ab"),
    "id is not UTF-8": raw_basic(b"\xff:b"),
    "secret is not UTF-8": raw_basic(b"a:\xff"),
    "percent-encoded bytes are not UTF-8": raw_basic(b"a:%FF"),
    "percent-encoded surrogate": raw_basic(b"a:%ED%A0%80"),
    "NUL in the id (django-oauth-toolkit #1006)": raw_basic(b"a\0:b"),
    "NUL in the secret": raw_basic(b"a:b\0"),
    "percent-encoded NUL": raw_basic(b"a%00:b"),
    "another scheme": "Bearer abc",
    "an unknown scheme": "Digest username=a",
    "an empty header": " ",
}


@pytest.mark.parametrize("header", UNREADABLE.values(), ids=UNREADABLE.keys())
async def test_2_3_1_unreadable_basic_is_invalid_client(endpoint: Endpoint, header: str | bytes) -> None:
    wrong = await endpoint.ask(authorization=basic(endpoint.client_id, "wrong"))
    refused = await endpoint.ask(authorization=header)
    assert refused.error == (401, "invalid_client")
    assert endpoint.cause() in {"credential_malformed", "method_unknown"}, "not merely a client nobody knows"
    assert (refused.body, refused.headers) == (wrong.body, wrong.headers)


@pytest.mark.parametrize("inserted", ["!", " ", "=", "\t", "-", "%3D"])
async def test_2_3_1_base64_is_read_strictly(endpoint: Endpoint, inserted: str) -> None:
    """A lenient decoder skips what it does not know, and reads the right credential out of a wrong one."""
    good = basic(endpoint.client_id, SECRET)
    refused = await endpoint.ask(authorization=good[:20] + inserted + good[20:])
    assert (refused.error, endpoint.cause()) == ((401, "invalid_client"), "credential_malformed")


@pytest.mark.parametrize("scheme", ["Basic", "basic", "BASIC", "bAsIc"])
async def test_2_3_1_the_scheme_is_case_insensitive(endpoint: Endpoint, scheme: str) -> None:
    header = basic(endpoint.client_id, SECRET).replace("Basic", scheme)
    assert (await endpoint.ask(authorization=header)).status == 200


async def test_2_3_1_several_spaces_behind_the_scheme_are_read(endpoint: Endpoint) -> None:
    """RFC 9110 section 11.4: `1*SP` between scheme and credentials."""
    header = basic(endpoint.client_id, SECRET).replace(" ", "   ")
    assert (await endpoint.ask(authorization=header)).status == 200


@pytest.mark.parametrize("encode", [quote, quote_plus, lambda text: "".join(f"%{byte:02x}" for byte in text.encode())])
async def test_2_3_1_every_form_encoding_of_the_same_credential_is_the_same(endpoint: Endpoint, encode: Any) -> None:
    secret = "p+q %:/ü"
    client_id = endpoint.add(name="other", secrets=[secret])
    header = raw_basic(f"{encode(client_id)}:{encode(secret)}".encode())
    assert (await endpoint.ask(authorization=header)).status == 200


async def test_2_3_1_post_takes_id_and_secret_from_the_body(endpoint: Endpoint) -> None:
    form = {**GRANT, "client_id": endpoint.client_id, "client_secret": SECRET}
    assert (await endpoint.ask(form, authorization=None)).status == 200


NOT_AUTHENTICATED = {
    "nothing presented": {},
    "client_id alone is no credential (a public client cannot use client_credentials: dex #1629)": {
        "client_id": "{id}"
    },
    "client_id with an empty secret": {"client_id": "{id}", "client_secret": ""},
    "client_secret without client_id": {"client_secret": SECRET},
    "client_secret with an empty client_id": {"client_id": "", "client_secret": SECRET},
    "wrong secret": {"client_id": "{id}", "client_secret": "wrong"},
    "the secret of nobody": {"client_id": "nobody", "client_secret": SECRET},
    "a method without a row: client_assertion": {
        "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
        "client_assertion": "a.b.c",
    },
    "half a method without a row": {"client_assertion": "a.b.c"},
}


@pytest.mark.parametrize("form", NOT_AUTHENTICATED.values(), ids=NOT_AUTHENTICATED.keys())
async def test_2_3_not_authenticated_is_invalid_client(endpoint: Endpoint, form: Mapping[str, str]) -> None:
    filled = {name: value.replace("{id}", endpoint.client_id) for name, value in form.items()}
    assert (await endpoint.ask({**GRANT, **filled}, authorization=None)).error == (401, "invalid_client")


TWO_MECHANISMS: Mapping[str, tuple[str | None, Mapping[str, str]]] = {
    "basic and post": ("", {"client_secret": SECRET, "client_id": "{id}"}),
    "basic and a secret without id": ("", {"client_secret": SECRET}),
    "basic and client_assertion": ("", {"client_assertion": "a.b.c"}),
    "basic and client_assertion_type": ("", {"client_assertion_type": "x"}),
    "post and client_assertion": (None, {"client_secret": SECRET, "client_id": "{id}", "client_assertion": "a.b.c"}),
    "another scheme and post": ("Bearer abc", {"client_secret": SECRET, "client_id": "{id}"}),
    "another scheme and client_assertion": ("Bearer abc", {"client_assertion": "a.b.c"}),
    "unreadable basic and post": ("Basic !!!", {"client_secret": SECRET, "client_id": "{id}"}),
}


@pytest.mark.parametrize(("authorization", "form"), TWO_MECHANISMS.values(), ids=TWO_MECHANISMS.keys())
async def test_2_3_must_not_use_more_than_one_method(
    endpoint: Endpoint, authorization: str | None, form: Mapping[str, str]
) -> None:
    """RFC 6749 section 2.3: MUST NOT; keycloak PR #7544, workers-oauth-provider #196."""
    filled = {name: value.replace("{id}", endpoint.client_id) for name, value in form.items()}
    refused = await endpoint.ask({**GRANT, **filled}, authorization=authorization)
    assert (refused.error, endpoint.cause()) == ((400, "invalid_request"), "two_mechanisms")


async def test_2_3_two_authorization_headers_are_two_credentials(endpoint: Endpoint) -> None:
    good = basic(endpoint.client_id, SECRET)
    headers = [("authorization", good), ("authorization", good), ("content-type", "application/x-www-form-urlencoded")]
    answer = await endpoint.send("POST", "/oauth2/token", headers, b"grant_type=client_credentials")
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")


async def test_2_3_1_client_id_in_the_body_may_repeat_the_authenticated_one(endpoint: Endpoint) -> None:
    assert (await endpoint.grant(client_id=endpoint.client_id)).status == 200


@pytest.mark.parametrize("other", ["somebody", "sa-00000000-0000-4000-8000-000000000000"])
async def test_2_3_1_client_id_in_the_body_must_be_the_authenticated_one(endpoint: Endpoint, other: str) -> None:
    """goiabada #228."""
    refused = await endpoint.grant(client_id=other)
    assert (refused.error, endpoint.cause()) == ((400, "invalid_request"), "client_id_conflict")


async def test_2_3_1_an_empty_client_id_in_the_body_counts_as_omitted(endpoint: Endpoint) -> None:
    assert (await endpoint.grant(client_id="")).status == 200


@pytest.mark.parametrize("accepted", ["client_secret_basic", "client_secret_post"])
@pytest.mark.parametrize("used", ["client_secret_basic", "client_secret_post"])
async def test_2_3_only_methods_the_account_accepts(endpoint: Endpoint, accepted: str, used: str) -> None:
    client_id = endpoint.add(name="other", authentication={"methods": [accepted]})
    if used == "client_secret_basic":
        reply = await endpoint.ask(authorization=basic(client_id, SECRET))
    else:
        reply = await endpoint.ask({**GRANT, "client_id": client_id, "client_secret": SECRET}, authorization=None)
    assert reply.status == (200 if used == accepted else 401)


def test_2_3_1_a_presented_secret_is_not_in_any_repr() -> None:
    wire = wire_request(b"client_id=a&client_secret=canary-1", authorization=())
    request = parse_token_request(wire)
    assert "canary-1" not in f"{wire!r} {request!r} {read_credential(request)!r}"
    basic_wire = wire_request(b"", authorization=(basic("a", "canary-2").encode(),))
    basic_request = parse_token_request(basic_wire)
    encoded = basic("a", "canary-2").removeprefix("Basic ")
    said = f"{basic_wire!r} {basic_request!r} {read_credential(basic_request)!r}"
    assert "canary-2" not in said
    assert encoded not in said


@pytest.mark.parametrize("header", [raw_basic(b"canary-no-colon"), "Basic canary!", raw_basic(b"a:canary\xff")])
def test_2_3_1_a_refusal_does_not_quote_the_credential(header: str) -> None:
    wire = wire_request(b"", authorization=(header.encode(),))
    with pytest.raises(Refusal) as caught:
        read_credential(parse_token_request(wire))
    assert caught.value.failure is Failure.CREDENTIAL_MALFORMED
    assert "canary" not in str(caught.value)
