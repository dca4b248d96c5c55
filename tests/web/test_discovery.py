"""The public documents over HTTP: cacheable, conditional (RFC 9110 section 13), readable from any web page."""

from dataclasses import replace

import pytest

from tests.conformance.endpoint import Endpoint, Ring, generated_ring

JWKS = "/.well-known/jwks.json"
DOCUMENTS = {
    JWKS: "application/jwk-set+json",
    "/.well-known/oauth-authorization-server": "application/json",
    "/.well-known/openid-configuration": "application/json",
}
every_document = pytest.mark.parametrize("path", DOCUMENTS)


@pytest.fixture(scope="module")
def ring() -> Ring:
    return generated_ring()


@pytest.fixture
def endpoint(ring: Ring) -> Endpoint:
    return Endpoint(ring)


@every_document
async def test_get(endpoint: Endpoint, path: str) -> None:
    answer = await endpoint.send("GET", path)
    assert (answer.status_code, answer.headers["content-type"]) == (200, DOCUMENTS[path])
    assert answer.json()


@every_document
async def test_head_is_get_without_the_body(endpoint: Endpoint, path: str) -> None:
    got, head = await endpoint.send("GET", path), await endpoint.send("HEAD", path)
    assert (head.status_code, head.headers, head.content) == (200, got.headers, b"")


@every_document
async def test_any_origin_may_read(endpoint: Endpoint, path: str) -> None:
    answer = await endpoint.send("GET", path, [("origin", "https://app.example")])
    assert answer.headers["access-control-allow-origin"] == "*"
    assert "access-control-allow-credentials" not in answer.headers


@every_document
async def test_preflight(endpoint: Endpoint, path: str) -> None:
    headers = [
        ("origin", "https://app.example"),
        ("access-control-request-method", "GET"),
        ("access-control-request-headers", "if-none-match"),
    ]
    answer = await endpoint.send("OPTIONS", path, headers)
    assert (answer.status_code, answer.content) == (204, b"")
    assert answer.headers["access-control-allow-origin"] == "*"
    assert answer.headers["access-control-allow-methods"] == "GET, HEAD, OPTIONS"
    assert answer.headers["access-control-allow-headers"] == "*"


@every_document
async def test_cacheable_for_the_jwks_max_age(endpoint: Endpoint, path: str) -> None:
    answer = await endpoint.send("GET", path)
    assert answer.headers["cache-control"] == "public, max-age=300"


@every_document
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
async def test_nothing_but_reading(endpoint: Endpoint, path: str, method: str) -> None:
    answer = await endpoint.send(method, path)
    assert answer.status_code == 405
    assert set(answer.headers["allow"].split(", ")) == {"GET", "HEAD", "OPTIONS"}


# RFC 9110 sections 8.8.3.2 and 13.1.2: If-None-Match uses the weak comparison; a list; `*` matches whatever is there.
MATCHING = {
    "the same": ["{etag}"],
    "weak": ["W/{etag}"],
    "in a list": ['"a", {etag}, "b"'],
    "in a list without spaces": ['"a",W/{etag}'],
    "any": ["*"],
    "in a second header line": ['"a"', "{etag}"],
}
DIFFERENT = {
    "another": ['"another"'],
    "without quotes": ["{bare}"],
    "part of it": ['"{part}"'],
    "empty": [""],
    "an empty list": [","],
    "in lower-case w": ["w/{etag}"],
}


async def conditional(endpoint: Endpoint, path: str, method: str, values: list[str]) -> tuple[int, bytes, str]:
    etag = (await endpoint.send("GET", path)).headers["etag"]
    filled = [value.format(etag=etag, bare=etag.strip('"'), part=etag.strip('"')[:-1]) for value in values]
    answer = await endpoint.send(method, path, [("if-none-match", value) for value in filled])
    assert answer.headers["etag"] == etag
    return answer.status_code, answer.content, answer.headers["cache-control"]


@every_document
@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("values", MATCHING.values(), ids=MATCHING.keys())
async def test_304_when_it_is_known(endpoint: Endpoint, path: str, method: str, values: list[str]) -> None:
    assert await conditional(endpoint, path, method, values) == (304, b"", "public, max-age=300")


@every_document
@pytest.mark.parametrize("values", DIFFERENT.values(), ids=DIFFERENT.keys())
async def test_200_when_it_is_not(endpoint: Endpoint, path: str, values: list[str]) -> None:
    status, body, _ = await conditional(endpoint, path, "GET", values)
    assert (status, len(body) > 0) == (200, True)


@every_document
async def test_a_304_may_be_read_from_any_origin_too(endpoint: Endpoint, path: str) -> None:
    answer = await endpoint.send("GET", path, [("if-none-match", "*")])
    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (304, "*")


@every_document
async def test_the_etag_is_strong_and_stable(endpoint: Endpoint, path: str, ring: Ring) -> None:
    etags = {(await each.send("GET", path)).headers["etag"] for each in (endpoint, endpoint, Endpoint(ring))}
    assert len(etags) == 1, "all replicas must give the same one"
    assert etags.pop().startswith('"')


async def test_the_jwks_follows_the_snapshot_and_its_etag_with_it(endpoint: Endpoint) -> None:
    before = await endpoint.send("GET", JWKS)
    published = dict(list(endpoint.snapshot.published.items())[:3])
    endpoint.snapshot = replace(endpoint.snapshot, published=published)
    after = await endpoint.send("GET", JWKS, [("if-none-match", before.headers["etag"])])
    assert (after.status_code, len(after.json()["keys"])) == (200, 3)
    assert after.headers["etag"] != before.headers["etag"]


async def test_before_the_first_good_snapshot_the_jwks_is_503_and_not_stored(endpoint: Endpoint) -> None:
    endpoint.snapshot = None  # type: ignore[assignment]
    answer = await endpoint.send("GET", JWKS)
    assert (answer.status_code, answer.headers["retry-after"], answer.headers["cache-control"]) == (
        503,
        "1",
        "no-store",
    )
    assert answer.content == b""


@pytest.mark.parametrize("path", ["/.well-known/openid-configuration", "/.well-known/oauth-authorization-server"])
async def test_metadata_needs_no_snapshot(endpoint: Endpoint, path: str) -> None:
    endpoint.snapshot = None  # type: ignore[assignment]
    assert (await endpoint.send("GET", path)).status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/.well-known",
        "/.well-known/",
        "/.well-known/jwks.json/",
        "/apis",
        "/api/v1/namespaces",
        "/metrics",
        "/readyz",
    ],
)
async def test_the_public_port_has_nothing_else(endpoint: Endpoint, path: str) -> None:
    answer = await endpoint.send("GET", path)
    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/json")
    assert answer.json() == {"error": "not_found"}


async def test_host_and_forwarded_headers_change_nothing(endpoint: Endpoint) -> None:
    """DESIGN section 13: the issuer URL is never taken from Host."""
    headers = [("host", "evil.example"), ("x-forwarded-host", "evil.example"), ("x-forwarded-proto", "http")]
    for path in DOCUMENTS:
        plain, lured = await endpoint.send("GET", path), await endpoint.send("GET", path, headers)
        assert plain.content == lured.content
