"""Tables of the protocol: rows have distinct names, and what has no row is refused rather than guessed."""

import json

import pytest

from issuer.failures import Failure, Refusal
from issuer.model.serviceaccount import DEFAULT_METHODS
from issuer.protocol.authentication import METHODS, read_credential
from issuer.protocol.grants import GRANTS, find_grant
from issuer.protocol.request import TokenRequest
from issuer.protocol.response import token_answer

# https://www.iana.org/assignments/oauth-parameters, "OAuth Token Endpoint Authentication Methods".
REGISTERED_METHODS = {
    *("none", "client_secret_post", "client_secret_basic", "client_secret_jwt", "private_key_jwt"),
    *("tls_client_auth", "self_signed_tls_client_auth"),
}


@pytest.mark.parametrize("name", METHODS)
def test_a_methods_row_stands_under_its_registered_name(name: str) -> None:
    assert METHODS[name].name == name
    assert name in REGISTERED_METHODS


def test_no_row_lets_a_client_in_without_a_credential() -> None:
    assert "none" not in METHODS


@pytest.mark.parametrize("name", GRANTS)
def test_a_grants_row_stands_under_its_name(name: str) -> None:
    assert GRANTS[name].name == name


def test_an_account_that_says_nothing_accepts_methods_that_have_a_row() -> None:
    assert set(DEFAULT_METHODS) <= set(METHODS)


def request(**parameters: str) -> TokenRequest:
    return TokenRequest(parameters, (), None)


def test_a_grant_without_a_row_is_refused() -> None:
    with pytest.raises(Refusal) as caught:
        find_grant(request(grant_type="password"))
    assert caught.value.failure is Failure.GRANT_TYPE_UNKNOWN


def test_every_row_recognises_only_its_own_mechanism() -> None:
    """Two rows that answer to one request would make every request look like two mechanisms."""
    post = request(client_id="a", client_secret="b")
    basic = TokenRequest({}, (), b"Basic YTpi")
    for each in (post, basic):
        assert sum(method.is_presented(each) for method in METHODS.values()) == 1
        assert read_credential(each).method in METHODS


def test_a_refusals_detail_is_for_the_record_and_in_its_text() -> None:
    refusal = Refusal(Failure.SECRET_WRONG, "detail")
    assert (refusal.failure, refusal.detail, refusal.args) == (
        Failure.SECRET_WRONG,
        "detail",
        ("SECRET_WRONG", "detail"),
    )


@pytest.mark.parametrize("failure", Failure, ids=lambda failure: failure.name.lower())
def test_a_sentence_is_a_sentence(failure: Failure) -> None:
    assert failure.sentence[0].isalpha()
    assert failure.sentence.endswith(".")


def test_an_answer_is_not_shown() -> None:
    answer = token_answer("canary-token", 600, "a", "canary-id-token")
    assert "canary" not in repr(answer)
    assert json.loads(answer.body)["id_token"] == "canary-id-token"
