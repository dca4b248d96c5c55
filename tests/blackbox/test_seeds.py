"""The reference page's manifests, byte for byte, against a running server: by the command line and by plain curl."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
import yaml

from issuer.model.mergepatch import merge_patch
from issuer.model.scopes import ADMIN_AUDIENCE
from tests.blackbox.conftest import Cli
from tests.blackbox.processes import Started
from tests.databases import ISSUER, Databases

SEEDS = Path(__file__).parents[1] / "seeds"
ACCOUNT = "/apis/auth.nauthera.io/v1alpha1/namespaces/{}/serviceaccounts/payment-service"
NAMES = ("payment-service", "multi-environment", "every-field")


@pytest.fixture(autouse=True)
def nothing_there_yet(cli: Cli) -> Iterator[None]:
    yield
    for namespace in ("payments-prod", "payments-dev"):
        cli("delete", "sa/payment-service", "-n", namespace, "--ignore-not-found")


@pytest.fixture
def admin(server: Started, databases: Databases) -> Iterator[httpx.Client]:
    account = databases.bootstrapped.admin
    answer = server.token(account.client_id, account.client_secret, resource=ADMIN_AUDIENCE)
    headers = {"authorization": f"Bearer {answer.json()['access_token']}"}
    with httpx.Client(base_url=server.admin, headers=headers) as client:
        yield client


def token_of(server: Started, cli: Cli, namespace: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The token endpoint's answer for the account, and the verified claims."""
    assert cli("rotate", f"{namespace}/payment-service", "--out", "it.env").exit_code == 0
    values = dict(line.split("=", 1) for line in Path("it.env").read_text().splitlines())
    answer = server.token(values["CLIENT_ID"], values["CLIENT_SECRET"]).json()
    jwks = jwt.PyJWKSet.from_dict(server.client.get(f"{server.public}/.well-known/jwks.json").json())
    key = jwks[jwt.get_unverified_header(answer["access_token"])["kid"]]
    claims = jwt.decode(answer["access_token"], key, algorithms=["ES256"], audience=ISSUER, issuer=ISSUER, leeway=5)
    return answer, claims


def accounts_of(name: str) -> list[str]:
    documents = yaml.safe_load_all((SEEDS / f"{name}.yaml").read_text())
    return [document["metadata"]["namespace"] for document in documents]


@pytest.mark.parametrize("name", NAMES)
def test_applied_once_it_is_created_and_applied_again_unchanged(cli: Cli, name: str) -> None:
    words = ("apply", "--create-namespaces", "-f", str(SEEDS / f"{name}.yaml"))
    first = cli(*words)
    assert first.exit_code == 0, first.output
    created = [f"serviceaccount/payment-service created in {namespace}" for namespace in accounts_of(name)]
    assert [line for line in first.stdout.splitlines() if line.startswith("serviceaccount")] == created
    second = cli(*words)
    assert second.exit_code == 0, second.output
    assert second.stdout.splitlines() == [line.replace("created", "unchanged") for line in created]


@pytest.mark.parametrize("name", NAMES)
def test_the_same_as_json_by_plain_curl(cli: Cli, server: Started, admin: httpx.Client, name: str) -> None:
    for document in yaml.safe_load_all((SEEDS / f"{name}.yaml").read_text()):
        namespace = document["metadata"]["namespace"]
        admin.post("/api/v1/namespaces", json={"metadata": {"name": namespace}})
        url = server.admin + ACCOUNT.format(namespace).rpartition("/")[0]
        bearer = ("-H", f"authorization: {admin.headers['authorization']}", "-H", "content-type: application/json")
        command = ("curl", "-sS", "--fail-with-body", *bearer, "-d", json.dumps(document), url)
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout
        made = json.loads(done.stdout)
        assert made["metadata"]["name"] == "payment-service"
        assert merge_patch(made["spec"], document["spec"]) == made["spec"]  # defaults are added, nothing is changed
    assert "created" not in cli("apply", "-f", str(SEEDS / f"{name}.yaml")).stdout


def test_payment_service_gets_five_minutes_and_both_scopes(cli: Cli, server: Started) -> None:
    cli("apply", "--create-namespaces", "-f", str(SEEDS / "payment-service.yaml"))
    answer, claims = token_of(server, cli, "payments-prod")
    assert answer["expires_in"] == claims["exp"] - claims["iat"] == 300
    assert answer["scope"] == claims["scope"] == "api:payments api:ledger:read"


def test_the_environments_differ_in_lifetime_and_identity(cli: Cli, server: Started) -> None:
    cli("apply", "--create-namespaces", "-f", str(SEEDS / "multi-environment.yaml"))
    (dev, dev_claims), (prod, prod_claims) = (token_of(server, cli, name) for name in ("payments-dev", "payments-prod"))
    assert (dev["expires_in"], prod["expires_in"]) == (3600, 300)
    assert dev_claims["sub"] != prod_claims["sub"]


def test_static_claims_stand_in_the_token(cli: Cli, server: Started) -> None:
    cli("apply", "--create-namespaces", "-f", str(SEEDS / "every-field.yaml"))
    _, claims = token_of(server, cli, "payments-prod")
    assert claims["https://myapp.example.com/service"] == "payment-processor"
    assert claims["https://myapp.example.com/tier"] == "critical"


def test_the_status_is_the_pages_once_the_driver_has_delivered(cli: Cli, server: Started, admin: httpx.Client) -> None:
    cli("apply", "--create-namespaces", "-f", str(SEEDS / "every-field.yaml"))
    path = ACCOUNT.format("payments-prod")
    waiting = admin.get(path).json()["status"]
    assert (waiting["phase"], waiting["ready"]) == ("Pending", False)
    token_of(server, cli, "payments-prod")
    condition = {"type": "ConfigProvisioned", "status": "True", "reason": "ConfigMapCreated"}
    written = admin.patch(
        f"{path}/status",
        json={"status": {"conditions": [condition]}},
        headers={"content-type": "application/merge-patch+json"},
    )
    assert written.status_code == 200, written.text
    status = admin.get(path).json()["status"]
    assert status["clientId"].startswith("sa-")
    assert (status["ready"], status["phase"]) == (True, "Active")
    assert status["lastCredentialRotation"] < status["nextCredentialRotation"]
    assert [(each["type"], each["status"], each["reason"]) for each in status["conditions"]] == [
        ("Ready", "True", "ServiceAccountRegistered"),
        ("CredentialsProvisioned", "True", "SecretCreated"),
        ("ConfigProvisioned", "True", "ConfigMapCreated"),
    ]
    assert all("lastTransitionTime" in each for each in status["conditions"])
