"""RFC 6749 section 3.3: `scope = scope-token *( SP scope-token )`, `scope-token = 1*( %x21 / %x23-5B / %x5D-7E )`."""

import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from issuer.failures import Failure, Refusal
from issuer.model.scopes import is_scope_token
from issuer.protocol.grants import MAX_SCOPES, parse_scope
from tests.conformance.endpoint import Endpoint

NQCHAR = [chr(code) for code in (0x21, *range(0x23, 0x5C), *range(0x5D, 0x7F))]
scope_tokens = st.text(st.sampled_from(NQCHAR), min_size=1, max_size=40)


def test_3_3_scope_token_characters_are_exactly_the_grammar() -> None:
    accepted = [chr(code) for code in range(0x300) if is_scope_token(chr(code))]
    assert accepted == NQCHAR


PARSED = {
    "one token": ("a", ("a",)),
    "several, in the order they were asked for": ("b a c", ("b", "a", "c")),
    "each once": ("a b a", ("a", "b")),
    "case matters": ("A a", ("A", "a")),
    "every character of the grammar": ("".join(NQCHAR), ("".join(NQCHAR),)),
}


@pytest.mark.parametrize(("text", "tokens"), PARSED.values(), ids=PARSED.keys())
def test_3_3_parses(text: str, tokens: tuple[str, ...]) -> None:
    assert parse_scope(text) == tokens


MALFORMED = {
    "a space alone": " ",
    "leading space": " a",
    "trailing space": "a ",
    "two spaces": "a  b",
    "tab": "a\tb",
    "line feed": "a\nb",
    "line feed at the end": "a\n",
    "quote": 'a"b',
    "backslash": "a\\b",
    "delete": "a\x7f",
    "non-ASCII": "ä",
    "no-break space": "a\xa0b",
    "a token of 257 characters": "a" * 257,
    "more tokens than anybody holds": " ".join(str(number) for number in range(MAX_SCOPES + 1)),
}


@pytest.mark.parametrize("text", MALFORMED.values(), ids=MALFORMED.keys())
async def test_3_3_malformed_is_invalid_scope(endpoint: Endpoint, text: str) -> None:
    refused = await endpoint.grant(scope=text)
    assert (refused.error, endpoint.cause()) == ((400, "invalid_scope"), "scope_malformed")


@settings(deadline=None)
@given(st.lists(scope_tokens, min_size=1, max_size=30, unique=True))
def test_3_3_parse_reads_back_what_was_printed(tokens: list[str]) -> None:
    assert parse_scope(" ".join(tokens)) == tuple(tokens)


@settings(deadline=None)
@given(st.text(st.sampled_from([*string.printable, "ä", "\0"]), max_size=30))
def test_3_3_exactly_what_the_grammar_allows_parses(text: str) -> None:
    tokens = text.split(" ")
    if all(map(is_scope_token, tokens)):
        assert parse_scope(text) == tuple(dict.fromkeys(tokens))
    else:
        with pytest.raises(Refusal) as caught:
            parse_scope(text)
        assert caught.value.failure is Failure.SCOPE_MALFORMED


async def test_3_3_the_answer_states_the_scope_granted_even_when_it_is_what_was_asked(endpoint: Endpoint) -> None:
    assert (await endpoint.grant(scope="api:write api:read")).body["scope"] == "api:write api:read"


async def test_3_3_without_scope_the_documented_default_is_granted_not_everything(endpoint: Endpoint) -> None:
    """CVE-2024-52287, IdentityServer4 #2937, node-oidc-provider #129, dex #1629. The account holds `openid` too."""
    assert (await endpoint.grant()).body["scope"] == "api:read api:write"


async def test_3_3_an_empty_scope_is_an_omitted_one(endpoint: Endpoint) -> None:
    assert (await endpoint.grant(scope="")).body["scope"] == (await endpoint.grant()).body["scope"]


async def test_3_3_default_scopes_of_the_account_are_the_default(endpoint: Endpoint) -> None:
    client_id = endpoint.add(name="other", scopes=["a", "b", "c"], defaultScopes=["b"])
    endpoint.client_id = client_id
    assert (await endpoint.grant()).body["scope"] == "b"


@pytest.mark.parametrize("scope", ["api:delete", "api:read api:delete", "API:READ", "api", "api:*", "api:read*"])
async def test_3_3_a_scope_the_account_does_not_hold_is_invalid_scope(endpoint: Endpoint, scope: str) -> None:
    """Exact comparison: no prefix, no wildcard, no other case (CVE-2024-52287)."""
    refused = await endpoint.grant(scope=scope)
    assert (refused.error, endpoint.cause()) == ((400, "invalid_scope"), "scope_not_held")
