"""Policies from the command line: tried, applied, explained, against a running server."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

Cli = Callable[..., Result]

ACCOUNTS = """
apiVersion: auth.nauthera.io/v1alpha1
kind: ServiceAccount
metadata: {name: long, namespace: governed}
spec: {scopes: ["api:payments", "api:ledger:read"], tokenSettings: {accessTokenTTL: 1h}}
---
apiVersion: auth.nauthera.io/v1alpha1
kind: ServiceAccount
metadata: {name: ledger, namespace: governed}
spec: {scopes: ["api:ledger:read"]}
"""
POLICY = """
apiVersion: auth.nauthera.io/v1alpha1
kind: AuthPolicy
metadata: {name: ceiling, namespace: governed}
spec:
  scopes: {denied: ["api:ledger:*"]}
  tokenSettings: {maxAccessTokenTTL: 15m}
"""


@pytest.fixture
def governed(cli: Cli, tmp_path: Path) -> Path:
    """Two accounts, and the file of a policy that is not written yet."""
    result = cli("apply", "--create-namespaces", "-f", "-", stdin=ACCOUNTS)
    assert result.exit_code == 0, result.output
    cli("delete", "authpolicy", "ceiling", "-n", "governed", "--ignore-not-found")
    file = tmp_path / "policy.yaml"
    file.write_text(POLICY)
    return file


def test_a_dry_run_says_what_would_happen_to_whom_and_writes_nothing(cli: Cli, governed: Path) -> None:
    result = cli("apply", "--dry-run", "-f", str(governed))
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines() == [
        "authpolicy/ceiling would be created in governed: 2 accounts in reach, 1 narrowed, 1 refused",
        "  governed/ledger: refused (scope_withheld)",
        "  governed/long: scope api:payments api:ledger:read → api:payments, accessTokenTTL 1h → 15m",
    ]
    assert cli("get", "authpolicy", "ceiling", "-n", "governed").exit_code == 1


def test_a_dry_run_of_other_kinds_says_created_configured_or_unchanged(cli: Cli, governed: Path) -> None:
    del governed
    changed = ACCOUNTS.replace("1h", "2h")
    result = cli("apply", "--dry-run", "-f", "-", stdin=changed)
    assert result.stdout.splitlines() == [
        "serviceaccount/long would be configured in governed",
        "serviceaccount/ledger would be unchanged in governed",
    ]


def test_explain_is_a_table_a_person_reads(cli: Cli, governed: Path) -> None:
    assert cli("apply", "-f", str(governed)).exit_code == 0
    result = cli("explain", "governed/long", "--without", "ceiling")
    assert result.exit_code == 0, result.output
    lines = [line.split() for line in result.stdout.splitlines() if line]
    assert ["scope", "api:payments", "api:payments", "api:ledger:read", "api:payments", "api:ledger:read"] in lines
    assert ["accessTokenTTL", "15m", "1h", "1h"] in lines
    assert ["ttl", "AuthPolicy/governed/ceiling", "spec.tokenSettings.maxAccessTokenTTL", "*"] in lines
    assert ["scope", "api:ledger:read", "AuthPolicy/governed/ceiling", "spec.scopes.denied", "*"] in lines


def test_explain_tries_a_policy_file(cli: Cli, governed: Path) -> None:
    result = cli("explain", "governed/ledger", "--with", str(governed), "-o", "json")
    assert result.exit_code == 0, result.output
    answer = json.loads(result.stdout)
    assert answer["decision"]["scope"] == "api:ledger:read"
    assert answer["changed"]["decision"]["refused"] == "scope_withheld"


def test_explain_names_an_unknown_policy_and_fails(cli: Cli, governed: Path) -> None:
    del governed
    result = cli("explain", "governed/long", "--without", "nobody")
    assert result.exit_code == 1
    assert "there is no policy nobody" in result.output
