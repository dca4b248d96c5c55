"""apply, diff, prune, watch and wait against a running server: manifests and responders take turns."""

import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from issuer.cli.lastapplied import ANNOTATION
from issuer.model.scopes import ADMIN_AUDIENCE
from tests.blackbox.conftest import Cli
from tests.blackbox.processes import CLEAN, ISSUER, PATIENCE_S, Started, eventually
from tests.databases import Databases

ACCOUNTS = "/apis/auth.nauthera.io/v1alpha1/namespaces/turns/serviceaccounts"
MERGE = {"content-type": "application/merge-patch+json"}
DOCUMENT = """
apiVersion: auth.nauthera.io/v1alpha1
kind: {kind}
metadata: {{name: {name}{place}, labels: {{team: turns}}}}
spec: {{{spec}}}
---
"""


def account(name: str, spec: str = "scopes: [a]") -> str:
    return DOCUMENT.format(kind="ServiceAccount", name=name, place=", namespace: turns", spec=spec)


class Responder:
    """Somebody else who writes through the same API."""

    def __init__(self, server: Started, databases: Databases) -> None:
        admin = databases.bootstrapped.admin
        answer = server.token(admin.client_id, admin.client_secret, resource=ADMIN_AUDIENCE).json()
        self._client, self._url = server.client, server.admin + ACCOUNTS
        self._headers = {"authorization": f"Bearer {answer['access_token']}"}

    def patch(self, name: str, patch: Any) -> None:
        answer = self._client.patch(f"{self._url}/{name}", json=patch, headers={**self._headers, **MERGE})
        assert answer.status_code == 200, answer.text

    def read(self, name: str) -> Any:
        return self._client.get(f"{self._url}/{name}", headers=self._headers).json()


@pytest.fixture
def responder(cli: Cli, server: Started, databases: Databases) -> Iterator[Responder]:
    cli("apply", "-f", "-", stdin="{apiVersion: v1, kind: Namespace, metadata: {name: turns}}")
    yield Responder(server, databases)
    cli("delete", "sa", "-l", "team=turns", "-n", "turns")


# --- apply and diff --------------------------------------------------------------------------------------------------


def test_manifest_and_responder_take_turns_and_diff_foretells_each(cli: Cli, responder: Responder) -> None:
    def applied(text: str) -> str:
        """What apply says; what diff says before and after agrees."""
        foretold = cli("diff", "-f", "-", stdin=text)
        result = cli("apply", "-f", "-", stdin=text)
        assert result.exit_code == 0, result.output
        word = str(result.stdout.split()[1])
        assert foretold.exit_code == (word != "unchanged"), foretold.output
        assert cli("diff", "-f", "-", stdin=text).exit_code == 0
        return word

    first = account("turns", "scopes: [a], purpose: pay, claims: {mine: x}")
    assert [applied(first), applied(first)] == ["created", "unchanged"]
    theirs = {"spec": {"disabled": True, "owner": "ops", "claims": {"theirs": "y"}}}
    responder.patch("turns", {**theirs, "metadata": {"labels": {"seen": "yes"}}})
    assert applied(first) == "unchanged"
    assert applied(account("turns", "scopes: [a, b]")) == "configured"
    found = responder.read("turns")
    spec = found["spec"]
    assert (spec["disabled"], spec["owner"], spec["claims"], spec["scopes"]) == (
        True,
        "ops",
        {"theirs": "y"},
        ["a", "b"],
    )
    assert "purpose" not in spec
    assert found["metadata"]["labels"] == {"team": "turns", "seen": "yes"}
    assert applied(account("turns", "scopes: [a, b], disabled: false")) == "configured"
    assert responder.read("turns")["spec"]["disabled"] is False


def test_the_seed_with_every_field_is_unchanged_the_second_time_and_nothing_is_sent(cli: Cli) -> None:
    seed = Path(__file__).parents[1] / "seeds" / "every-field.yaml"
    cli("apply", "--create-namespaces", "-f", str(seed))
    before = cli("get", "sa", "-A", "-o", "json").stdout
    again = cli("apply", "-f", str(seed))
    assert {line.split()[1] for line in again.stdout.splitlines()} == {"unchanged"}
    assert cli("diff", "-f", str(seed)).exit_code == 0
    assert cli("get", "sa", "-A", "-o", "json").stdout == before
    assert cli("delete", "-f", str(seed)).exit_code == 0


def test_a_diff_is_checked_by_the_server(cli: Cli, responder: Responder) -> None:
    del responder
    refused = cli("diff", "-f", "-", stdin=account("wrong", "scopes: ['a b'], nonsense: 1"))
    assert refused.exit_code == 2
    assert "spec.scopes[0]: " in refused.stderr
    assert "spec.nonsense: " in refused.stderr


def test_an_account_another_driver_manages_cannot_be_taken_over_by_dropping_that(
    cli: Cli, responder: Responder
) -> None:
    managed = "scopes: [a], managedBy: {cluster: eu1, namespace: x, name: y, uid: z}"
    assert cli("apply", "-f", "-", stdin=account("managed", managed)).exit_code == 0
    refused = cli("apply", "-f", "-", stdin=account("managed"))
    assert refused.exit_code == 1
    assert "managed by eu1/x/y" in refused.stderr
    assert responder.read("managed")["spec"]["managedBy"]["uid"] == "z"
    assert cli("delete", "sa/managed", "-n", "turns", "--force").exit_code == 0


# --- prune and selectors ---------------------------------------------------------------------------------------------


def test_prune_deletes_what_left_the_files_and_only_that(cli: Cli, responder: Responder) -> None:
    scope = DOCUMENT.format(kind="Scope", name="turns-scope", place="", spec="scope: 'turns:scope'")
    policy = DOCUMENT.format(kind="AuthPolicy", name="ceiling", place=", namespace: turns", spec="")
    everything = account("kept") + account("gone") + scope + policy
    prune = ("apply", "--prune", "-l", "team=turns", "-f", "-")
    assert cli(*prune, stdin=everything).exit_code == 0
    responder.patch("gone", {"metadata": {"annotations": {ANNOTATION: None}}})
    foretold = cli(*prune, "--dry-run", stdin=account("kept")).stdout.splitlines()
    done = cli(*prune, stdin=account("kept")).stdout.splitlines()
    assert done == [
        "serviceaccount/kept unchanged in turns",
        "authpolicy/ceiling pruned in turns",
        "scope/turns-scope pruned",
    ]
    assert [line.split(":")[0].replace("would be ", "") for line in foretold] == done
    assert cli("get", "sa/gone", "-n", "turns").exit_code == 0


def test_get_and_delete_take_what_a_selector_finds(cli: Cli, responder: Responder) -> None:
    cli("apply", "-f", "-", stdin=account("one") + account("two"))
    responder.patch("two", {"metadata": {"labels": {"tier": "critical"}}})
    words = ("sa", "-n", "turns", "-l", "team in (turns,other),!tier")
    assert [line.split()[0] for line in cli("get", *words).stdout.splitlines()] == ["NAME", "one"]
    assert cli("delete", *words).stdout == "serviceaccount/one deleted\n"
    assert "There are no serviceaccounts in turns that match -l" in cli("delete", *words).stderr
    assert cli("get", "sa/two", "-n", "turns").exit_code == 0
    refused = cli("get", "sa", "-l", "team in turns")
    assert refused.exit_code == 1
    assert "labelSelector" in refused.stderr


# --- wait and watch --------------------------------------------------------------------------------------------------


def test_wait_ends_when_the_condition_holds_and_when_the_object_is_gone(cli: Cli, responder: Responder) -> None:
    del responder
    cli("apply", "-f", "-", stdin=account("waited"))
    ready, gone = "--for=condition=Ready", "--for=delete"
    late = cli("wait", "sa", "turns/waited", ready, "--timeout", "0s")
    assert late.exit_code == 1
    assert "serviceaccount/waited in turns: condition Ready is False (Pending)" in late.stderr
    for goal, act, word in (
        (ready, ("rotate", "turns/waited", "--out", "it.env"), "condition met"),
        (gone, ("delete", "sa/waited", "-n", "turns"), "deleted"),
    ):
        with subprocess.Popen(
            (*ISSUER, "wait", "sa", "turns/waited", "turns/waited", goal), stdout=subprocess.PIPE, text=True
        ) as waiting:
            assert cli(*act).exit_code == 0
            assert waiting.communicate(timeout=PATIENCE_S)[0] == f"serviceaccount/waited {word} in turns\n" * 2


def test_watch_shows_what_there_is_and_every_change_until_ctrl_c(
    cli: Cli, responder: Responder, tmp_path: Path
) -> None:
    cli("apply", "-f", "-", stdin=account("watched"))
    out = tmp_path / "watch.out"
    with out.open("wb") as stdout:
        words = (*ISSUER, "watch", "sa", "-n", "turns", "-l", "team=turns", "-o", "json")
        watching = subprocess.Popen(words, stdout=stdout, stderr=subprocess.PIPE)

    def seen() -> list[tuple[str, str]]:
        events = [json.loads(line) for line in out.read_text().splitlines()]
        return [(each["type"], each["object"]["metadata"]["name"]) for each in events]

    try:
        eventually(lambda: len(seen()) == 1, lambda: watching.poll() is None)
        responder.patch("watched", {"spec": {"disabled": True}})
        cli("apply", "-f", "-", stdin=account("another"))
        responder.patch("watched", {"metadata": {"labels": {"team": "left"}}})
        expected = [("ADDED", "watched"), ("MODIFIED", "watched"), ("ADDED", "another"), ("DELETED", "watched")]
        eventually(lambda: len(seen()) == len(expected), lambda: watching.poll() is None)
        assert seen() == expected
    finally:
        watching.send_signal(signal.SIGINT)
        _, complaints = watching.communicate(timeout=PATIENCE_S)
    assert (watching.returncode, complaints) == (130, b"")


def test_the_client_commands_start_without_the_server(tmp_path: Path) -> None:
    heavy = ("sqlalchemy", "starlette", "uvicorn", "alembic", "asyncpg", "issuer.wiring")
    code = f"import sys, issuer.cli; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run((ISSUER[0], "-c", code), env=CLEAN, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
