"""The verifier of our own access tokens: attacks of the field, each by name (security-cases.md section 4a)."""

import base64
import hmac
import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from issuer.policy.decide import Allowed
from issuer.signing.signer import ALGORITHMS, GeneratedKey, Signer, generate_key
from issuer.signing.ticket import TokenIdentity, prepare_access_token, prepare_id_token
from issuer.signing.verifier import LEEWAY_S, MAX_TOKEN_CHARACTERS, TokenRejected, verify_access_token
from tests.governance import builders

ISSUER = "https://issuer.example"
AUDIENCE = "urn:issuer:admin"
IAT = 1_772_366_400
TTL = 600
KEYS = {algorithm: generate_key(algorithm) for algorithm in ALGORITHMS}
PUBLISHED = {key.kid: key.public_jwk for key in KEYS.values()}
ES256 = KEYS["ES256"]
GRANT = builders.grant(namespace="issuer-system", scopes=("issuer:admin",), audiences=(AUDIENCE,))


def allowed(audience: str = AUDIENCE) -> Allowed:
    return builders.allowed(GRANT, ("issuer:admin",), audience, TTL)


def token(key: GeneratedKey = ES256, algorithm: str = "ES256", issuer: str = ISSUER, audience: str = AUDIENCE) -> str:
    signer = Signer(key.kid, algorithm, key.private_pem)
    return signer.sign(prepare_access_token(allowed(audience), TokenIdentity(issuer, "jti", IAT, "secret/1")))


def verify(text: str, now: float = IAT + 1, published: Mapping[str, Mapping[str, Any]] = PUBLISHED) -> dict[str, Any]:
    return verify_access_token(text, published, issuer=ISSUER, audience=AUDIENCE, now=now)


def b64(data: bytes | str) -> str:
    raw = data.encode() if isinstance(data, str) else data
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


CLAIMS: dict[str, Any] = {"iss": ISSUER, "aud": AUDIENCE, "sub": "sa-u", "iat": IAT, "exp": IAT + TTL}
HEADER: dict[str, Any] = {"alg": "ES256", "typ": "at+jwt", "kid": ES256.kid}


def signed(header: Mapping[str, Any] = HEADER, claims: Any = CLAIMS, key: GeneratedKey = ES256) -> str:
    """A token with a good signature over whatever it says."""
    payload = claims if isinstance(claims, str) else json.dumps(claims)
    message = f"{b64(json.dumps(header))}.{b64(payload)}"
    algorithm = next(name for name, each in KEYS.items() if each.kid == key.kid) if key in KEYS.values() else "ES256"
    signer = Signer(key.kid, algorithm, key.private_pem)
    return f"{message}.{b64(signer._sign(message.encode()))}"


def test_the_cases_below_start_from_a_good_token() -> None:
    assert verify(signed()) == CLAIMS


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_token_of_ours_is_accepted_whatever_its_algorithm(algorithm: str) -> None:
    assert verify(token(KEYS[algorithm], algorithm))["client_id"] == "sa-u"


def _hmac(header: Mapping[str, Any], secret: bytes) -> str:
    message = f"{b64(json.dumps(header))}.{b64(json.dumps(CLAIMS))}"
    return f"{message}.{b64(hmac.digest(secret, message.encode(), 'sha256'))}"


def _public_pem(key: GeneratedKey, algorithm: str) -> bytes:
    return bytes(ALGORITHMS[algorithm].load(key.private_pem).as_pem(private=False))


STRANGER = generate_key("ES256")
RS256 = KEYS["RS256"]

FORGED: dict[str, Callable[[], str]] = {
    "alg none, no signature (CVE-2015-9235)": lambda: (
        f"{b64(json.dumps({**HEADER, 'alg': 'none'}))}.{b64(json.dumps(CLAIMS))}."
    ),
    "alg None in another case": lambda: f"{b64(json.dumps({**HEADER, 'alg': 'nOnE'}))}.{b64(json.dumps(CLAIMS))}.",
    "no alg at all": lambda: signed({"typ": "at+jwt", "kid": ES256.kid}),
    "HS256 with the public key as secret (CVE-2024-37568, CVE-2026-11800)": lambda: _hmac(
        {**HEADER, "alg": "HS256"}, _public_pem(ES256, "ES256")
    ),
    "HS256 with the RSA public key as secret": lambda: _hmac(
        {"alg": "HS256", "typ": "at+jwt", "kid": RS256.kid}, _public_pem(RS256, "RS256")
    ),
    "HS256 with the public JWK as secret": lambda: _hmac(
        {**HEADER, "alg": "HS256"}, json.dumps(dict(ES256.public_jwk)).encode()
    ),
    "HS256 with an empty secret": lambda: _hmac({**HEADER, "alg": "HS256"}, b""),
    "another algorithm of the same family": lambda: signed(
        {"alg": "RS512", "typ": "at+jwt", "kid": RS256.kid}, key=RS256
    ),
    "PS256 with an RS256 key": lambda: signed({"alg": "PS256", "typ": "at+jwt", "kid": RS256.kid}, key=RS256),
    "the algorithm of another key": lambda: signed({**HEADER, "alg": "RS256"}),
    "the kid of another key": lambda: signed({**HEADER, "alg": "RS256", "kid": RS256.kid}),
    "a key of a stranger under our kid": lambda: signed(key=STRANGER),
    "a key of a stranger under its own kid": lambda: signed({**HEADER, "kid": STRANGER.kid}, key=STRANGER),
    "its own key in jwk (CVE-2026-27962)": lambda: signed({**HEADER, "jwk": dict(STRANGER.public_jwk)}, key=STRANGER),
    "its own key in jwk, its own kid": lambda: signed(
        {**HEADER, "kid": STRANGER.kid, "jwk": dict(STRANGER.public_jwk)}, key=STRANGER
    ),
    "its own key behind jku": lambda: signed({**HEADER, "jku": "https://evil.example/jwks.json"}, key=STRANGER),
    "its own key behind x5u": lambda: signed({**HEADER, "x5u": "https://evil.example/x.pem"}, key=STRANGER),
    "no kid": lambda: signed({"alg": "ES256", "typ": "at+jwt"}),
    "an empty kid": lambda: signed({**HEADER, "kid": ""}),
    "a kid that is a path": lambda: signed({**HEADER, "kid": "../../dev/null"}),
    "unknown crit (CVE-2025-59420)": lambda: signed({**HEADER, "crit": ["x"], "x": 1}),
    "crit of a header that is not there": lambda: signed({**HEADER, "crit": ["exp"]}),
    "crit that is a number": lambda: signed({**HEADER, "crit": 1}),
    "crit that is true": lambda: signed({**HEADER, "crit": True}),
    "crit of numbers": lambda: signed({**HEADER, "crit": [1, None]}),
    "crit of lists": lambda: signed({**HEADER, "crit": [[]]}),
    "no signature": lambda: signed().rpartition(".")[0] + ".",
    "two segments": lambda: signed().rpartition(".")[0],
    "a fourth segment": lambda: signed() + ".x",
    "JSON serialisation": lambda: json.dumps(
        {"payload": b64(json.dumps(CLAIMS)), "protected": b64(json.dumps(HEADER))}
    ),
    "an encrypted token's five segments": lambda: "a.b.c.d.e",
    "empty": lambda: "",
    "not ASCII": lambda: signed() + "ä",
    "oversized": lambda: signed(claims={**CLAIMS, "x": "x" * MAX_TOKEN_CHARACTERS}),
    "typ of an ID token": lambda: signed({**HEADER, "typ": "JWT"}),
    "no typ": lambda: signed({"alg": "ES256", "kid": ES256.kid}),
    "typ in a list": lambda: signed({**HEADER, "typ": ["at+jwt"]}),
    "claims that are a list": lambda: signed(claims=[CLAIMS]),
    "claims that are a string": lambda: signed(claims='"x"'),
    "claims that are not JSON": lambda: signed(claims="{"),
    "a claim twice": lambda: signed(claims=json.dumps(CLAIMS)[:-1] + f', "aud": "{AUDIENCE}"}}'),
    "deeply nested claims": lambda: signed(claims='{"a":' + "[" * 5000 + "]" * 5000 + "}"),
}


@pytest.mark.parametrize("forge", FORGED.values(), ids=FORGED.keys())
def test_forged_or_malformed_is_rejected(forge: Callable[[], str]) -> None:
    with pytest.raises(TokenRejected):
        verify(forge())


@pytest.mark.parametrize("typ", ["application/at+jwt", "AT+JWT", "at+jwt ", "jwt", ""])
def test_a_type_that_ours_never_say_is_rejected(typ: str) -> None:
    """A deviation: RFC 9068 section 4 lets a resource server read `application/at+jwt` too. We read our own tokens only."""
    with pytest.raises(TokenRejected, match="not an access token"):
        verify(signed({**HEADER, "typ": typ}))


@pytest.mark.parametrize("algorithm", ["RS256", "ES256"])
def test_an_id_token_of_ours_for_the_same_audience_is_rejected(algorithm: str) -> None:
    signer = Signer(KEYS[algorithm].kid, algorithm, KEYS[algorithm].private_pem)
    text = signer.sign(prepare_id_token(allowed(), TokenIdentity(ISSUER, "jti", IAT, "secret/1")))
    with pytest.raises(TokenRejected, match="not an access token"):
        verify(text)


def test_an_oversized_token_is_rejected_before_it_is_decoded() -> None:
    with pytest.raises(TokenRejected, match="not a token of ours"):
        verify(signed(claims={**CLAIMS, "x": "x" * MAX_TOKEN_CHARACTERS}))


def test_a_key_that_is_no_longer_published_verifies_nothing() -> None:
    with pytest.raises(TokenRejected, match="not published"):
        verify(token(), published={})


CLAIMS_REJECTED: dict[str, dict[str, Any]] = {
    "another issuer": {"iss": "https://issuer.example.evil"},
    "the issuer with a slash": {"iss": ISSUER + "/"},
    "no issuer": {"iss": None},
    "another audience": {"aud": "https://api.example"},
    "our audience in a list (RFC 9068 tokens of ours name one)": {"aud": [AUDIENCE]},
    "our audience and another": {"aud": [AUDIENCE, "https://api.example"]},
    "no audience": {"aud": None},
    "no exp": {"exp": None},
    "no iat": {"iat": None},
    "exp as a string": {"exp": str(IAT + TTL)},
    "exp as a fraction": {"exp": IAT + 0.5},
    "exp infinite": {"exp": float("inf")},
}


@pytest.mark.parametrize("changed", CLAIMS_REJECTED.values(), ids=CLAIMS_REJECTED.keys())
def test_claims_rejected(changed: dict[str, Any]) -> None:
    claims = {name: value for name, value in {**CLAIMS, **changed}.items() if value is not None}
    with pytest.raises(TokenRejected):
        verify(signed(claims=claims))


TIMES = {
    "now": (IAT, True),
    "30 s before it was issued: our clock is behind": (IAT - LEEWAY_S, True),
    "31 s before it was issued": (IAT - LEEWAY_S - 1, False),
    "a second before it expires": (IAT + TTL - 1, True),
    "expired, within the leeway": (IAT + TTL + LEEWAY_S - 0.001, True),
    "expired 30 s ago": (IAT + TTL + LEEWAY_S, False),
    "expired long ago": (IAT + 10 * TTL, False),
}


@pytest.mark.parametrize(("now", "accepted"), TIMES.values(), ids=TIMES.keys())
def test_times_with_30_s_of_leeway(now: float, accepted: bool) -> None:
    if accepted:
        assert verify(token(), now)["exp"] == IAT + TTL
    else:
        with pytest.raises(TokenRejected, match="expired"):
            verify(token(), now)


@pytest.mark.parametrize("position", [0, 1, 2])
def test_any_changed_segment_is_rejected(position: int) -> None:
    parts = token().split(".")
    for index in range(0, len(parts[position]), 7):
        changed = (
            parts[position][:index] + ("A" if parts[position][index] != "A" else "B") + parts[position][index + 1 :]
        )
        text = ".".join([*parts[:position], changed, *parts[position + 1 :]])
        with pytest.raises(TokenRejected):
            verify(text)


def test_the_message_holds_nothing_of_the_token() -> None:
    text = signed(claims={**CLAIMS, "iss": "https://canary.example"})
    with pytest.raises(TokenRejected) as caught:
        verify(text)
    assert "canary" not in str(caught.value)
    assert not any(part in str(caught.value) for part in text.split("."))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
header_names = st.sampled_from(
    ["alg", "typ", "kid", "crit", "b64", "jwk", "jku", "x5u", "x5c", "x5t", "x5t#S256", "cty", "enc", "zip", "p2c", "x"]
)


@settings(max_examples=250, deadline=None)
@given(st.dictionaries(header_names, json_values, max_size=4))
def test_whatever_a_stranger_writes_into_the_header_is_rejected_and_never_an_error_of_ours(
    extra: dict[str, Any],
) -> None:
    text = f"{b64(json.dumps({**HEADER, **extra}))}.{b64(json.dumps(CLAIMS))}.{b64(b's' * 64)}"
    with pytest.raises(TokenRejected):
        verify(text)


@settings(max_examples=200, deadline=None)
@given(st.text(st.characters(max_codepoint=0x2FF), max_size=60), st.binary(max_size=40), st.binary(max_size=40))
def test_arbitrary_text_is_rejected(text: str, header: bytes, payload: bytes) -> None:
    for each in (text, f"{b64(header)}.{b64(payload)}.{text}"):
        with pytest.raises(TokenRejected):
            verify(each)
