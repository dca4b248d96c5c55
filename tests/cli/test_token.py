"""`issuer token`: the token as a workload gets it."""

import json
from base64 import b64decode
from pathlib import Path

import httpx
import pytest
from joserfc.jwk import ECKey

from tests.cli.fake_issuer import FakeIssuer, Run


def test_raw_is_the_token_and_nothing_else(run: Run) -> None:
    result = run("token", "--raw")
    assert result.exit_code == 0
    assert len(result.stdout.split()) == 1
    assert result.stdout.count(".") == 2
    assert result.stderr == ""


def test_the_parts_are_shown_with_human_times_and_the_key_that_verified_them(run: Run) -> None:
    text = run("token").stdout
    assert "verified with kid key-1 (ES256) of http://127.0.0.1:8080/.well-known/jwks.json" in text
    assert "UTC, in 4m" in text or "UTC, in 5m" in text
    assert "granted scope  api:payments" in text
    assert "expires in     300 s" in text


def test_without_published_keys_it_says_not_verified(fake: FakeIssuer, run: Run) -> None:
    fake.overrides["GET", "/jwks.json"] = lambda _: httpx.Response(404)
    assert "not verified: no usable keys" in run("token").stdout


def test_a_signature_by_another_key_is_a_failure(fake: FakeIssuer, run: Run) -> None:
    stranger = ECKey.generate_key("P-256", parameters={"kid": "key-1"})
    fake.overrides["GET", "/jwks.json"] = lambda _: httpx.Response(
        200, json={"keys": [stranger.as_dict(private=False)]}
    )
    result = run("token")
    assert result.exit_code == 1
    assert "does not verify" in result.stderr


def test_scopes_and_resource_are_asked_for(fake: FakeIssuer, run: Run) -> None:
    run("token", "--scope", "a", "--scope", "b", "--resource", "https://api.example")
    assert fake.forms == [{"grant_type": ["client_credentials"], "scope": ["a b"], "resource": ["https://api.example"]}]


def test_id_and_secret_are_form_encoded_inside_basic(fake: FakeIssuer, run: Run) -> None:
    run("token", "--client-id", "a:b", "--client-secret", "c d/é")
    basic = fake.requests[0].headers["authorization"].removeprefix("Basic ")
    assert b64decode(basic) == b"a%3Ab:c+d%2F%C3%A9"


def test_json_holds_the_answer_and_its_parts(run: Run) -> None:
    answer = json.loads(run("token", "-o", "json").stdout)
    assert answer["token_type"] == "Bearer"
    assert answer["decoded"]["access_token"]["header"]["typ"] == "at+jwt"


def test_what_rotate_wrote_is_a_credential(fake: FakeIssuer, run: Run) -> None:
    Path("new.env").write_text("CLIENT_ID=sa-new\nCLIENT_SECRET=isk1_new\n")
    run("token", "--credentials", "new.env")
    assert b64decode(fake.requests[0].headers["authorization"].split()[1]) == b"sa-new:isk1_new"


def test_an_account_by_name_is_looked_up_for_its_client_id(fake: FakeIssuer, run: Run) -> None:
    path = "/apis/auth.nauthera.io/v1alpha1/namespaces/payments-prod/serviceaccounts/payment-service"
    fake.put(path, {"metadata": {"name": "payment-service"}, "status": {"clientId": "sa-demo"}})
    assert run("token", "payments-prod/payment-service", "--raw").exit_code == 0
    assert b64decode(fake.requests[-1].headers["authorization"].split()[1]).startswith(b"sa-demo:")


def test_a_secret_is_never_sent_for_another_client(fake: FakeIssuer, run: Run) -> None:
    result = run("token", "--client-id", "sa-other")
    assert result.exit_code == 1
    assert fake.requests == []
    assert "the secret of sa-other is not known" in result.stderr


def test_a_file_named_on_the_command_line_wins_over_the_environment(fake: FakeIssuer, run: Run) -> None:
    Path("other.env").write_text(
        "ISSUER_URL=http://127.0.0.1:8080\nDEMO_CLIENT_ID=sa-file\nDEMO_CLIENT_SECRET=isk1_file\n"
    )
    run("token", "--env-file", "other.env")
    assert b64decode(fake.requests[0].headers["authorization"].split()[1]) == b"sa-file:isk1_file"


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        ("invalid_client", "neither disabled nor expired"),
        ("invalid_scope", "spec.scopes"),
        ("invalid_target", "spec.audiences"),
        ("temporarily_unavailable", "try again in 7 s"),
    ],
)
def test_a_refusal_is_quoted_and_says_what_to_check(fake: FakeIssuer, run: Run, error: str, advice: str) -> None:
    body = {"error": error, "error_description": "The description."}
    fake.overrides["POST", "/oauth2/token"] = lambda _: httpx.Response(400, json=body, headers={"retry-after": "7"})
    result = run("token")
    assert result.exit_code == 1
    assert f"error: no token for sa-demo: {error}: The description." in result.stderr
    assert advice in result.stderr
